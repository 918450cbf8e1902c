package contract

import (
	"bytes"
	"testing"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// The tests TestCheckNN… are the negative tests of the protocol's verification checklist: each
// shows the honest message accepted and the dishonest one refused with the right code, by a party
// whose contract then is unchanged (world.try checks that).

// forge is a message that its signer really signed, changed before signing.
func forge[M Message](w *world, from *party, s identity.Signed, change func(M)) Verified {
	w.t.Helper()
	m, err := Decode(s.Statement)
	if err != nil {
		w.t.Fatalf("decode: %v", err)
	}
	change(m.(M))
	raw, err := Encode(m)
	if err != nil {
		w.t.Fatalf("encode: %v", err)
	}
	signed, err := identity.SignOne(from.id, raw)
	if err != nil {
		w.t.Fatalf("sign: %v", err)
	}
	return w.open(signed)
}

// proposed is a world where the client has proposed; the statement waits at the relay.
func proposed(t failer) (*world, identity.Signed) { return proposedWith(t, 0) }

func proposedWith(t failer, k usage.Sat) (*world, identity.Signed) {
	w := newWorld(t)
	w.k = k
	w.do(w.client, w.proposal())
	s := w.relay.inbox[0]
	w.relay.inbox = nil
	return w, s
}

// answered is a world where the relay has answered; the statement waits at the client.
func answered(t failer) (*world, identity.Signed) { return answeredWith(t, 0) }

func answeredWith(t failer, k usage.Sat) (*world, identity.Signed) {
	w, s := proposedWith(t, k)
	w.do(w.relay, w.acceptance(w.open(s)))
	s = w.client.inbox[0]
	w.client.inbox = nil
	return w, s
}

// countersigned is a world where the client has signed; the statement waits at the relay.
func countersigned(t failer) (*world, identity.Signed) { return countersignedWith(t, 0) }

func countersignedWith(t failer, k usage.Sat) (*world, identity.Signed) {
	w, s := answeredWith(t, k)
	w.do(w.client, w.event(w.client, w.open(s)))
	s = w.relay.inbox[0]
	w.relay.inbox = nil
	return w, s
}

// refusedOpen runs changes of the proposal against the relay.
func refusedOpen(t *testing.T, want code.Code, changes map[string]func(*Open)) {
	t.Helper()
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			w, s := proposed(t)
			w.wantCode(w.relay, w.acceptance(forge(w, w.client, s, change)), want)
		})
	}
}

// editTx changes the transaction of a proposal.
func editTx(change func(*wire.MsgTx)) func(*Open) {
	return func(m *Open) { m.Tx = edited(m.Tx, change) }
}

func edited(raw []byte, change func(*wire.MsgTx)) []byte {
	tx := wire.NewMsgTx(2)
	if err := tx.DeserializeNoWitness(bytes.NewReader(raw)); err != nil {
		panic(err)
	}
	change(tx)
	return unsignedBytes(tx)
}

func TestCheck01Shape(t *testing.T) {
	refusedOpen(t, code.BadTransaction, map[string]func(*Open){
		"version 1":   editTx(func(tx *wire.MsgTx) { tx.Version = 1 }),
		"version 3":   editTx(func(tx *wire.MsgTx) { tx.Version = 3 }),
		"lock time":   editTx(func(tx *wire.MsgTx) { tx.LockTime = 1 }),
		"17 inputs":   editTx(manyInputs(15)),
		"two changes": editTx(func(tx *wire.MsgTx) { tx.AddTxOut(tx.TxOut[0]) }),
		"seven outputs": editTx(func(tx *wire.MsgTx) {
			for range 6 {
				tx.AddTxOut(tx.TxOut[0])
			}
		}),
		"undeclared input": func(m *Open) { m.Inputs = m.Inputs[:1] },
		"trailing byte":    func(m *Open) { m.Tx = append(m.Tx, 0) },
	})
}

func manyInputs(n int) func(*wire.MsgTx) {
	return func(tx *wire.MsgTx) {
		for i := range n {
			addInput(tx, wire.OutPoint{Index: uint32(1000 + i)}, spendSequence)
		}
	}
}

