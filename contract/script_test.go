package contract

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/btcec/v2/schnorr/musig2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// goldenTerms are complete terms at mainnet heights.
func goldenTerms() Terms {
	return Terms{
		ClientKey: KeyOf(seedKey("C")), RelayKey: KeyOf(seedKey("R")), Expiry: 904_320, Tip: 900_000,
		Value: 100_000, FirstPayment: 2_000, SettleFeeRate: 1_000,
		ClientScript: p2tr(seedKey("client payout")), RelayScript: p2tr(seedKey("relay payout")),
	}
}

func TestGoldenScripts(t *testing.T) {
	g := goldenTerms()
	c, r := g.ClientKey.xonly(), g.RelayKey.xonly()
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	leaf := func(f func() ([]byte, error)) []byte {
		s, err := f()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, x := range []struct {
		name string
		got  []byte
		want []byte
		size int
	}{
		{"L_settle", leaf(g.settleLeaf), cat([]byte{0x20}, c[:], []byte{0xad, 0x20}, r[:], []byte{0xac}), 68},
		{"L_refund", leaf(g.refundLeaf), cat([]byte{0x20}, c[:], []byte{0xad, 0x03, 0x80, 0xcc, 0x0d, 0xb1}), 39},
		{"L_csv", leaf(g.delayLeaf), cat([]byte{0x20}, c[:], []byte{0xad, 0x51, 0xb2}), 36},
	} {
		if !bytes.Equal(x.got, x.want) || len(x.got) != x.size {
			t.Errorf("%s is %x, wanted %x", x.name, x.got, x.want)
		}
	}
	for name, x := range map[string]struct {
		f    func() ([]byte, error)
		want string
	}{
		"escrow":  {g.EscrowScript, "512030be79ab50b9c7bc7d2382e35bb078e14edf9e34e71e09d44d1cf0c4cfd35a76"},
		"delayed": {g.DelayedScript, "5120bde11d9bc482946f619e41ddb34c658ef9ac99dddc8e1268f8ca048807a2c2b8"},
	} {
		if got := hex.EncodeToString(leaf(x.f)); got != x.want {
			t.Errorf("%s script is %s", name, got)
		}
	}
}

// TestEscrowByHand builds the escrow output from BIP341's formulas alone.
func TestEscrowByHand(t *testing.T) {
	g := goldenTerms()
	settle, _ := g.settleLeaf()
	refund, _ := g.refundLeaf()
	leafHash := func(s []byte) []byte {
		h := chainhash.TaggedHash([]byte("TapLeaf"), []byte{0xc0, byte(len(s))}, s)
		return h[:]
	}
	a, b := leafHash(settle), leafHash(refund)
	if bytes.Compare(a, b) > 0 {
		a, b = b, a
	}
	root := chainhash.TaggedHash([]byte("TapBranch"), a, b)
	cp, _ := g.ClientKey.point()
	rp, _ := g.RelayKey.point()
	agg, _, _, err := musig2.AggregateKeys([]*btcec.PublicKey{rp, cp}, true) // the order given does not matter
	if err != nil {
		t.Fatal(err)
	}
	px := schnorr.SerializePubKey(agg.FinalKey)
	tweak := chainhash.TaggedHash([]byte("TapTweak"), px, root[:])
	var s btcec.ModNScalar
	s.SetByteSlice(tweak[:])
	even, err := schnorr.ParsePubKey(px)
	if err != nil {
		t.Fatal(err)
	}
	var p, q, sum btcec.JacobianPoint
	even.AsJacobian(&p)
	btcec.ScalarBaseMultNonConst(&s, &q)
	btcec.AddNonConst(&p, &q, &sum)
	sum.ToAffine()
	x := sum.X.Bytes()
	want := append([]byte{txscript.OP_1, 32}, x[:]...)
	if got, err := g.EscrowScript(); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("escrow %x, by hand %x (%v)", got, want, err)
	}
}

