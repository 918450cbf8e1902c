package contract

import (
	"bytes"
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// agreed is a world where the client has verified the relay's answer and an outside wallet is to sign.
func agreed(t failer) *world {
	w, s := answered(t)
	next, _, err := w.client.c.Apply(Received{Message: w.open(s), Stamp: w.stamp()})
	if err != nil {
		t.Fatalf("the answer: %v", err)
	}
	w.client.c = next
	return w
}

// exported is the file that leaves, parsed by the library.
func exported(t failer, w *world) *psbt.Packet {
	raw, err := w.client.c.FundingPSBT(nil)
	if err != nil {
		t.Fatalf("export: %v", err)
	}
	p, err := psbt.NewFromRawBytes(bytes.NewReader(raw), false)
	if err != nil {
		t.Fatalf("export: %v", err)
	}
	return p
}

// coldSign signs as a wallet does that knows nothing but the file and its keys.
func (w *world) coldSign(p *psbt.Packet, finish bool) {
	w.t.Helper()
	fetch := spentBy(p)
	hashes := txscript.NewTxSigHashes(p.UnsignedTx, fetch)
	for i, in := range p.UnsignedTx.TxIn {
		out, key := p.Inputs[i].WitnessUtxo, w.client.coins[in.PreviousOutPoint]
		var err error
		if txscript.IsPayToTaproot(out.PkScript) {
			p.Inputs[i].TaprootKeySpendSig, err = txscript.RawTxInTaprootSignature(
				p.UnsignedTx, hashes, i, out.Value, out.PkScript, nil, txscript.SigHashDefault, key)
		} else {
			var sig []byte
			sig, err = txscript.RawTxInWitnessSignature(p.UnsignedTx, hashes, i, out.Value, out.PkScript, txscript.SigHashAll, key)
			p.Inputs[i].PartialSigs = []*psbt.PartialSig{{PubKey: key.PubKey().SerializeCompressed(), Signature: sig}}
		}
		if err != nil {
			w.t.Fatalf("cold wallet: %v", err)
		}
		if finish {
			if err := psbt.Finalize(p, i); err != nil {
				w.t.Fatalf("cold wallet: %v", err)
			}
		}
	}
}

// spentBy is what the inputs spend, by the file's word.
func spentBy(p *psbt.Packet) txscript.PrevOutputFetcher {
	prev := map[wire.OutPoint]*wire.TxOut{}
	for i, in := range p.UnsignedTx.TxIn {
		prev[in.PreviousOutPoint] = p.Inputs[i].WitnessUtxo
	}
	return txscript.NewMultiPrevOutFetcher(prev)
}

func written(t failer, p *psbt.Packet) []byte {
	raw, err := psbtBytes(p)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	return raw
}

func TestOutsideWalletSigns(t *testing.T) {
	for _, finish := range []bool{false, true} {
		for _, text := range []bool{false, true} {
			w := agreed(t)
			p := exported(t, w)
			w.coldSign(p, finish)
			raw := written(t, p)
			if text {
				raw = []byte(base64.StdEncoding.EncodeToString(raw) + "\n")
			}
			witnesses, err := w.client.c.ImportFunding(raw)
			if err != nil {
				t.Fatalf("finished %v, text %v: %v", finish, text, err)
			}
			w.do(w.client, SignedFunding{witnesses, w.client.key, w.stamp()})
			w.deliver()
			w.mine(3)
			w.wantStates(StateActive, StateActive)
		}
	}
}

func TestCheck41ImportedPSBT(t *testing.T) {
	other := seedKey("thief")
	for name, c := range map[string]struct {
		change func(*psbt.Packet)
		want   code.Code
	}{
		"not signed":          {func(p *psbt.Packet) { p.Inputs[0].TaprootKeySpendSig = nil }, code.NotSigned},
		"other amount":        {func(p *psbt.Packet) { p.UnsignedTx.TxOut[0].Value-- }, code.BadPSBT},
		"other escrow script": {func(p *psbt.Packet) { p.UnsignedTx.TxOut[0].PkScript = p2tr(other) }, code.BadPSBT},
		"one more output": {func(p *psbt.Packet) {
			p.UnsignedTx.AddTxOut(wire.NewTxOut(400, p2tr(other)))
			p.Outputs = append(p.Outputs, psbt.POutput{})
		}, code.BadPSBT},
		"other sequence": {func(p *psbt.Packet) { p.UnsignedTx.TxIn[0].Sequence = 0 }, code.BadPSBT},
		"lock time":      {func(p *psbt.Packet) { p.UnsignedTx.LockTime = 5 }, code.BadPSBT},
		"hash type":      {func(p *psbt.Packet) { p.Inputs[0].SighashType = txscript.SigHashAll }, code.BadPSBT},
		"hash type none": {func(p *psbt.Packet) { p.Inputs[1].SighashType = txscript.SigHashNone }, code.BadPSBT},
		"unknown field":  {func(p *psbt.Packet) { p.Inputs[0].Unknowns = []*psbt.Unknown{{Key: []byte{0x1a}, Value: []byte{1}}} }, code.BadPSBT},
		"proprietary":    {func(p *psbt.Packet) { p.Inputs[0].Unknowns = []*psbt.Unknown{{Key: []byte{0xfc, 1}, Value: []byte{1}}} }, code.BadPSBT},
		"proprietary out": {func(p *psbt.Packet) {
			p.Outputs[0].Unknowns = []*psbt.Unknown{{Key: []byte{0xfc, 1}, Value: []byte{1}}}
		}, code.BadPSBT},
		"unknown in file": {func(p *psbt.Packet) { p.Unknowns = []*psbt.Unknown{{Key: []byte{0x06}, Value: []byte{1}}} }, code.BadPSBT},
		"version 2":       {func(p *psbt.Packet) { p.Unknowns = []*psbt.Unknown{{Key: []byte{0xfb}, Value: []byte{2, 0, 0, 0}}} }, code.BadPSBT},
		"redeem script":   {func(p *psbt.Packet) { p.Inputs[1].RedeemScript = []byte{txscript.OP_TRUE} }, code.BadPSBT},
		"final scriptSig": {func(p *psbt.Packet) { p.Inputs[1].FinalScriptSig = []byte{1, 1} }, code.BadPSBT},
		"leaf signature": {func(p *psbt.Packet) {
			p.Inputs[0].TaprootScriptSpendSig = []*psbt.TaprootScriptSpendSig{{XOnlyPubKey: make([]byte, 32), LeafHash: make([]byte, 32), Signature: make([]byte, 64)}}
		}, code.BadPSBT},
		"partial signature of taproot": {func(p *psbt.Packet) { p.Inputs[0].PartialSigs = p.Inputs[1].PartialSigs }, code.BadPSBT},
		"two partial signatures": {func(p *psbt.Packet) {
			extra := *p.Inputs[1].PartialSigs[0]
			extra.PubKey = other.PubKey().SerializeCompressed()
			p.Inputs[1].PartialSigs = append(p.Inputs[1].PartialSigs, &extra)
		}, code.BadPSBT},
		"partial signature of a stranger": {func(p *psbt.Packet) { p.Inputs[1].PartialSigs[0].PubKey = other.PubKey().SerializeCompressed() }, code.BadPSBT},
		"key signature of P2WPKH":         {func(p *psbt.Packet) { p.Inputs[1].TaprootKeySpendSig = p.Inputs[0].TaprootKeySpendSig }, code.BadPSBT},
		"65 bytes":                        {func(p *psbt.Packet) { p.Inputs[0].TaprootKeySpendSig = append(p.Inputs[0].TaprootKeySpendSig, 1) }, code.BadWitness},
		"final witness of three items":    {func(p *psbt.Packet) { p.Inputs[0].FinalScriptWitness = []byte{3, 1, 1, 1, 1, 1, 1} }, code.BadWitness},
		"final witness with a rest":       {func(p *psbt.Packet) { p.Inputs[0].FinalScriptWitness = []byte{1, 1, 1, 9} }, code.BadWitness},
		"final witness that claims much":  {func(p *psbt.Packet) { p.Inputs[0].FinalScriptWitness = []byte{1, 0xfe, 0xff, 0xff, 0xff, 0x7f} }, code.BadWitness},
	} {
		t.Run(name, func(t *testing.T) {
			w := agreed(t)
			p := exported(t, w)
			w.coldSign(p, false)
			c.change(p)
			if _, err := w.client.c.ImportFunding(written(t, p)); code.Of(err) != c.want || err == nil {
				t.Fatalf("got %v, want code %d", err, c.want)
			}
		})
	}
	t.Run("what it says of coins counts for nothing", func(t *testing.T) {
		w := agreed(t)
		p := exported(t, w)
		w.coldSign(p, false)
		p.Inputs[0].WitnessUtxo = wire.NewTxOut(1, p2tr(other))
		if _, err := w.client.c.ImportFunding(written(t, p)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a signature that does not fit", func(t *testing.T) {
		w := agreed(t)
		for op := range w.client.coins {
			w.client.coins[op] = other
		}
		p := exported(t, w)
		w.coldSign(p, false)
		p.Inputs[1].PartialSigs = nil
		p.Inputs[1].FinalScriptWitness = finalWitness(t, wire.TxWitness{append(make([]byte, 70), 1), other.PubKey().SerializeCompressed()})
		witnesses, err := w.client.c.ImportFunding(written(t, p))
		if err != nil {
			t.Fatal(err)
		}
		w.wantCode(w.client, SignedFunding{witnesses, w.client.key, w.stamp()}, code.BadWitness)
	})
}

func finalWitness(t failer, w wire.TxWitness) []byte {
	var b bytes.Buffer
	if err := psbt.WriteTxWitness(&b, w); err != nil {
		t.Fatalf("witness: %v", err)
	}
	return b.Bytes()
}

// The files of the BIPs: what is invalid there is refused here, version 2 and MuSig2 fields too, of which the library
// takes 24; and of the valid ones of version 0 those are read that native segwit can need.
func TestFault34MaliciousPSBT(t *testing.T) {
	raw, err := os.ReadFile("testdata/psbt.txt")
	if err != nil {
		t.Fatal(err)
	}
	refused, lax, read := 0, 0, 0
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		if line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		_, _, err := readPSBT([]byte(f[2]))
		if b, e := base64.StdEncoding.DecodeString(f[2]); e == nil && f[1] == "invalid" {
			if _, e := psbt.NewFromRawBytes(bytes.NewReader(b), false); e == nil {
				lax++
			}
		}
		switch taken := err == nil; {
		case taken && (f[1] == "invalid" || f[0] == "370" || f[0] == "373"):
			t.Errorf("BIP%s, %s, was taken: %s", f[0], f[1], f[3])
		case taken:
			read++
		case code.Of(err) != code.BadPSBT && code.Of(err) != code.TooLarge:
			t.Errorf("%s: %v", f[3], err)
		default:
			refused++
		}
	}
	t.Logf("%d refused, %d read; the library alone takes %d of the invalid ones", refused, read, lax)
	if lax < 20 || read < 5 || refused < 90 {
		t.Errorf("%d refused, %d read, %d by the library", refused, read, lax)
	}
	w := agreed(t)
	good := written(t, exported(t, w))
	for name, bad := range map[string][]byte{
		"empty": {}, "magic only": []byte(psbtMagic), "rest": append(bytes.Clone(good), 0), "cut": good[:len(good)-1],
		"two lines": []byte(base64.StdEncoding.EncodeToString(good)[:40] + "\n" + base64.StdEncoding.EncodeToString(good)[40:]),
		"long":      make([]byte, maxPSBT+1),
		"claims":    append([]byte(psbtMagic), 0xfe, 0xff, 0xff, 0xff, 0x7f),
		"no input":  bareest(0, 1), "no output": bareest(1, 0),
	} {
		if _, _, err := readPSBT(bad); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	c := active(t).client.c
	for _, tx := range []*wire.MsgTx{newTx(0), {TxIn: []*wire.TxIn{{PreviousOutPoint: c.escrow()}}, LockTime: uint32(c.terms.Expiry)}} {
		if c.CanExitBy(tx) {
			t.Errorf("a way out with %d inputs and %d outputs", len(tx.TxIn), len(tx.TxOut))
		}
	}
}

// bareest is a PSBT of so many empty inputs and outputs.
func bareest(ins, outs int) []byte {
	tx := append([]byte{2, 0, 0, 0, byte(ins)}, make([]byte, 41*ins)...) // outpoint, no script, sequence
	tx = append(append(tx, byte(outs)), make([]byte, 9*outs+4)...)       // value, no script, lock time
	raw := append([]byte(psbtMagic), 1, 0, byte(len(tx)))
	return append(append(raw, tx...), make([]byte, 1+ins+outs)...) // the ends of the tables
}

func FuzzReadPSBT(f *testing.F) {
	w := agreed(noFail{f})
	p := exported(noFail{f}, w)
	f.Add(written(noFail{f}, p))
	w.coldSign(p, false)
	signed := written(noFail{f}, p)
	f.Add(signed)
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, tx, err := readPSBT(raw)
		if err == nil && (len(p.Inputs) != len(tx.TxIn) || len(p.Outputs) != len(tx.TxOut)) {
			t.Fatal("maps and transaction differ")
		}
		_, _ = ReadOutside(raw, nil)
		got, err := w.client.c.ImportFunding(raw)
		if err == nil && len(got) != len(w.client.c.coins) {
			t.Fatal("a witness is missing")
		}
		_, _, _ = w.client.c.ImportExit(raw)
	})
}

