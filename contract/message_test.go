package contract

import (
	"bytes"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// conversation is one statement of every kind, from two honest parties.
func conversation(t failer) (w *world, all []identity.Signed) {
	w = active(t)
	w.do(w.relay, AskPayment{Amount: 3_000, Report: identity.Tagged("r"), Stamp: w.stamp()})
	w.deliver()
	w.pay(3_000)
	w.do(w.relay, OfferClose{Amount: 3_000, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
	w.do(w.client, Close{Amount: 3_000, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
	other := newWorld(t)
	other.do(other.client, other.proposal())
	other.do(other.client, GiveUp{Code: code.Declined, Text: "no", Stamp: other.stamp()})
	all = append(append(all, w.client.sent...), w.relay.sent...)
	joint, sig := keyAnswered(t)
	all = append(all, joint.client.sent[len(joint.client.sent)-1], sig)
	return w, append(all, other.client.sent[1])
}

func TestEveryMessageRoundTrips(t *testing.T) {
	_, all := conversation(t)
	kinds := map[identity.Type]bool{}
	for _, s := range all {
		m, err := Decode(s.Statement)
		if err != nil {
			t.Fatal(err)
		}
		kinds[m.kind()] = true
		raw, err := Encode(m)
		if err != nil || !bytes.Equal(raw, s.Statement) {
			t.Errorf("%s: another encoding (%v)", m.kind(), err)
		}
		v, err := OpenMessage(s)
		if err != nil || v.Digest() != identity.StatementDigest(m.kind(), s.Statement) {
			t.Errorf("%s: %v", m.kind(), err)
		}
		s.Proof.Sig[3] ^= 1
		if _, err := OpenMessage(s); code.Of(err) != code.BadSignature {
			t.Errorf("%s with a broken signature: %v", m.kind(), err)
		}
	}
	if len(kinds) != 11 {
		t.Errorf("%d kinds of messages instead of 11", len(kinds))
	}
}

func TestFault15NoRelaySignatureBeforeTheEnd(t *testing.T) {
	w := active(t)
	for p := usage.Sat(2_000); p < 10_000; p += 1_000 {
		w.do(w.relay, AskPayment{Amount: p, Stamp: w.stamp()})
		w.deliver()
		w.pay(p)
	}
	out, err := w.relay.c.terms.escrow(false)
	if err != nil {
		t.Fatal(err)
	}
	for p := usage.Sat(1_600); p < 10_000; p += 100 {
		for tier := range Tiers {
			tx, err := w.relay.c.terms.SettlementTx(w.relay.c.escrow(), p, tier)
			if err != nil {
				continue
			}
			sig, err := signLeaf(w.relay.key, tx, w.relay.c.terms.Value, out)
			if err != nil {
				t.Fatal(err)
			}
			record, _ := w.client.c.Encode()
			for _, s := range append(w.relay.sent, identity.Signed{Statement: record}) {
				if bytes.Contains(s.Statement, sig[:]) {
					t.Fatalf("the relay gave away its signature of a settlement of %d", p)
				}
			}
		}
	}
}

func opening(t failer) (*world, *party, *party, identity.Signed) {
	w, s := countersigned(t)
	w.do(w.relay, w.event(w.relay, w.open(s)))
	return w, w.relay, w.client, w.client.inbox[0]
}

func asking(t failer) (*world, *party, *party, identity.Signed) {
	w := active(t)
	w.do(w.relay, AskPayment{Amount: 3_000, Stamp: w.stamp()})
	return w, w.relay, w.client, w.client.inbox[0]
}

func acking(t failer) (*world, *party, *party, identity.Signed) {
	w, s := paid(t)
	w.do(w.relay, w.event(w.relay, w.open(s)))
	return w, w.relay, w.client, w.client.inbox[0]
}

func aborting(t failer) (*world, *party, *party, identity.Signed) {
	w, _ := proposed(t)
	s := w.open(w.client.sent[0])
	w.do(w.relay, w.acceptance(s))
	w.do(w.relay, GiveUp{Code: code.NoCapacity, Text: "full", Stamp: w.stamp()})
	w.do(w.client, w.event(w.client, w.open(w.client.inbox[0]))) // the answer comes first
	w.client.c.stage = stageVerified                             // the wallet has not signed yet
	w.client.c.talk.out = 1
	return w, w.relay, w.client, w.client.inbox[1]
}

func TestStrangersAreRefused(t *testing.T) {
	w, s := paid(t)
	thief := seedIdentity("thief")
	for name, x := range map[string]struct {
		want   code.Code
		key    identity.PrivateKey
		change func(*PaymentUpdate)
	}{
		"another sender":   {code.Forbidden, thief, func(m *PaymentUpdate) { m.From = thief.Public() }},
		"another relay":    {code.WrongRecipient, w.client.id, func(m *PaymentUpdate) { m.To = thief.Public() }},
		"another network":  {code.WrongNetwork, w.client.id, func(m *PaymentUpdate) { m.Network = identity.Mainnet }},
		"another contract": {code.ContractUnknown, w.client.id, func(m *PaymentUpdate) { m.Nonce[0] ^= 1 }},
		"another id":       {code.ContractUnknown, w.client.id, func(m *PaymentUpdate) { m.Contract[0] ^= 1 }},
		"a stale number":   {code.BadSequence, w.client.id, func(m *PaymentUpdate) { m.Seq = 1 }},
		"a foreign prev":   {code.BadSequence, w.client.id, func(m *PaymentUpdate) { m.Prev[0] ^= 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			from := &party{id: x.key}
			w.wantCode(w.relay, w.event(w.relay, forge(w, from, s, x.change)), x.want)
		})
	}
}

func FuzzMessage(f *testing.F) {
	_, all := conversation(f)
	for _, s := range all {
		f.Add(s.Statement)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Decode(raw)
		if err != nil {
			return
		}
		again, err := Encode(m)
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("accepted %x, writes %x (%v)", raw, again, err)
		}
		if o, ok := m.(*Open); ok {
			_, _, _ = o.Funding()
		}
	})
}

func FuzzTransaction(f *testing.F) {
	w, _ := countersigned(f)
	f.Add(unsignedBytes(w.client.c.FundingTx()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tx, err := parseUnsigned(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(unsignedBytes(tx), raw) {
			t.Fatalf("accepted %x, writes %x", raw, unsignedBytes(tx))
		}
	})
}

func FuzzTerms(f *testing.F) {
	w, _ := countersigned(f)
	raw, _ := w.client.c.terms.Encode()
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		terms, err := DecodeTerms(raw)
		if err != nil {
			return
		}
		again, err := terms.Encode()
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("accepted %x, writes %x (%v)", raw, again, err)
		}
		_ = terms.Check()
	})
}

func FuzzRecord(f *testing.F) {
	w, _ := conversation(f)
	joint, s := keyAnswered(f)
	asked := joint.client.c
	joint.do(joint.client, joint.event(joint.client, joint.open(s)))
	joint.mine(1)
	for _, c := range []Contract{{}, w.client.c, w.relay.c, asked, joint.client.c, joint.relay.c} {
		raw, err := c.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := DecodeContract(raw)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("accepted %x, writes %x (%v)", raw, again, err)
		}
		// A record from a damaged disk may be nonsense, but it must not bring the process down.
		_, _ = c.State(), c.Summary()
		_, _ = c.Resume(), c.FundingTx()
		_, _, _ = c.Apply(BlockConnected{Height: 1_000_000, Key: seedKey("C")})
	})
}

func TestRecordsOfOtherVersions(t *testing.T) {
	raw, err := Contract{}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	raw[0] = 2
	if _, err := DecodeContract(raw); code.Of(err) != code.StoreVersion {
		t.Error(err)
	}
	raw[0] = 1
	if _, err := DecodeContract(raw[:len(raw)-1]); code.Of(err) != code.StoreCorrupt {
		t.Error(err)
	}
	if _, err := DecodeContract(nil); code.Of(err) != code.StoreVersion {
		t.Error(err)
	}
}
