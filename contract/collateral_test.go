package contract

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// testCollateral is the K of tests that need one.
const testCollateral usage.Sat = 20_000

// backing is what the relay's wallet reserves for a collateral: coins of both kinds, made for it.
func (w *world) backing(k usage.Sat, rate uint64) Share {
	if k == 0 || k > usage.MaxSat {
		return Share{}
	}
	s := Share{
		Coins:  []Coin{w.coinOf(w.relay, "relay ", k, p2wpkh), w.coinOf(w.relay, "relay ", 90_000, p2tr)},
		Change: Change{1, p2tr(seedKey("relay change"))},
	}
	s.Change.Value = 90_000 - min(FeeFor(rate, backingWeight(s)), 80_000)
	return s
}

// look is what a node says of coins.
func (w *world) look(coins []Coin) []CoinView {
	out := make([]CoinView, len(coins))
	for i, c := range coins {
		o, at, ok := w.chain.find(c.OutPoint)
		if ok {
			out[i] = CoinView{Exists: true, Value: usage.Sat(o.Value), Script: o.PkScript, Confirmations: w.chain.tip() - at + 1}
		}
	}
	return out
}

// back is what has come back of the collateral in the chain.
func (w *world) back(c Contract) (sum usage.Sat) {
	if c.terms.Collateral == 0 {
		return 0
	}
	for _, b := range w.chain.blocks {
		for _, tx := range b.txs {
			if spends(tx, c.collateral()) {
				sum += outputSum(tx)
			}
		}
	}
	return sum
}

// backingConserved accounts for every satoshi that the relay brought into a contract that is at its end: what its coins,
// its change, the returned collateral and its own double spend hold, and the fees of each.
func (w *world) backingConserved(c Contract) error {
	if c.role != Relay || !c.exposed() {
		return nil
	}
	brought := coinSum(c.backing.Coins)
	fee, err := fundingFee(c.backing.Coins, c.terms.Collateral, c.backing.Change)
	if err != nil {
		return err
	}
	var unspent usage.Sat
	for _, coin := range c.backing.Coins {
		if _, _, ok := w.chain.find(coin.OutPoint); ok {
			unspent += coin.Value
		}
	}
	if funding, at, ok := w.chain.find(c.collateral()); ok && at > 0 {
		return fmt.Errorf("the collateral of %d sat is still locked at height %d, E is %d", funding.Value, w.chain.tip(), c.terms.Expiry)
	}
	returned := w.back(c)
	switch {
	case returned > 0: // funded, and back
		change, _, _ := w.chain.find(wire.OutPoint{Hash: c.funding, Index: uint32(len(c.FundingTx().TxOut) - 1)})
		if reclaim := c.terms.Collateral - returned; unspent != 0 || change.Value+int64(returned+fee+reclaim) != int64(brought) || reclaim > FeeFor(5_000, reclaimWeight) {
			return fmt.Errorf("of %d sat the relay has %d of the collateral, fees of %d and %d, change of %d", brought, returned, fee, reclaim, change.Value)
		}
	case len(c.cancel) > 0 && unspent == 0:
		tx, err := c.cancelTx(c.acts.cancelRate)
		if err != nil || !w.chain.has(tx.TxHash()) || brought-outputSum(tx) > FeeFor(7_000, weightOf(tx, 200)) {
			return fmt.Errorf("the double spend of %d sat is lost (%v)", brought, err)
		}
	case unspent != brought:
		return fmt.Errorf("of %d sat the relay has %d", brought, unspent)
	}
	return nil
}