// noFail makes a failer of a fuzz target.
type noFail struct{ f *testing.F }

func (n noFail) Helper()                   { n.f.Helper() }
func (n noFail) Fatalf(s string, a ...any) { n.f.Fatalf(s, a...) }

func TestReadOutside(t *testing.T) {
	tx := newTx(0)
	w := newWorld(t)
	coin := w.coin(90_000, p2tr)
	addInput(tx, coin.OutPoint, 0xfffffffe)
	addOutput(tx, 60_000, p2wpkh(seedKey("placeholder")))
	addOutput(tx, 29_000, p2tr(seedKey("change")))
	p, err := psbt.NewFromUnsignedTx(tx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadOutside(written(t, p), nil); code.Of(err) != code.BadArgument {
		t.Errorf("no change is marked: %v", err)
	}
	key := seedKey("change").PubKey().SerializeCompressed()
	mark := []*psbt.TaprootBip32Derivation{{XOnlyPubKey: key[1:], Bip32Path: []uint32{1}}}
	p.Outputs[1].TaprootBip32Derivation = mark
	o, err := ReadOutside(written(t, p), nil)
	if err != nil || len(o.Coins) != 1 || o.Coins[0] != coin.OutPoint || !bytes.Equal(o.Change, tx.TxOut[1].PkScript) {
		t.Fatalf("%+v, %v", o, err)
	}
	p.Outputs[0].TaprootBip32Derivation = mark
	if _, err := ReadOutside(written(t, p), nil); code.Of(err) != code.BadArgument {
		t.Errorf("two are marked: %v", err)
	}
	o, err = ReadOutside(written(t, p), tx.TxOut[0].PkScript)
	if err != nil || !bytes.Equal(o.Change, tx.TxOut[0].PkScript) {
		t.Errorf("told: %+v, %v", o, err)
	}
	for rest, want := range map[uint64]bool{0: false, 300: false, 600: true, 20_000: true} {
		bare := FeeFor(2_000, fundingWeight([]Coin{coin}, Change{}))
		c, err := ChangeOf([]Coin{coin}, coin.Value-bare-usage.Sat(rest), 2_000, o.Change)
		if err != nil || (c.Value > 0) != want {
			t.Errorf("with a rest of %d: %+v, %v", rest, c, err)
		}
	}
	if _, err := ChangeOf([]Coin{coin}, coin.Value, 2_000, o.Change); code.Of(err) != code.NotEnoughCoins {
		t.Errorf("too little: %v", err)
	}
}

// exitFile is the one way out for a purpose.
func exitFile(t *testing.T, w *world, why Purpose) *psbt.Packet {
	t.Helper()
	all, err := w.client.c.Exits(2_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		if x.Why == why {
			p, err := psbt.NewFromRawBytes(bytes.NewReader(x.PSBT), false)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	t.Fatalf("no %v among %d ways out", why, len(all))
	return nil
}

// leafSign signs as a device does that holds C and knows nothing but the file.
func leafSign(t *testing.T, p *psbt.Packet, key *btcec.PrivateKey) {
	t.Helper()
	in := &p.Inputs[0]
	leaf := txscript.NewBaseTapLeaf(in.TaprootLeafScript[0].Script)
	fetch := spentBy(p)
	sig, err := txscript.RawTxInTapscriptSignature(p.UnsignedTx, txscript.NewTxSigHashes(p.UnsignedTx, fetch), 0,
		in.WitnessUtxo.Value, in.WitnessUtxo.PkScript, leaf, txscript.SigHashDefault, key)
	if err != nil {
		t.Fatal(err)
	}
	d := in.TaprootBip32Derivation[0]
	in.TaprootScriptSpendSig = append(in.TaprootScriptSpendSig, &psbt.TaprootScriptSpendSig{XOnlyPubKey: d.XOnlyPubKey, LeafHash: d.LeafHashes[0], Signature: sig})
}

func TestExitsAreSignedOutside(t *testing.T) {
	for name, c := range map[string]struct {
		why  Purpose
		live func(*world)
	}{
		"refund": {ForRefund, func(w *world) { w.relay.c = Contract{}; w.mineTo(w.client.c.Terms().Expiry) }},
		"close": {ForClose, func(w *world) {
			w.pay(9_000)
			w.do(w.relay, OfferClose{Amount: 9_500, FeeRate: 3_000, Key: w.relay.key, Stamp: w.stamp()})
			w.deliver()
		}},
		"sweep": {ForSweep, func(w *world) {
			w.pay(40_000)
			w.client.deaf = true
			w.mineTo(w.relay.c.Terms().SettleFrom())
			w.mine(1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := active(t)
			c.live(w)
			p := exitFile(t, w, c.why)
			if _, _, err := w.client.c.ImportExit(written(t, p)); code.Of(err) != code.NotSigned {
				t.Errorf("not signed: %v", err)
			}
			leafSign(t, p, w.client.key)
			raw := written(t, p)
			tx, why, err := w.client.c.ImportExit(raw)
			if err != nil || why != c.why {
				t.Fatalf("%v, %v", why, err)
			}
			if len(tx.TxIn[0].Witness) < 3 {
				t.Error("no witness")
			}
			w.refuseExits(t, p)
			p.Inputs[0].FinalScriptWitness, p.Inputs[0].TaprootScriptSpendSig = finalWitness(t, tx.TxIn[0].Witness), nil
			if _, _, err := w.client.c.ImportExit(written(t, p)); err != nil {
				t.Errorf("finished: %v", err)
			}
		})
	}
	w := active(t)
	p := exitFile(t, w, ForRefund)
	leafSign(t, p, w.client.key)
	if _, _, err := w.client.c.ImportExit(written(t, p)); code.Of(err) != code.NotDue {
		t.Errorf("before expiry: %v", err)
	}
}

// refuseExits changes a signed way out in every way that matters.
func (w *world) refuseExits(t *testing.T, good *psbt.Packet) {
	t.Helper()
	for name, change := range map[string]func(*psbt.Packet){
		"to a thief":     func(p *psbt.Packet) { p.UnsignedTx.TxOut[0].PkScript = p2tr(seedKey("thief")) },
		"no fee":         func(p *psbt.Packet) { p.UnsignedTx.TxOut[0].Value = p.Inputs[0].WitnessUtxo.Value },
		"all fee":        func(p *psbt.Packet) { p.UnsignedTx.TxOut[0].Value = 330 },
		"other sequence": func(p *psbt.Packet) { p.UnsignedTx.TxIn[0].Sequence ^= 4 },
		"other coin":     func(p *psbt.Packet) { p.UnsignedTx.TxIn[0].PreviousOutPoint.Index ^= 1 },
		"other lock":     func(p *psbt.Packet) { p.UnsignedTx.LockTime++ },
		"hash type":      func(p *psbt.Packet) { p.Inputs[0].SighashType = txscript.SigHashAll },
		"bad signature": func(p *psbt.Packet) {
			for _, s := range p.Inputs[0].TaprootScriptSpendSig {
				s.Signature[5] ^= 1
			}
		},
	} {
		p, err := psbt.NewFromRawBytes(bytes.NewReader(written(t, good)), false)
		if err != nil {
			t.Fatal(err)
		}
		change(p)
		if _, _, err := w.client.c.ImportExit(written(t, p)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