func signSettle(t *testing.T, g Terms, tx *wire.MsgTx) *wire.MsgTx {
	t.Helper()
	out, err := g.escrow(false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := signLeaf(seedKey("C"), tx, g.Value, out)
	if err != nil {
		t.Fatal(err)
	}
	r, err := signLeaf(seedKey("R"), tx, g.Value, out)
	if err != nil {
		t.Fatal(err)
	}
	tx.TxIn[0].Witness = settleStack(out, c, r)
	return tx
}

func signSolo(t *testing.T, out taproot, err error, tx *wire.MsgTx, value usage.Sat) *wire.MsgTx {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := signLeaf(seedKey("C"), tx, value, out)
	if err != nil {
		t.Fatal(err)
	}
	tx.TxIn[0].Witness = soloStack(out, sig)
	return tx
}

// run executes input 0 against an output.
func run(tx *wire.MsgTx, value usage.Sat, script []byte) error {
	return execute(tx, map[wire.OutPoint]*wire.TxOut{tx.TxIn[0].PreviousOutPoint: wire.NewTxOut(int64(value), script)})
}

// must drops an error that a test of something else must not see.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestWeights(t *testing.T) {
	g := goldenTerms()
	op := wire.OutPoint{Hash: chainhash.Hash{1}}
	tx := must[*wire.MsgTx](t)
	escrow := must[[]byte](t)(g.EscrowScript())
	delayed := must[[]byte](t)(g.DelayedScript())
	back, backErr := g.escrow(true)
	lock, lockErr := g.delayed()
	for _, x := range []struct {
		name   string
		tx     *wire.MsgTx
		value  usage.Sat
		script []byte
		want   int64
	}{
		{"settlement", signSettle(t, g, tx(g.SettlementTx(op, 40_000, 0))), g.Value, escrow, 816},
		{"settlement, one output", signSettle(t, g, tx(g.SettlementTx(op, g.Value, 2))), g.Value, escrow, 644},
		{"close by leaf", signSettle(t, g, tx(g.CloseTx(op, 40_000, 5_000))), g.Value, escrow, 816},
		{"refund", signSolo(t, back, backErr, tx(g.RefundTx(op, 1_000)), g.Value), g.Value, escrow, 550},
		{"sweep", signSolo(t, lock, lockErr, tx(g.SweepTx(op, 60_000, 1_000)), 60_000), 60_000, delayed, 515},
	} {
		if err := run(x.tx, x.value, x.script); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
		if got := weight(x.tx); got < x.want-3 || got > x.want+3 {
			t.Errorf("%s weighs %d, wanted %d", x.name, got, x.want)
		}
	}
}

func TestFundingWeights(t *testing.T) {
	tr, wpkh := p2tr(seedKey("a")), p2wpkh(seedKey("a"))
	for _, x := range []struct {
		coin, change []byte
		want         int64
	}{{tr, tr, 616}, {wpkh, wpkh, 609}, {tr, nil, 444}} {
		c := Change{Script: x.change}
		if x.change != nil {
			c.Value = 1000
		}
		if got := fundingWeight([]Coin{{Script: x.coin}}, c); got < x.want-3 || got > x.want+3 {
			t.Errorf("funding from %d to %d bytes weighs %d, wanted %d", len(x.coin), len(x.change), got, x.want)
		}
	}
	// The prediction is an upper bound of what is really signed, and at most 3 units over it.
	w, _ := countersigned(t)
	real, predicted := weight(w.client.c.FundingTx()), fundingWeight(w.client.c.coins, w.client.c.change)
	if real > predicted || predicted-real > 3 {
		t.Errorf("signed %d, predicted %d", real, predicted)
	}
}

func TestPredictionsAreExact(t *testing.T) {
	g := goldenTerms()
	op := wire.OutPoint{Hash: chainhash.Hash{1}}
	tx := must[*wire.MsgTx](t)
	back, err := g.escrow(true)
	leaf, _ := g.refundLeaf()
	refund := tx(g.RefundTx(op, 1_000))
	predicted := weightOf(refund, lockedWitness(leaf, 2))
	if got := weight(signSolo(t, back, err, refund, g.Value)); got != predicted || got != refundWeight {
		t.Errorf("refund weighs %d, predicted %d and %d", got, predicted, refundWeight)
	}
	settle := tx(g.SettlementTx(op, 40_000, 0))
	predicted = weightOf(settle, settleWitness)
	if got := weight(signSettle(t, g, settle)); got != predicted || got != settleWeight {
		t.Errorf("settlement weighs %d, predicted %d and %d", got, predicted, settleWeight)
	}
}