func TestCollateralScriptAndWeights(t *testing.T) {
	g := goldenTerms()
	g.Collateral, g.FundFeeRate = testCollateral, 1_000
	r := g.RelayKey.xonly()
	leaf, err := lockedLeaf(g.RelayKey, g.Expiry)
	if want := append(append([]byte{0x20}, r[:]...), 0xad, 0x03, 0x80, 0xcc, 0x0d, 0xb1); err != nil || !bytes.Equal(leaf, want) {
		t.Fatalf("L_coll is %x, wanted %x", leaf, want)
	}
	script := must[[]byte](t)(g.CollateralScript())
	if escrow := must[[]byte](t)(g.EscrowScript()); len(script) != maxScript || bytes.Equal(script, escrow) {
		t.Fatalf("the collateral pays to %x", script)
	}
	out, err := g.collateral()
	op := wire.OutPoint{Hash: chainhash.Hash{1}, Index: CollateralIndex}
	sign := func(name string, tx *wire.MsgTx) *wire.MsgTx {
		sig, err := signLeaf(seedKey(name), tx, g.Collateral, out)
		if err != nil {
			t.Fatal(err)
		}
		tx.TxIn[0].Witness = soloStack(out, sig)
		return tx
	}
	if err != nil {
		t.Fatal(err)
	}
	back := sign("R", must[*wire.MsgTx](t)(g.ReclaimTx(op, 1_000)))
	if err := run(back, g.Collateral, script); err != nil || weight(back) != reclaimWeight {
		t.Fatalf("the reclaim weighs %d: %v", weight(back), err)
	}
	early := must[*wire.MsgTx](t)(g.ReclaimTx(op, 1_000))
	early.LockTime--
	if run(sign("R", early), g.Collateral, script) == nil {
		t.Fatal("the collateral comes back before E")
	}
	if run(sign("C", must[*wire.MsgTx](t)(g.ReclaimTx(op, 1_000))), g.Collateral, script) == nil {
		t.Fatal("the client can take the collateral")
	}
	tr := p2tr(seedKey("a"))
	one := Share{[]Coin{{Script: tr}}, Change{1_000, tr}}
	if got := fundingWeight(one.Coins, one.Change) + backingWeight(one); got < 1190-3 || got > 1190+3 {
		t.Fatalf("a joint funding weighs %d, wanted 1190", got)
	}
	// The prediction is an upper bound of what is really signed.
	w, _ := countersignedWith(t, testCollateral)
	c := w.client.c
	real, predicted := weight(c.FundingTx()), fundingWeight(c.coins, c.change)+backingWeight(c.backing)
	if real > predicted || predicted-real > 6 {
		t.Fatalf("signed %d, predicted %d", real, predicted)
	}
}