func TestCheck02ScriptSigEmpty(t *testing.T) {
	refusedOpen(t, code.BadTransaction, map[string]func(*Open){
		"one byte": editTx(func(tx *wire.MsgTx) { tx.TxIn[1].SignatureScript = []byte{txscript.OP_TRUE} }),
	})
}

func TestCheck03Sequence(t *testing.T) {
	refusedOpen(t, code.BadTransaction, map[string]func(*Open){
		"final":           editTx(func(tx *wire.MsgTx) { tx.TxIn[0].Sequence = 0xFFFFFFFF }),
		"not replaceable": editTx(func(tx *wire.MsgTx) { tx.TxIn[1].Sequence = 0xFFFFFFFE }),
		"relative lock":   editTx(func(tx *wire.MsgTx) { tx.TxIn[1].Sequence = 1 }),
	})
}

func TestCheck04DuplicateInput(t *testing.T) {
	refusedOpen(t, code.BadTransaction, map[string]func(*Open){
		"twice": editTx(func(tx *wire.MsgTx) { tx.TxIn[1].PreviousOutPoint = tx.TxIn[0].PreviousOutPoint }),
	})
}

// refusedAnswer runs changes of the relay's answer against the client.
func refusedAnswer(t *testing.T, want code.Code, changes map[string]func(*ServerAddInputs)) {
	t.Helper()
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			w, s := answered(t)
			w.wantCode(w.client, w.event(w.client, forge(w, w.relay, s, change)), want)
			w.do(w.client, w.event(w.client, w.open(s)))
		})
	}
}

func editFunding(change func(*wire.MsgTx)) func(*ServerAddInputs) {
	return func(m *ServerAddInputs) { m.Tx = edited(m.Tx, change) }
}

// editTerms changes the terms that the relay signs.
func editTerms(change func(*Terms)) func(*ServerAddInputs) {
	return func(m *ServerAddInputs) {
		t, err := DecodeTerms(m.Terms)
		if err != nil {
			panic(err)
		}
		change(&t)
		m.RelayKey = t.RelayKey
		m.Terms, _ = t.Encode()
	}
}

func TestCheck05Rebuilt(t *testing.T) {
	refusedAnswer(t, code.BadTransaction, map[string]func(*ServerAddInputs){
		"another input":  editFunding(func(tx *wire.MsgTx) { tx.TxIn[0].PreviousOutPoint.Index++ }),
		"version":        editFunding(func(tx *wire.MsgTx) { tx.Version = 1 }),
		"sequence":       editFunding(func(tx *wire.MsgTx) { tx.TxIn[0].Sequence-- }),
		"trailing bytes": func(m *ServerAddInputs) { m.Tx = append(m.Tx, 1) },
	})
	refusedAnswer(t, code.TermsMismatch, map[string]func(*ServerAddInputs){
		"another contract id": func(m *ServerAddInputs) { m.Contract[3] ^= 1 },
	})
}

func TestCheck06Order(t *testing.T) {
	refusedAnswer(t, code.BadTransaction, map[string]func(*ServerAddInputs){
		"inputs": editFunding(func(tx *wire.MsgTx) { tx.TxIn[0], tx.TxIn[1] = tx.TxIn[1], tx.TxIn[0] }),
	})
	refusedAnswer(t, code.BadScript, map[string]func(*ServerAddInputs){
		"outputs": editFunding(func(tx *wire.MsgTx) { tx.TxOut[0], tx.TxOut[1] = tx.TxOut[1], tx.TxOut[0] }),
	})
}

func TestCheck07MyInputs(t *testing.T) {
	refusedAnswer(t, code.BadTransaction, map[string]func(*ServerAddInputs){
		"one missing": editFunding(func(tx *wire.MsgTx) { tx.TxIn = tx.TxIn[:1] }),
		"one twice":   editFunding(func(tx *wire.MsgTx) { tx.TxIn[1] = tx.TxIn[0] }),
	})
}

