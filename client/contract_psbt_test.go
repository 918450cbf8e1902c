package client_test

import (
	"bytes"
	"testing"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/client"
	"relaymarket/internal/code"
	"relaymarket/usage"

	"github.com/btcsuite/btcd/psbt/v2"
)

// coldWallet holds keys that no agent knows, and signs nothing but files.
type coldWallet struct {
	t      *testing.T
	keys   map[string]*btcec.PrivateKey // by script
	coins  map[wire.OutPoint]*wire.TxOut
	change string
}

// newColdWallet has a taproot coin and a P2WPKH one, confirmed.
func newColdWallet(t *testing.T, values ...int64) *coldWallet {
	t.Helper()
	c := &coldWallet{t: t, keys: map[string]*btcec.PrivateKey{}, coins: map[wire.OutPoint]*wire.TxOut{}}
	var outs []*wire.TxOut
	for i, v := range values {
		script, _ := c.script(i%2 == 0)
		outs = append(outs, wire.NewTxOut(v, script))
	}
	tx, err := node(t).Pay(t.Context(), outs...)
	if err != nil {
		t.Fatal(err)
	}
	for i, out := range outs {
		c.coins[wire.OutPoint{Hash: tx.TxHash(), Index: uint32(i)}] = out
	}
	_, c.change = c.script(true)
	mine(t, 1)
	return c
}