func TestFault16RefundTooEarly(t *testing.T) {
	g := goldenTerms()
	op := wire.OutPoint{Hash: chainhash.Hash{1}}
	escrow := must[[]byte](t)(g.EscrowScript())
	back, err := g.escrow(true)
	for name, change := range map[string]func(*wire.MsgTx){
		"one block early": func(tx *wire.MsgTx) { tx.LockTime = uint32(g.Expiry) - 1 },
		"no lock time":    func(tx *wire.MsgTx) { tx.LockTime = 0 },
		"final sequence":  func(tx *wire.MsgTx) { tx.TxIn[0].Sequence = 0xFFFFFFFF },
		"a time":          func(tx *wire.MsgTx) { tx.LockTime = 1_700_000_000 },
	} {
		tx := must[*wire.MsgTx](t)(g.RefundTx(op, 1_000))
		change(tx)
		if run(signSolo(t, back, err, tx, g.Value), g.Value, escrow) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	tx := must[*wire.MsgTx](t)(g.RefundTx(op, 1_000))
	tx.LockTime++
	if err := run(signSolo(t, back, err, tx, g.Value), g.Value, escrow); err != nil {
		t.Errorf("later than E: %v", err)
	}
}

func TestFault19NoPinningByTheClient(t *testing.T) {
	g := goldenTerms()
	op := wire.OutPoint{Hash: chainhash.Hash{1}}
	delayed := must[[]byte](t)(g.DelayedScript())
	lock, err := g.delayed()
	for name, seq := range map[string]uint32{"none": 0, "final": 0xFFFFFFFF, "disabled": spendSequence, "512 s": 1<<22 | 1} {
		tx := must[*wire.MsgTx](t)(g.SweepTx(op, 60_000, 1_000))
		tx.TxIn[0].Sequence = seq
		if run(signSolo(t, lock, err, tx, 60_000), 60_000, delayed) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSettlementNeedsBoth(t *testing.T) {
	g := goldenTerms()
	op := wire.OutPoint{Hash: chainhash.Hash{1}}
	escrow := must[[]byte](t)(g.EscrowScript())
	for item := range 2 {
		tx := signSettle(t, g, must[*wire.MsgTx](t)(g.SettlementTx(op, 40_000, 0)))
		tx.TxIn[0].Witness[item] = nil
		if run(tx, g.Value, escrow) == nil {
			t.Errorf("without item %d: accepted", item)
		}
		tx = signSettle(t, g, must[*wire.MsgTx](t)(g.SettlementTx(op, 40_000, 0)))
		tx.TxOut[1].Value++
		if run(tx, g.Value, escrow) == nil {
			t.Error("another sum: accepted")
		}
	}
}

func TestFault33Dust(t *testing.T) {
	g := goldenTerms()
	op := wire.OutPoint{}
	for _, x := range []struct {
		p       usage.Sat
		outputs int
	}{{99_669, 2}, {99_670, 2}, {99_671, 1}, {100_000, 1}} {
		tx := must[*wire.MsgTx](t)(g.SettlementTx(op, x.p, 0))
		if len(tx.TxOut) != x.outputs {
			t.Errorf("P = %d: %d outputs", x.p, len(tx.TxOut))
		}
		fee := FeeFor(1_000, weightOf(tx, settleWitness))
		if outputSum(tx)+fee != g.Value {
			t.Errorf("P = %d: %d sat leave an escrow of %d", x.p, outputSum(tx)+fee, g.Value)
		}
	}
	for _, p := range []usage.Sat{0, 533, 100_001} {
		if _, err := g.SettlementTx(op, p, 0); code.Of(err) != code.BadAmount {
			t.Errorf("P = %d: %v", p, err)
		}
	}
	if _, err := g.SettlementTx(op, 534, 0); err != nil {
		t.Error(err)
	}
}

func TestFeeRoundsUp(t *testing.T) {
	for _, x := range []struct {
		rate   uint64
		weight int64
		want   usage.Sat
	}{{1_000, 816, 204}, {1_000, 817, 205}, {1_001, 816, 205}, {16_000, 816, 3264}, {0, 816, 0}} {
		if got := FeeFor(x.rate, x.weight); got != x.want {
			t.Errorf("FeeFor(%d, %d) = %d", x.rate, x.weight, got)
		}
	}
}