func TestCheck08NotMyCoins(t *testing.T) {
	w, s := proposed(t)
	a := w.acceptance(w.open(s))
	a.Coins[1].Mine = true
	w.wantCode(w.relay, a, code.BadInput)
	refusedAnswer(t, code.BadTransaction, map[string]func(*ServerAddInputs){
		"a foreign input": editFunding(manyInputs(1)),
	})
}

func TestCheck09MyChange(t *testing.T) {
	refusedAnswer(t, code.BadAmount, map[string]func(*ServerAddInputs){
		"less": editFunding(func(tx *wire.MsgTx) { tx.TxOut[1].Value-- }),
		"more": editFunding(func(tx *wire.MsgTx) { tx.TxOut[1].Value++ }),
	})
	refusedAnswer(t, code.BadScript, map[string]func(*ServerAddInputs){
		"elsewhere": editFunding(func(tx *wire.MsgTx) { tx.TxOut[1].PkScript = p2tr(seedKey("thief")) }),
	})
}

func TestCheck10OutputsOnly(t *testing.T) {
	refusedAnswer(t, code.BadTransaction, map[string]func(*ServerAddInputs){
		"one more": editFunding(func(tx *wire.MsgTx) { addOutput(tx, 330, p2tr(seedKey("thief"))) }),
		"one less": editFunding(func(tx *wire.MsgTx) { tx.TxOut = tx.TxOut[:1] }),
	})
}

func TestCheck11EscrowScript(t *testing.T) {
	w, s := answered(t)
	terms := w.relay.c.Terms()
	wrong := func(change func(*Terms)) func(*ServerAddInputs) {
		other := terms
		change(&other)
		script, err := other.EscrowScript()
		if err != nil {
			t.Fatal(err)
		}
		return editFunding(func(tx *wire.MsgTx) { tx.TxOut[0].PkScript = script })
	}
	settle, _ := terms.settleLeaf()
	refund, _ := terms.refundLeaf()
	internal, _ := terms.aggregateKey()
	extra, err := buildTaproot(internal, settle, settle, refund, []byte{txscript.OP_TRUE})
	if err != nil {
		t.Fatal(err)
	}
	alone, _ := terms.RelayKey.point()
	foreign, _ := buildTaproot(alone, settle, settle, refund)
	set := func(script []byte) func(*ServerAddInputs) {
		return editFunding(func(tx *wire.MsgTx) { tx.TxOut[0].PkScript = script })
	}
	refusedAnswer(t, code.BadScript, map[string]func(*ServerAddInputs){
		"other E":            wrong(func(t *Terms) { t.Expiry++ }),
		"other C":            wrong(func(t *Terms) { t.ClientKey = KeyOf(seedKey("thief")) }),
		"extra leaf":         set(extra.script),
		"other internal key": set(foreign.script),
	})
	refusedAnswer(t, code.BadAmount, map[string]func(*ServerAddInputs){
		"value": editFunding(func(tx *wire.MsgTx) { tx.TxOut[0].Value-- }),
	})
	w.do(w.client, w.event(w.client, w.open(s)))
}

func TestCheck12Keys(t *testing.T) {
	w, s := proposed(t)
	used := w.acceptance(w.open(s))
	used.KeyUsed = true
	w.wantCode(w.relay, used, code.BadKey)
	same := w.acceptance(w.open(s))
	same.Key = KeyOf(w.client.key)
	w.wantCode(w.relay, same, code.BadKey)
	refusedOpen(t, code.BadKey, map[string]func(*Open){
		"no point": func(m *Open) { m.ClientKey[0] = 5 },
		"identity": func(m *Open) { m.ClientKey = Key(append([]byte{2}, m.From[:]...)) },
		"relay's":  func(m *Open) { m.ClientKey = Key(append([]byte{3}, m.To[:]...)) },
	})
	refusedAnswer(t, code.BadKey, map[string]func(*ServerAddInputs){
		"same as C":      editTerms(func(t *Terms) { t.RelayKey = t.ClientKey }),
		"negative C":     editTerms(func(t *Terms) { t.RelayKey = t.ClientKey; t.RelayKey[0] ^= 1 }),
		"no point":       editTerms(func(t *Terms) { t.RelayKey[0] = 7 }),
		"relay identity": editTerms(func(t *Terms) { t.RelayKey = Key(append([]byte{2}, t.Relay[:]...)) }),
	})
	w, s = answered(t)
	w.wantCode(w.client, Received{Message: w.open(s), KeyUsed: true, Stamp: w.stamp()}, code.BadKey)
}