// TestCollateralComesBack: whatever becomes of the escrow, K returns to the relay at E, and not before.
func TestCollateralComesBack(t *testing.T) {
	ends := map[string]func(*world){
		"close": func(w *world) {
			w.do(w.client, Close{Amount: 6_000, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
			w.deliver()
		},
		"settlement": func(w *world) { w.do(w.relay, Settle{Key: w.relay.key}) },
		"expiry":     func(w *world) {},
		"client gone": func(w *world) {
			w.client.c, w.client.deaf = Contract{}, true
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			w := activeWith(t, testCollateral)
			e := w.relay.c.terms.Expiry
			w.pay(5_000)
			end(w)
			w.mineTo(e - 1)
			if w.relay.c.facts.spentAt > 0 && w.relay.c.State() != StateSettled {
				t.Fatalf("the contract is %s while the relay's money is in it", w.relay.c.State())
			}
			if w.relay.acts[ForReclaim] != 0 || w.relay.c.Locked() != testCollateral {
				t.Fatal("too early")
			}
			w.mineTo(e + 1)
			if w.relay.acts[ForReclaim] == 0 || w.back(w.relay.c) == 0 || w.relay.c.Locked() != 0 {
				t.Fatal("the collateral is not back")
			}
			w.chain.undo()
			w.do(w.relay, BlockDisconnected{e + 1})
			if w.relay.c.Locked() != testCollateral {
				t.Fatal("it is not watched through a reorganisation")
			}
			w.tell(w.relay, w.chain.mine(nil))
			for range 22 {
				w.tell(w.relay, w.chain.mine(nil))
			}
			if w.relay.c.State() != StateArchived || !w.relay.c.Forgettable() {
				t.Fatalf("the relay is %s", w.relay.c.State())
			}
			if err := w.backingConserved(w.relay.c); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFault35FreeOption: the client, who can complete the funding before it has given anything away, holds it back.
func TestFault35FreeOption(t *testing.T) {
	w, s := countersignedWith(t, testCollateral) // what the client has signed stays with it
	tx := w.client.c.FundingTx()
	w.wantCode(w.relay, GiveUp{Code: code.NoCapacity, Stamp: w.stamp()}, code.BadState)
	if len(w.relay.c.Leases()) != 2 || !w.relay.c.Exposed() {
		t.Fatal("the relay's coins are free while its signatures are out")
	}
	w.client.deaf = true
	for range 6 {
		w.tell(w.relay, w.chain.mine(nil))
	}
	if w.relay.c.State() != StateCancelling || len(w.chain.pool) != 1 {
		t.Fatalf("the relay is %s", w.relay.c.State())
	}
	if err := w.chain.accept(tx); err == nil {
		t.Fatal("the late funding takes the place of the double spend")
	}
	w.wantCode(w.relay, w.event(w.relay, w.open(s)), code.BadState)
	w.tell(w.relay, w.chain.mine(nil))
	if w.relay.c.State() != StateFailed || len(w.relay.c.Leases()) != 2 {
		t.Fatalf("the relay is %s with %d coins", w.relay.c.State(), len(w.relay.c.Leases()))
	}
	for range 2 {
		w.tell(w.relay, w.chain.mine(nil))
	}
	if w.relay.c.Leases() != nil || w.relay.c.Locked() != 0 || w.relay.c.Forgettable() {
		t.Fatal("the double spend is deep enough for the coins, and not for the record")
	}
	if err := w.backingConserved(w.relay.c); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		w.tell(w.relay, w.chain.mine(nil))
	}
	if !w.relay.c.Forgettable() {
		t.Fatal("the record is kept for ever")
	}
}

// TestFault35PublishedLate: the client publishes the funding in its own time. E is a height, so that a late start only
// shortens it; and the relay takes the signatures when they come.
func TestFault35PublishedLate(t *testing.T) {
	for name, signs := range map[string]bool{"and signs": true, "and never signs": false} {
		t.Run(name, func(t *testing.T) {
			w, s := countersignedWith(t, testCollateral)
			e := w.client.c.terms.Expiry
			w.mine(4)
			w.do(w.client, PublishFunding{})
			w.do(w.relay, TxSeen{w.client.c.FundingTx(), w.stamp()})
			w.wantStates(StateFunding, StateFunding)
			w.mine(4)
			w.wantStates(StateActive, StateFunding)
			if w.relay.c.Service() || w.relay.acts[ForCancel] > 0 {
				t.Fatal("service without a payment")
			}
			if signs {
				w.do(w.relay, w.event(w.relay, w.open(s)))
				w.deliver()
				w.wantStates(StateActive, StateActive)
				w.pay(5_000)
			}
			w.mineTo(e + 23)
			if w.back(w.relay.c) == 0 || !w.relay.c.Forgettable() {
				t.Fatalf("the relay is %s and has %d back", w.relay.c.State(), w.back(w.relay.c))
			}
			if got := w.paidTo(w.relay) - w.back(w.relay.c); (got > 0) != signs {
				t.Fatalf("the relay was paid %d", got)
			}
		})
	}
}

// TestWithdrawnFundings: a funding with both sides' signatures that never confirms is withdrawn, and not forgotten.
func TestWithdrawnFundings(t *testing.T) {
	for name, seen := range map[string]bool{"seen": true, "never seen": false} {
		t.Run(name, func(t *testing.T) {
			w, s := countersignedWith(t, testCollateral)
			funding := w.client.c.FundingTx()
			if !seen {
				w.chain.base, w.client.deaf = map[wire.OutPoint]*wire.TxOut{}, true
			}
			w.do(w.relay, w.event(w.relay, w.open(s)))
			w.chain.pool = nil
			keep := w.relay.c.stage
			for range 60 {
				w.chain.pool = nil // it never gets into a block
				w.tell(w.relay, w.chain.mine(nil))
			}
			if w.relay.c.State() != StateCancelling || w.relay.c.Forgettable() || keep == stageOffered {
				t.Fatalf("the relay is %s", w.relay.c.State())
			}
			if seen { // and then it does
				w.chain.pool = []*wire.MsgTx{funding}
				w.tell(w.relay, w.chain.mine(nil))
				if w.relay.c.depth() != 1 || w.relay.c.State() != StateClosing || w.relay.acts[ForSettlement] == 0 {
					t.Fatalf("the relay is %s", w.relay.c.State())
				}
			}
		})
	}
}

// TestWithdrawalAtHighFees: where coins cannot bear what the node asks for, they are withdrawn at the least rate that outbids the
// funding, and not left to the client until the fees fall.
func TestWithdrawalAtHighFees(t *testing.T) {
	w, _ := countersignedWith(t, testCollateral)
	c := w.relay.c
	c.backing.Coins = slices.Clone(c.backing.Coins)
	c.backing.Coins[1].Value, c.backing.Change = 20_000, Change{}
	_, effects, err := c.Apply(BlockConnected{Height: c.terms.Tip + 6, Key: w.relay.key, FeeRate: MaxFeeRate, Stamp: w.stamp()})
	if err != nil || len(effects) != 1 {
		t.Fatalf("%v, %v", effects, err)
	}
	if s, ok := effects[0].(SignFunding); !ok || !s.Cancel || s.FeeRate != c.terms.FundFeeRate+MinFeeRate {
		t.Fatalf("%+v", effects[0])
	}
}

// offeredWays are the ways of a relay whose signatures are out and whose client is silent.
func offeredWays(t *testing.T) {
	w, _ := countersignedWith(t, testCollateral)
	w.chain.pool = []*wire.MsgTx{w.client.c.FundingTx()}
	w.tell(w.relay, w.chain.mine(nil)) // a block brings the funding
	for w.chain.tip() < w.relay.c.terms.Expiry+3 {
		w.mine(1) // the client refunds
	}
	w, _ = countersignedWith(t, testCollateral)
	spendElsewhere(w)
	w.tell(w.relay, w.chain.mine(nil))
	w, _ = countersignedWith(t, testCollateral)
	w.relay.deaf = true
	for range 6 {
		w.tell(w.relay, w.chain.mine(nil))
	}
	w.chain.pool = []*wire.MsgTx{w.client.c.FundingTx()} // a miner prefers the funding
	w.tell(w.relay, w.chain.mine(nil))
}

// refusedBacking runs changes of the relay's answer, and of what the client's node says of its coins, against the client.
func refusedBacking(t *testing.T, want code.Code, changes map[string]func(*ServerAddInputs), views map[string]func(*CoinView)) {
	t.Helper()
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			w, s := answeredWith(t, testCollateral)
			w.wantCode(w.client, w.event(w.client, forge(w, w.relay, s, change)), want)
			w.do(w.client, w.event(w.client, w.open(s)))
		})
	}
	for name, change := range views {
		t.Run(name, func(t *testing.T) {
			w, s := answeredWith(t, testCollateral)
			e := w.event(w.client, w.open(s)).(Received)
			change(&e.Coins[1])
			w.wantCode(w.client, e, want)
			w.do(w.client, w.event(w.client, w.open(s)))
		})
	}
}

// TestCheck13to16TheRelaysCoins: the client believes its own node and nothing else about coins that it does not own.
func TestCheck13to16TheRelaysCoins(t *testing.T) {
	p2wsh := append([]byte{txscript.OP_0, 32}, make([]byte, 32)...)
	refusedBacking(t, code.BadInput, map[string]func(*ServerAddInputs){
		"16 other kind":   func(m *ServerAddInputs) { m.Inputs[0] = append(m.Inputs[0][:8:8], p2wsh...) },
		"15 other value":  func(m *ServerAddInputs) { m.Inputs[1][7]++ },
		"15 other script": func(m *ServerAddInputs) { m.Inputs[1][20]++ },
	}, map[string]func(*CoinView){
		"13 missing":           func(v *CoinView) { *v = CoinView{} },
		"13 being spent":       func(v *CoinView) { v.SpentInPool = true },
		"14 unconfirmed":       func(v *CoinView) { v.Confirmations = 0 },
		"14 immature coinbase": func(v *CoinView) { v.Coinbase, v.Confirmations = true, 99 },
		"8 mine":               func(v *CoinView) { v.Mine = true },
	})
}

// TestCheck17TheRelaysV0Amount: a lie about the value of a v0 coin of the relay's, which its own signature does not show
// beyond that coin, is seen in the client's own chain.
func TestCheck17TheRelaysV0Amount(t *testing.T) {
	refusedBacking(t, code.BadInput, map[string]func(*ServerAddInputs){
		"less": func(m *ServerAddInputs) { m.Inputs[0][6]-- },
	}, nil)
}

// TestCheck19TheRelaysShare: the relay pays for its inputs, the collateral and its change; no satoshi of it is the client's.
func TestCheck19TheRelaysShare(t *testing.T) {
	change := func(d int64) func(*ServerAddInputs) {
		return editFunding(func(tx *wire.MsgTx) { tx.TxOut[3].Value += d })
	}
	refusedBacking(t, code.BadFeeRate, map[string]func(*ServerAddInputs){"fee too low": change(1), "fee too high": change(-400)}, nil)
	refusedBacking(t, code.BadAmount, map[string]func(*ServerAddInputs){
		"more out than in": change(10_000), "dust": editFunding(func(tx *wire.MsgTx) { tx.TxOut[3].Value = 329 }),
		"collateral": editFunding(func(tx *wire.MsgTx) { tx.TxOut[1].Value-- }),
		"my change":  editFunding(func(tx *wire.MsgTx) { tx.TxOut[2].Value-- }),
	}, nil)
	refusedBacking(t, code.BadScript, map[string]func(*ServerAddInputs){
		"collateral to a stranger": editFunding(func(tx *wire.MsgTx) { tx.TxOut[1].PkScript = p2tr(seedKey("thief")) }),
		"outputs swapped":          editFunding(func(tx *wire.MsgTx) { tx.TxOut[1], tx.TxOut[0] = tx.TxOut[0], tx.TxOut[1] }),
	}, nil)
	refusedBacking(t, code.BadTransaction, map[string]func(*ServerAddInputs){
		"one more output": editFunding(func(tx *wire.MsgTx) { addOutput(tx, 330, p2tr(seedKey("thief"))) }),
		"no output":       editFunding(func(tx *wire.MsgTx) { tx.TxOut = tx.TxOut[:2] }),
		"undeclared":      editFunding(manyInputs(1)),
		"one declared":    func(m *ServerAddInputs) { m.Inputs = m.Inputs[:1] },
		"none declared":   func(m *ServerAddInputs) { m.Inputs = nil },
		"my coin":         editFunding(func(tx *wire.MsgTx) { tx.TxIn[3].PreviousOutPoint = tx.TxIn[0].PreviousOutPoint }),
	}, nil)
	refusedAnswer(t, code.BadTransaction, map[string]func(*ServerAddInputs){
		"inputs without a collateral": func(m *ServerAddInputs) { m.Inputs = [][]byte{make([]byte, 42)} },
	})
}

// TestCheck27TheRelaysWitnesses: the relay's witnesses are checked before the client signs.
func TestCheck27TheRelaysWitnesses(t *testing.T) {
	first := func(change func([][]byte) [][]byte) func(*ServerAddInputs) {
		return func(m *ServerAddInputs) {
			w, err := parseWitness(m.Witnesses[1])
			if err != nil {
				panic(err)
			}
			m.Witnesses[1] = encodeWitness(change(w))
		}
	}
	refusedBacking(t, code.BadWitness, map[string]func(*ServerAddInputs){
		"none":      func(m *ServerAddInputs) { m.Witnesses = nil },
		"one less":  func(m *ServerAddInputs) { m.Witnesses = m.Witnesses[:1] },
		"one more":  func(m *ServerAddInputs) { m.Witnesses = append(m.Witnesses, m.Witnesses[0]) },
		"65 bytes":  first(func(w [][]byte) [][]byte { return [][]byte{append(bytes.Clone(w[0]), 1)} }),
		"annex":     first(func(w [][]byte) [][]byte { return append(w, []byte{0x50}) }),
		"wrong bit": first(func(w [][]byte) [][]byte { w[0][9] ^= 1; return w }),
		"empty":     func(m *ServerAddInputs) { m.Witnesses[0] = nil },
	}, nil)
	refusedAnswer(t, code.BadWitness, map[string]func(*ServerAddInputs){
		"without a collateral": func(m *ServerAddInputs) { m.Witnesses = [][]byte{{0}} },
	})
}

// TestCollateralTheWalletsWitnesses: what the relay's own wallet signs is checked like a stranger's.
func TestCollateralTheWalletsWitnesses(t *testing.T) {
	w, s := proposedWith(t, testCollateral)
	next, effects, err := w.relay.c.Apply(w.acceptance(w.open(s)))
	if err != nil {
		t.Fatal(err)
	}
	sign, ok := effects[0].(SignFunding)
	if !ok || len(sign.Own) != 2 || len(effects) != 1 {
		t.Fatalf("%+v", effects)
	}
	if next.Exposed() || len(next.Leases()) != 2 {
		t.Fatal("nothing is out yet")
	}
	w.relay.c = next
	good := w.sign(w.relay, sign)
	bad := map[wire.OutPoint]wire.TxWitness{}
	for op, x := range good {
		bad[op] = wire.TxWitness{bytes.Clone(x[0])}
		bad[op][0][9] ^= 1
	}
	w.wantCode(w.relay, SignedFunding{Witnesses: bad, Stamp: w.stamp()}, code.BadWitness)
	w.wantCode(w.relay, SignedFunding{Witnesses: nil, Stamp: w.stamp()}, code.BadWitness)
	// The proposal again, when the wallet was not there the first time, is signed now.
	w.do(w.relay, w.acceptance(w.open(s)))
	if !w.relay.c.Exposed() || len(w.client.inbox) != 1 {
		t.Fatal("no answer")
	}
	w.wantCode(w.relay, SignedFunding{Witnesses: good, Stamp: w.stamp()}, code.BadState)
	was := w.relay.sent
	w.do(w.relay, w.acceptance(w.open(s)))
	if string(w.relay.sent[len(was)].Statement) != string(was[len(was)-1].Statement) {
		t.Fatal("another answer to the same proposal")
	}
}

// TestCollateralWithAnOutsideWallet: the file that is signed elsewhere brings the relay's finished inputs.
func TestCollateralWithAnOutsideWallet(t *testing.T) {
	w, s := answeredWith(t, testCollateral)
	c, effects, err := w.client.c.Apply(w.event(w.client, w.open(s)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.FundingPSBT(nil)
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := readPSBT(raw)
	if err != nil || len(p.Inputs) != 4 || len(p.Inputs[3].FinalScriptWitness) == 0 || p.Inputs[3].WitnessUtxo == nil {
		t.Fatalf("%+v %v", p, err)
	}
	if _, err := c.ImportFunding(raw); code.Of(err) != code.NotSigned {
		t.Fatal(err)
	}
	for i, witness := range w.sign(w.client, effects[0].(SignFunding)) {
		for j, in := range p.UnsignedTx.TxIn {
			if in.PreviousOutPoint == i {
				p.Inputs[j].FinalScriptWitness = stackBytes(witness)
			}
		}
	}
	signed, err := psbtBytes(p)
	if err != nil {
		t.Fatal(err)
	}
	witnesses, err := c.ImportFunding(signed)
	if err != nil {
		t.Fatal(err)
	}
	w.client.c = c
	w.do(w.client, SignedFunding{Witnesses: witnesses, Key: w.client.key, Stamp: w.stamp()})
	w.deliver()
	w.mine(3)
	w.wantStates(StateActive, StateActive)
}

// TestCollateralShown: what people are told of it.
func TestCollateralShown(t *testing.T) {
	w := newWorld(t)
	w.k = testCollateral
	worst, err := w.proposal().WorstCase()
	if err != nil || worst.Collateral != testCollateral || worst.BackingFee != FeeFor(1_500, 574) || worst.ReclaimFee != FeeFor(1_500, 518) {
		t.Fatalf("%+v %v", worst, err)
	}
	plain := newWorld(t)
	if none, err := plain.proposal().WorstCase(); err != nil || none.ClientLoss != worst.ClientLoss {
		t.Fatalf("the client's worst case is %d and %d: a collateral is nothing that it can lose or gain (%v)", worst.ClientLoss, none.ClientLoss, err)
	}
	w = activeWith(t, testCollateral)
	for _, p := range []*party{w.client, w.relay} {
		paid := theOne(t, p.c, ForFunding, Confirmed).Pays
		if len(paid) != 4 || paid[1].To != ToCollateral || paid[2].To != ToChange || paid[3].To != ToRelay {
			t.Fatalf("%+v", paid)
		}
		theOne(t, p.c, ForReclaim, Planned)
		if s := p.c.Summary(); s.Collateral != testCollateral || s.BackAt != 0 {
			t.Fatalf("%+v", s)
		}
	}
	w.mineTo(w.relay.c.terms.Expiry + 1)
	for _, p := range []*party{w.client, w.relay} {
		if p.c.Summary().BackAt != w.chain.tip() {
			t.Fatalf("the %s does not know that the collateral is back", p.role)
		}
	}
	theOne(t, w.relay.c, ForReclaim, Confirmed)
}
