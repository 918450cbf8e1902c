package contract

import (
	"bytes"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr/musig2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// signing is what a party keeps in memory of a close by the key path that it asked for.
type signing struct {
	session *musig2.Session
	spend   KeySpend
	nonce   PubNonce
	request identity.Digest
	answer  CloseSig  // the answer that completed it
	final   Signature // what that gave
}

func newSession(t failer, key *btcec.PrivateKey, spend KeySpend) *musig2.Session {
	signers, err := spend.Signers()
	if err != nil {
		t.Fatalf("signers: %v", err)
	}
	ctx, err := musig2.NewContext(key, true, musig2.WithKnownSigners(signers), musig2.WithTaprootTweakCtx(spend.Root[:]))
	if err != nil {
		t.Fatalf("context: %v", err)
	}
	s, err := ctx.NewSession()
	if err != nil {
		t.Fatalf("session: %v", err)
	}
	return s
}

// share signs under the other side's nonce.
func share(s *musig2.Session, spend KeySpend, other PubNonce) (PartialSignature, error) {
	var out PartialSignature
	if _, err := s.RegisterPubNonce(other); err != nil {
		return out, err
	}
	sig, err := s.Sign(spend.Hash, musig2.WithSortedKeys())
	if err != nil {
		return out, err
	}
	var b bytes.Buffer
	err = sig.Encode(&b)
	copy(out[:], b.Bytes())
	return out, err
}

// asksClose makes the event of a close by the key path, with a fresh session.
func (w *world) asksClose(p *party, amount usage.Sat, rate uint64) AskClose {
	spend, err := p.c.KeyClose(amount, rate)
	if err != nil {
		spend = KeySpend{Keys: [2]Key{KeyOf(w.client.key), KeyOf(w.relay.key)}} // what is refused needs none
	}
	s := newSession(w.t, p.key, spend)
	p.sign = &signing{session: s, spend: spend, nonce: s.PublicNonce()}
	return AskClose{Amount: amount, FeeRate: rate, Nonce: p.sign.nonce, Stamp: w.stamp()}
}

// note remembers which statement the session is for.
func (s *signing) note(p *party) {
	if s != nil {
		s.request = p.c.joint.asked.request
	}
}

// finish completes the signature with the other side's answer, once.
func (s *signing) finish(p *party, m *CloseSig) (Signature, error) {
	if s == nil || s.request != m.Close {
		return Signature{}, nil
	}
	p.sign = nil
	if !s.final.IsZero() && m.Nonce == s.answer.Nonce && m.Partial == s.answer.Partial {
		return s.final, nil // the mutation tests give an answer often
	}
	other := s.spend.Keys[0]
	if other == KeyOf(p.key) {
		other = s.spend.Keys[1]
	}
	if err := s.spend.CheckPartial(other, m.Nonce, s.nonce, m.Partial); err != nil {
		return Signature{}, err
	}
	if _, err := share(s.session, s.spend, m.Nonce); err != nil {
		return Signature{}, err
	}
	scalar, err := m.Partial.scalar()
	if err != nil {
		return Signature{}, err
	}
	sig := musig2.NewPartialSignature(scalar, nil)
	if _, err := s.session.CombineSig(&sig); err != nil {
		return Signature{}, err
	}
	s.answer, s.final = *m, Signature(s.session.FinalSig().Serialize())
	return s.final, nil
}

// cosign is what a runner does with Cosign.
func (w *world) cosign(p *party, e Cosign) {
	w.t.Helper()
	s := newSession(w.t, p.key, e.Spend)
	nonce := s.PublicNonce()
	partial, err := share(s, e.Spend, e.Peer())
	if err != nil {
		w.t.Fatalf("cosign: %v", err)
	}
	w.do(p, Cosigned{Request: e.Request, Nonce: PubNonce(nonce), Partial: partial, Stamp: w.stamp()})
}

func (w *world) askClose(p *party, amount usage.Sat, rate uint64) {
	w.t.Helper()
	w.do(p, w.asksClose(p, amount, rate))
	p.sign.note(p)
}

// waiting removes and gives the one message that waits for a party.
func (w *world) waiting(p *party) identity.Signed {
	w.t.Helper()
	if len(p.inbox) != 1 {
		w.t.Fatalf("%d messages wait for the %s", len(p.inbox), p.role)
	}
	s := p.inbox[0]
	p.inbox = nil
	return s
}

// keyAsked is a world where a side's wish to close by the key path waits at the other.
func keyAsked(t failer, relay bool) (*world, identity.Signed) {
	w := active(t)
	w.pay(9_000)
	from := w.client
	if relay {
		from = w.relay
	}
	w.client.max = 9_500
	w.askClose(from, 9_500, 1_000)
	return w, w.waiting(w.other(from))
}

// keyAnswered is a world where the relay's answer waits at the client.
func keyAnswered(t failer) (*world, identity.Signed) {
	w, s := keyAsked(t, false)
	w.do(w.relay, w.event(w.relay, w.open(s)))
	return w, w.waiting(w.client)
}

func TestCloseByKeyPath(t *testing.T) {
	for _, relay := range []bool{false, true} {
		w := active(t)
		w.pay(9_000)
		from := w.client
		if relay {
			from = w.relay
		}
		w.askClose(from, 9_000, 1_300)
		w.deliver()
		plan, ok := from.c.Closing()
		if !ok || !plan.KeyPath || weight(plan.Tx) != 616 || len(w.chain.pool) != 1 || w.chain.pool[0].TxHash() != plan.Tx.TxHash() {
			t.Fatalf("plan %+v, %d in the pool", plan, len(w.chain.pool))
		}
		if w.client.c.Service() || w.relay.c.Service() {
			t.Fatal("service after a signature has left")
		}
		w.mine(1)
		w.wantStates(StateSettled, StateSettled)
		fee := FeeFor(1_300, 616)
		if c, r := w.paidTo(w.client), w.paidTo(w.relay); c != 91_000 || r != 9_000-fee || plan.Client != c || plan.Relay != r || plan.Fee != fee {
			t.Fatalf("client %d, relay %d, plan %+v", c, r, plan)
		}
		w.finish(t, SpendClose)
		for _, p := range []*party{w.client, w.relay} {
			if s, _, _ := p.c.Spend(); !s.KeyPath || s.Fee != fee {
				t.Fatalf("%s: %+v", p.role, s)
			}
		}
	}
}

func TestWeightsOfTheKeyPath(t *testing.T) {
	w := active(t)
	for p, want := range map[usage.Sat]int64{20_000: 616, 100_000: 444} {
		tx, err := w.client.c.terms.KeyCloseTx(w.client.c.escrow(), p, 1_000)
		if err != nil {
			t.Fatal(err)
		}
		tx.TxIn[0].Witness = wire.TxWitness{make([]byte, 64)}
		if got := weight(tx); got != want || outputSum(tx)+FeeFor(1_000, want) != 100_000 {
			t.Errorf("%d sat: weight %d, fee %d", p, got, 100_000-outputSum(tx))
		}
	}
}

// TestClientStaysInServiceUntilTheClose: a wish to close that is refused costs the client nothing.
func TestClientStaysInServiceUntilTheClose(t *testing.T) {
	w := active(t)
	w.pay(9_000)
	w.relay.due = 9_600
	w.askClose(w.client, 9_500, 1_000)
	w.wantCode(w.relay, w.event(w.relay, w.open(w.waiting(w.relay))), code.PaymentTooLow)
	w.wantStates(StateActive, StateActive)
	w.pay(9_700)
	if w.relay.c.Paid() != 9_700 {
		t.Fatal("no payment after a refused close")
	}
}

// TestEachAnswerHasItsOwnNonce: the same request again, another one, and one after a restart are each
// answered with a nonce of their own. Answers come from nothing that is stored.
func TestEachAnswerHasItsOwnNonce(t *testing.T) {
	w, s := keyAsked(t, false)
	first := w.open(s)
	w.askClose(w.client, 9_700, 1_000)
	second := w.open(w.waiting(w.relay))
	seen := map[PubNonce]bool{first.Message().(*CloseNonce).Nonce: true, second.Message().(*CloseNonce).Nonce: true}
	for _, v := range []Verified{first, first, second, first, second} {
		w.do(w.relay, w.event(w.relay, v))
		m := w.open(w.waiting(w.client)).Message().(*CloseSig)
		if seen[m.Nonce] || m.Close != v.Digest() {
			t.Fatal("a nonce was used before")
		}
		seen[m.Nonce] = true
	}
	if len(seen) != 7 {
		t.Fatalf("%d nonces", len(seen))
	}
}

// TestStaleCosigning: between the agreement and the signature another request was agreed to.
func TestStaleCosigning(t *testing.T) {
	w, s := keyAsked(t, false)
	next, effects, err := w.relay.c.Apply(w.event(w.relay, w.open(s)))
	if err != nil || len(effects) != 2 {
		t.Fatal(err, len(effects))
	}
	w.relay.c = next
	e := effects[0].(Cosign)
	w.askClose(w.client, 9_700, 1_000)
	other := w.open(w.waiting(w.relay))
	if next, _, err = w.relay.c.Apply(w.event(w.relay, other)); err != nil {
		t.Fatal(err)
	}
	w.relay.c = next
	session := newSession(t, w.relay.key, e.Spend)
	nonce := session.PublicNonce()
	partial, err := share(session, e.Spend, e.Peer())
	if err != nil {
		t.Fatal(err)
	}
	w.wantCode(w.relay, Cosigned{Request: e.Request, Nonce: nonce, Partial: partial, Stamp: w.stamp()}, code.BadState)
	w.wantCode(w.relay, Cosigned{Stamp: w.stamp()}, code.Malformed)
	w.mineTo(w.relay.c.Terms().CloseUntil())
	w.wantCode(w.relay, Cosigned{Request: other, Nonce: nonce, Partial: partial, Stamp: w.stamp()}, code.BadDeadline)
}

// TestLeafAfterTheKeyPath: a partial signature is out and leads nowhere; both leaf ways are still open.
func TestLeafAfterTheKeyPath(t *testing.T) {
	w, _ := keyAnswered(t) // the answer is lost
	w.do(w.client, Close{Amount: 9_500, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
	w.deliver()
	w.mine(1)
	w.finish(t, SpendClose)
	if s, _, _ := w.client.c.Spend(); s.KeyPath {
		t.Fatalf("%+v", s)
	}
	w, _ = keyAnswered(t)
	w.client.deaf, w.relay.deaf = true, true
	w.mineTo(w.relay.c.Terms().SettleFrom())
	w.mine(2)
	if s, _, _ := w.relay.c.Spend(); s.Kind != SpendSettlement || s.Relay+s.Fee != 9_000 {
		t.Fatalf("%+v", s)
	}
}

// TestGrantedCloseEndsThePayment: an update that was not acknowledged is not sent again once the client
// has signed a close that pays as much.
func TestGrantedCloseEndsThePayment(t *testing.T) {
	w := active(t)
	w.do(w.client, Pay{Amount: 4_000, Key: w.client.key, Stamp: w.stamp()})
	w.deliver()
	w.client.c.talk.pending = w.client.sent[len(w.client.sent)-1].Statement // the acknowledgement was lost
	w.askClose(w.relay, 4_000, 1_000)
	w.do(w.client, w.event(w.client, w.open(w.waiting(w.client))))
	if w.client.c.Pending() != nil {
		t.Fatal("a payment is still to be sent")
	}
	w.wantCode(w.client, Pay{Amount: 5_000, Key: w.client.key, Stamp: w.stamp()}, code.BadState)
	if p, ok := w.client.c.Granted(); !ok || p != 4_000 {
		t.Fatalf("granted %d %v", p, ok)
	}
}

// TestOldRecords: a record without the fields of the key path reads as it always did.
func TestOldRecords(t *testing.T) {
	w := active(t)
	raw := []byte(w.encode(w.client.c))
	for i := 1; i < len(raw); {
		typ, n, head := tlvHead(raw[i:])
		if typ >= 150 && typ < 170 {
			t.Fatalf("field %d is written where nothing of it happened", typ)
		}
		i += head + n
	}
}

// TestWhoEndedTheContract: what the client asks for by itself and the relay answers is the client's close, the
// least of several; what the relay has asked for or offered is the relay's.
func TestWhoEndedTheContract(t *testing.T) {
	funds := func(w *world) (usage.Sat, bool) { f := w.relay.c.Funds(); return f.Final, f.Closed }
	w := active(t)
	w.pay(9_000)
	for i, sum := range []usage.Sat{9_700, 9_500, 9_600} {
		w.askClose(w.client, sum, 1_000)
		v := w.open(w.waiting(w.relay))
		w.do(w.relay, w.event(w.relay, v))
		w.client.inbox = nil
		// Only the client has the whole signature: until it is seen, no more than 9,000 sat are paid.
		if final, ok := funds(w); !ok || final != 9_000 || i < 2 && w.relay.c.Funds().Order != v.Digest() {
			t.Fatalf("%d asked: %d %v", sum, final, ok)
		}
	}
	w.do(w.client, Close{Amount: 9_800, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
	w.deliver()
	if final, ok := funds(w); !ok || final != 9_500 {
		t.Fatalf("a higher close by the leaf leaves the lower one: %d %v", final, ok)
	}

	w = active(t)
	w.pay(9_000)
	w.askClose(w.relay, 9_000, 1_000)
	w.deliver()
	if _, ok := funds(w); ok || w.relay.c.State() != StateClosing {
		t.Fatal("the relay's own close is the client's")
	}

	w = active(t)
	w.pay(9_000)
	w.do(w.relay, OfferClose{Amount: 9_400, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
	w.deliver()
	w.askClose(w.client, 9_400, 1_000)
	w.deliver()
	if _, ok := funds(w); ok {
		t.Fatal("an accepted offer is the client's close")
	}
	w = active(t)
	w.pay(9_000)
	w.do(w.relay, OfferClose{Amount: 9_400, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
	w.deliver()
	w.askClose(w.client, 9_300, 1_000)
	w.deliver()
	w.do(w.relay, TxSeen{w.chain.pool[0], w.stamp()})
	if final, ok := funds(w); !ok || final != 9_300 {
		t.Fatalf("less than offered: %d %v", final, ok)
	}
}