// refusedCoins runs changes of the relay's view of its chain.
func refusedCoins(t *testing.T, changes map[string]func(*CoinView)) {
	t.Helper()
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			w, s := proposed(t)
			a := w.acceptance(w.open(s))
			change(&a.Coins[1])
			w.wantCode(w.relay, a, code.BadInput)
		})
	}
}

func TestCheck13Unspent(t *testing.T) {
	refusedCoins(t, map[string]func(*CoinView){
		"missing":     func(v *CoinView) { *v = CoinView{} },
		"spent":       func(v *CoinView) { v.Exists = false },
		"being spent": func(v *CoinView) { v.SpentInPool = true },
	})
}

func TestCheck14Confirmed(t *testing.T) {
	refusedCoins(t, map[string]func(*CoinView){
		"unconfirmed":       func(v *CoinView) { v.Confirmations = 0 },
		"immature coinbase": func(v *CoinView) { v.Coinbase, v.Confirmations = true, 99 },
	})
	w, s := proposed(t)
	a := w.acceptance(w.open(s))
	a.Coins[0].Coinbase, a.Coins[0].Confirmations = true, 100
	w.do(w.relay, a)
}

func TestCheck15AsDeclared(t *testing.T) {
	refusedCoins(t, map[string]func(*CoinView){
		"value":  func(v *CoinView) { v.Value++ },
		"script": func(v *CoinView) { v.Script = p2tr(seedKey("other")) },
	})
}

func TestCheck16SegwitOnly(t *testing.T) {
	p2wsh := append([]byte{txscript.OP_0, 32}, make([]byte, 32)...)
	refusedOpen(t, code.BadInput, map[string]func(*Open){
		"P2WSH": func(m *Open) { m.Inputs[0] = append(m.Inputs[0][:8:8], p2wsh...) },
		"P2PKH": func(m *Open) {
			m.Inputs[0] = append(m.Inputs[0][:8:8], append([]byte{0x76, 0xa9, 20}, make([]byte, 22)...)...)
		},
	})
	w := newWorld(t)
	p := w.proposal()
	p.Coins[0].Script = p2wsh
	fitChange(&p)
	w.wantCode(w.client, p, code.BadInput)
}

// TestCheck17: each side signs its own inputs, of which it knows the values, and takes those of the others from its own
// chain; what is left is that a lie about a v0 coin's value helps nobody.
func TestCheck17V0Amount(t *testing.T) {
	w, s := countersigned(t)
	for i := range w.relay.c.coins {
		if w.relay.c.coins[i].Script[0] == txscript.OP_0 {
			w.relay.c.coins[i].Value++
			w.relay.c.coins[0].Value--
		}
	}
	w.wantCode(w.relay, w.event(w.relay, w.open(s)), code.BadWitness)
}

func TestCheck18Amounts(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	w, s := proposed(t)
	v := forge(w, w.client, s, func(m *Open) { m.Inputs[0] = append(bytes.Clone(huge), m.Inputs[0][8:]...) })
	a := w.acceptance(v)
	a.Coins[0].Value = 1<<64 - 1
	w.wantCode(w.relay, a, code.BadAmount)
	refusedOpen(t, code.BadAmount, map[string]func(*Open){
		"value above all money": func(m *Open) { m.Value = usage.MaxSat + 1 },
		"negative change":       editTx(func(tx *wire.MsgTx) { tx.TxOut[0].Value = -1 }),
	})
}