// script makes a key and gives the script and the address that it can sign for.
func (c *coldWallet) script(taproot bool) ([]byte, string) {
	c.t.Helper()
	key, err := btcec.NewPrivateKey()
	if err != nil {
		c.t.Fatal(err)
	}
	params := node(c.t).Params()
	var addr address.Address
	if taproot {
		addr, err = address.NewAddressTaproot(schnorr.SerializePubKey(txscript.ComputeTaprootKeyNoScript(key.PubKey())), params)
	} else {
		addr, err = address.NewAddressWitnessPubKeyHash(address.Hash160(key.PubKey().SerializeCompressed()), params)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	script, err := txscript.PayToAddrScript(addr)
	if err != nil {
		c.t.Fatal(err)
	}
	c.keys[string(script)] = key
	return script, addr.EncodeAddress()
}

// plan is a payment to somebody, as a wallet makes one: the change is marked by its derivation.
func (c *coldWallet) plan() []byte {
	c.t.Helper()
	tx := wire.NewMsgTx(2)
	for op := range c.coins {
		tx.AddTxIn(wire.NewTxIn(&op, nil, nil))
	}
	placeholder, _ := c.script(false)
	change, _ := c.script(true)
	tx.AddTxOut(wire.NewTxOut(1_000, placeholder))
	tx.AddTxOut(wire.NewTxOut(1_000, change))
	p, err := psbt.NewFromUnsignedTx(tx)
	if err != nil {
		c.t.Fatal(err)
	}
	key := schnorr.SerializePubKey(c.keys[string(change)].PubKey())
	p.Outputs[1].TaprootInternalKey = key
	p.Outputs[1].TaprootBip32Derivation = []*psbt.TaprootBip32Derivation{{XOnlyPubKey: key, Bip32Path: []uint32{1, 2}}}
	return c.write(p)
}

func (c *coldWallet) write(p *psbt.Packet) []byte {
	c.t.Helper()
	var b bytes.Buffer
	if err := p.Serialize(&b); err != nil {
		c.t.Fatal(err)
	}
	return b.Bytes()
}

func (c *coldWallet) read(raw []byte) *psbt.Packet {
	c.t.Helper()
	p, err := psbt.NewFromRawBytes(bytes.NewReader(raw), false)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// sign signs all inputs by the wallet's own knowledge of its coins, and finishes them.
func (c *coldWallet) sign(raw []byte) []byte {
	c.t.Helper()
	p := c.read(raw)
	fetch := txscript.NewMultiPrevOutFetcher(c.coins)
	hashes := txscript.NewTxSigHashes(p.UnsignedTx, fetch)
	for i, in := range p.UnsignedTx.TxIn {
		out := c.coins[in.PreviousOutPoint]
		key := c.keys[string(out.PkScript)]
		var w wire.TxWitness
		var err error
		if txscript.IsPayToTaproot(out.PkScript) {
			w, err = txscript.TaprootWitnessSignature(p.UnsignedTx, hashes, i, out.Value, out.PkScript, txscript.SigHashDefault, key)
		} else {
			w, err = txscript.WitnessSignature(p.UnsignedTx, hashes, i, out.Value, out.PkScript, txscript.SigHashAll, key, true)
		}
		if err != nil {
			c.t.Fatal(err)
		}
		var b bytes.Buffer
		if err := psbt.WriteTxWitness(&b, w); err != nil {
			c.t.Fatal(err)
		}
		p.Inputs[i].FinalScriptWitness = b.Bytes()
	}
	return c.write(p)
}

// proposes opens a contract with outside coins and gives the file to be signed.
func (p *person) proposes(r *relayOf, o *client.OutsideCoins) (client.ContractInfo, []byte) {
	p.t.Helper()
	c, err := p.ContractOpen(p.t.Context(), client.OpenRequest{Relay: r.Key(), Deposit: 100_000, Duration: 60, FeeRateSatVB: 3, Outside: o})
	if err != nil {
		p.t.Fatal(err)
	}
	if c.State != "verified" || c.Paid != 0 {
		p.t.Fatalf("opened with outside coins: %+v", c)
	}
	files, err := p.ContractExport(p.t.Context(), c.ID, 0)
	if err != nil || len(files) != 1 || files[0].What != "funding" || files[0].Txid != c.FundingTxid {
		p.t.Fatalf("exported: %+v, %v", files, err)
	}
	return c, files[0].PSBT
}

func TestContractFromColdWallet(t *testing.T) {
	r := newShop(t)
	ada := newPayer(t, "ada", r, 0)
	cold := newColdWallet(t, 90_000, 60_000)
	ctx := t.Context()

	c, file := ada.proposes(r, &client.OutsideCoins{PSBT: cold.plan()})
	p := cold.read(file)
	if len(p.UnsignedTx.TxIn) != 2 || len(p.UnsignedTx.TxOut) != 2 || p.UnsignedTx.TxOut[0].Value != 100_000 ||
		len(p.Outputs[1].TaprootBip32Derivation) != 1 || p.Inputs[0].WitnessUtxo == nil {
		t.Fatalf("to be signed: %+v", p)
	}
	_, err := ada.ContractImport(ctx, file)
	wantCode(t, err, code.NotSigned)
	stolen := cold.read(cold.sign(file))
	stolen.UnsignedTx.TxOut[1].Value++
	_, err = ada.ContractImport(ctx, cold.write(stolen))
	wantCode(t, err, code.ContractUnknown)
	_, err = ada.ContractOpen(ctx, client.OpenRequest{Relay: r.Key(), Deposit: 100_000, Duration: 60, Outside: &client.OutsideCoins{PSBT: cold.plan()}})
	wantCode(t, err, code.BadInput) // the coins are promised

	// The person takes time: the agent is started again, and a block comes.
	ada.halt()
	ada.reopen()
	ada.run()
	mine(t, 1)
	again, err := ada.ContractExport(ctx, c.ID, 0)
	if err != nil || !bytes.Equal(unsigned(cold.read(again[0].PSBT)), unsigned(p)) {
		t.Fatalf("exported again: %v", err)
	}
	info, err := ada.ContractImport(ctx, cold.sign(file))
	if err != nil || info.State != "funding" && info.State != "active" || info.Paid == 0 {
		t.Fatalf("imported: %+v, %v", info, err)
	}
	mine(t, 3)
	ada.awaits(c.ID, "active")

	// What the contract lets its key sign is exported too; the refund is not due yet.
	files, err := ada.ContractExport(ctx, c.ID, 2)
	if err != nil || len(files) != 1 || files[0].What != "refund" || files[0].FromHeight != c.ExpiryHeight {
		t.Fatalf("ways out: %+v, %v", files, err)
	}
	_, err = ada.ContractImport(ctx, files[0].PSBT)
	wantCode(t, err, code.NotDue)
	if _, err := ada.ContractClose(ctx, c.ID, ""); err != nil {
		t.Fatal(err)
	}
	ada.awaits(c.ID, "closed")
}

func unsigned(p *psbt.Packet) []byte {
	var b bytes.Buffer
	_ = p.UnsignedTx.SerializeNoWitness(&b)
	return b.Bytes()
}

func TestColdWalletOpeningIsGivenUp(t *testing.T) {
	r := newShop(t)
	ada := newPayer(t, "ada", r, 150_000)
	cold := newColdWallet(t, 150_000)
	ctx := t.Context()
	var inputs []string
	for op := range cold.coins {
		inputs = append(inputs, op.String())
	}
	named := &client.OutsideCoins{Inputs: inputs, Change: cold.change}
	for name, o := range map[string]client.OutsideCoins{
		"nothing":      {},
		"no such coin": {Inputs: []string{"00" + inputs[0][2:]}, Change: cold.change},
		"no index":     {Inputs: []string{inputs[0][:64]}, Change: cold.change},
		"both":         {Inputs: inputs, PSBT: cold.plan(), Change: cold.change},
		"bad change":   {Inputs: inputs, Change: "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"},
		"no PSBT":      {PSBT: []byte("junk")},
		"no change":    {Inputs: inputs}, // the rest would be a fee of a third
	} {
		o := o
		_, err := ada.ContractOpen(ctx, client.OpenRequest{Relay: r.Key(), Deposit: 100_000, Duration: 60, FeeRateSatVB: 3, Outside: &o})
		if code.Of(err) == code.OK || code.Of(err) == code.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	coins, err := ada.WalletCoins(ctx)
	if err != nil || len(coins) != 1 || coins[0].Value != 150_000 || coins[0].Leased {
		t.Fatalf("own coins: %+v, %v", coins, err)
	}
	_, err = ada.ContractOpen(ctx, client.OpenRequest{Relay: r.Key(), Deposit: 100_000, Outside: &client.OutsideCoins{Inputs: []string{coins[0].Coin}}})
	wantCode(t, err, code.BadArgument)

	// Dropped at the person's wish: the coins are free at once.
	c, _ := ada.proposes(r, named)
	if c, err = ada.ContractCancel(ctx, c.ID, 0); err != nil || c.State != "aborted" {
		t.Fatalf("cancelled: %+v, %v", c, err)
	}
	// Dropped because it takes too long: nothing has left.
	c, file := ada.proposes(r, named)
	mine(t, 4)
	ada.sees(c.ID)
	_, err = ada.ContractImport(ctx, cold.sign(file))
	wantCode(t, err, code.BadDeadline)
	mine(t, 3)
	eventually(t, "the opening is over", func() bool {
		_, err := ada.ContractImport(ctx, cold.sign(file))
		return code.Of(err) == code.ContractUnknown
	})
	// The person has spent the coins elsewhere: nothing is given to the relay.
	c, file = ada.proposes(r, named)
	for op := range cold.coins {
		other := wire.NewMsgTx(2)
		other.AddTxIn(wire.NewTxIn(&op, nil, nil))
		other.AddTxOut(wire.NewTxOut(149_000, cold.coins[op].PkScript))
		w, err := txscript.TaprootWitnessSignature(other, txscript.NewTxSigHashes(other, txscript.NewMultiPrevOutFetcher(cold.coins)), 0,
			150_000, cold.coins[op].PkScript, txscript.SigHashDefault, cold.keys[string(cold.coins[op].PkScript)])
		if err != nil {
			t.Fatal(err)
		}
		other.TxIn[0].Witness = w
		if _, err := node(t).Client().SendRawTransaction(other, true); err != nil {
			t.Fatal(err)
		}
	}
	_, err = ada.ContractImport(ctx, cold.sign(file))
	wantCode(t, err, code.BadInput)
	if got := ada.contract(c.ID); got.State != "verified" || got.Paid != usage.Sat(0) {
		t.Fatalf("after a coin was spent: %+v", got)
	}
}