func TestCheck19EachPaysItsOwn(t *testing.T) {
	refusedOpen(t, code.BadAmount, map[string]func(*Open){
		"more out than in": editTx(func(tx *wire.MsgTx) { tx.TxOut[0].Value += 10_000 }),
		"larger escrow":    func(m *Open) { m.Value += 10_000 },
	})
}

func TestCheck20FeeRate(t *testing.T) {
	refusedOpen(t, code.BadFeeRate, map[string]func(*Open){
		"below the agreed":  editTx(func(tx *wire.MsgTx) { tx.TxOut[0].Value++ }),
		"above the agreed":  editTx(func(tx *wire.MsgTx) { tx.TxOut[0].Value -= 1000 }),
		"below the minimum": func(m *Open) { m.FundFeeRate = 999 },
		"absurd":            func(m *Open) { m.FundFeeRate = MaxFeeRate + 1 },
	})
	w, s := proposed(t)
	a := w.acceptance(w.open(s))
	a.Offer.MinFundFeeRate = 1_501
	w.wantCode(w.relay, a, code.BadFeeRate)
}

func TestCheck21Dust(t *testing.T) {
	for _, c := range []struct {
		script []byte
		value  usage.Sat
		ok     bool
	}{
		{p2tr(seedKey("d")), 329, false}, {p2tr(seedKey("d")), 330, true},
		{p2wpkh(seedKey("d")), 293, false}, {p2wpkh(seedKey("d")), 294, true},
		{[]byte{txscript.OP_TRUE}, 1000, false},
	} {
		if err := checkChange(Change{c.value, c.script}); (err == nil) != c.ok {
			t.Errorf("%d sat to %x: %v", c.value, c.script, err)
		}
	}
	refusedOpen(t, code.BadAmount, map[string]func(*Open){
		"change": editTx(func(tx *wire.MsgTx) { tx.TxOut[0].Value = 329 }),
	})
}

func TestCheck22FirstPayment(t *testing.T) {
	refusedOpen(t, code.BadAmount, map[string]func(*Open){
		"below the contract price": func(m *Open) { m.FirstPayment = 599 },
		"more than V":              func(m *Open) { m.FirstPayment = m.Value + 1 },
		"leaves dust":              func(m *Open) { m.FirstPayment = m.Value - 329 },
		"V below the floor":        func(m *Open) { m.Value = 4_999 },
		"V above the ceiling":      func(m *Open) { m.Value = 1_000_001 },
	})
	w, s := proposed(t)
	a := w.acceptance(forge(w, w.client, s, func(m *Open) { m.FirstPayment = 533 }))
	a.Offer.ContractPrice = 0
	w.wantCode(w.relay, a, code.BadAmount) // 330 + 204 are needed
}

func TestCheck23Collateral(t *testing.T) {
	refusedOpen(t, code.CollateralTooLarge, map[string]func(*Open){
		"above the offer": func(m *Open) { m.Collateral = 60_001 },
		"above V":         func(m *Open) { m.Collateral, m.Value = 50_001, 50_000 },
	})
	refusedOpen(t, code.BadAmount, map[string]func(*Open){
		"cannot come back": func(m *Open) { m.Collateral = 330 + 194 },
	})
	refusedAnswer(t, code.TermsMismatch, map[string]func(*ServerAddInputs){
		"added":    func(m *ServerAddInputs) { m.Collateral = 20_000 },
		"in terms": editTerms(func(t *Terms) { t.Collateral = 20_000 }),
	})
	w, s := proposed(t)
	a := w.acceptance(forge(w, w.client, s, func(m *Open) { m.Collateral = 20_000 }))
	a.Offer.MaxCollateral = 0
	w.wantCode(w.relay, a, code.CollateralUnsupported)
}

func TestCheck24Expiry(t *testing.T) {
	refusedOpen(t, code.BadDeadline, map[string]func(*Open){
		"too near":    func(m *Open) { m.Expiry = m.Tip + 29 },
		"too far":     func(m *Open) { m.Expiry = m.Tip + 1001 },
		"in the past": func(m *Open) { m.Expiry = m.Tip - 1 },
		"a time":      func(m *Open) { m.Expiry = 1_800_000_000 },
	})
}

func TestCheck25Fresh(t *testing.T) {
	w, s := proposed(t)
	a := w.acceptance(w.open(s))
	a.Offer.ValidUntil = a.Stamp.Time - 1
	w.wantCode(w.relay, a, code.OfferExpired)
	for _, d := range []int{-4, 4} {
		a := w.acceptance(w.open(s))
		a.Tip = usage.Height(int(a.Tip) + d)
		w.wantCode(w.relay, a, code.StaleTip)
	}
	a = w.acceptance(w.open(s))
	a.Tip += 3
	w.do(w.relay, a)
}

// TestCreditIsEarned: what must be earned opens with payments, a relay may spare a known client a part of it, and
// never asks for more than it has offered.
func TestCreditIsEarned(t *testing.T) {
	w := newWorld(t)
	w.offer.CreditLimit, w.offer.CreditToEarn = 2_000, 1_500
	w.do(w.client, w.proposal())
	a := w.acceptance(w.open(w.relay.inbox[0]))
	a.Earned = 400
	w.do(w.relay, a)
	w.relay.inbox = nil
	w.do(w.client, w.event(w.client, w.open(w.client.inbox[0])))
	terms := w.client.c.Terms()
	if terms.CreditToEarn != 1_100 || w.relay.c.Terms().CreditToEarn != 1_100 {
		t.Fatalf("%d sat are left to earn", terms.CreditToEarn)
	}
	for paid, want := range map[usage.Sat]usage.Sat{0: 900, 600: 900, 601: 901, 1_200: 1_500, 1_700: 2_000, 1_701: 2_000, 50_000: 2_000} {
		if got := terms.Credit(paid); got != want {
			t.Errorf("with %d paid the credit is %d, want %d", paid, got, want)
		}
	}
	terms.CreditToEarn = terms.CreditLimit + 1
	if code.Of(terms.Check()) != code.BadAmount {
		t.Fatal("more is to be earned than there is credit")
	}
}

func TestCheck26TermsAsOffered(t *testing.T) {
	refusedAnswer(t, code.TermsMismatch, map[string]func(*ServerAddInputs){
		"storage price":  editTerms(func(t *Terms) { t.Prices.StorageMsatPerGiBDay++ }),
		"egress price":   editTerms(func(t *Terms) { t.Prices.EgressMsatPerGiB++ }),
		"contract price": editTerms(func(t *Terms) { t.ContractPrice++ }),
		"credit":         editTerms(func(t *Terms) { t.CreditLimit-- }),
		"less credit":    editTerms(func(t *Terms) { t.CreditToEarn++ }),
		"depth":          editTerms(func(t *Terms) { t.Depth++ }),
		"settle rate":    editTerms(func(t *Terms) { t.SettleFeeRate++ }),
		"first payment":  editTerms(func(t *Terms) { t.FirstPayment++ }),
		"client payout":  editTerms(func(t *Terms) { t.ClientScript = p2tr(seedKey("thief")) }),
		"network":        editTerms(func(t *Terms) { t.Network = identity.Mainnet }),
		"key":            func(m *ServerAddInputs) { m.RelayKey = KeyOf(seedKey("other")) },
	})
	refusedAnswer(t, code.BadScript, map[string]func(*ServerAddInputs){
		"relay payout": editTerms(func(t *Terms) { t.RelayScript = []byte{txscript.OP_TRUE} }),
	})
	refusedOpen(t, code.TermsMismatch, map[string]func(*Open){
		"another offer": func(m *Open) { m.Offer[0] ^= 1 },
	})
}

// wantCode fails unless the event fails with the code.
func (w *world) wantCode(p *party, e Event, want code.Code) {
	w.t.Helper()
	if err := w.try(p, e); code.Of(err) != want {
		w.t.Fatalf("%T in state %s: %v, wanted %s", e, p.c.State(), err, want)
	}
}
