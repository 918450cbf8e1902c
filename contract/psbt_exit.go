package contract

import (
	"bytes"

	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Exit is a transaction by which the client gets what is its own, for a signer that holds the contract's key C.
type Exit struct {
	Why Purpose // ForRefund, ForSweep or ForClose
	// From is the lowest tip at which nodes take it.
	From usage.Height
	Tx   *wire.MsgTx // unsigned
	PSBT []byte      // with leaf script, control block and, for a close, the relay's signature (BIP371)
}

// Exits are the ways out that the contract has now, at a fee rate in sat per 1,000 vB; the close has the rate that the
// relay signed. Codes BadState when there is none, AmountTooSmall.
func (c Contract) Exits(feeRate uint64) ([]Exit, error) {
	if c.role != Client || c.facts.fundedAt == 0 {
		return nil, code.New(code.BadState, "the contract is %s: it has nothing to spend", c.State())
	}
	var out []Exit
	var first error
	for _, build := range []func(uint64) (exit, error){c.refundExit, c.closeExit, c.sweepExit} {
		x, err := build(feeRate)
		if err == nil && x.tx != nil {
			var file []byte
			if file, err = x.file(c.terms.ClientKey); err == nil {
				out = append(out, Exit{x.why, x.from, x.tx, file})
			}
		}
		if err != nil && first == nil {
			first = err
		}
	}
	if len(out) == 0 && first == nil {
		first = code.New(code.BadState, "the contract is %s: it has nothing to spend", c.State())
	}
	if len(out) > 0 {
		first = nil
	}
	return out, first
}

// exit is one way out, with what its one input spends.
type exit struct {
	why   Purpose
	from  usage.Height
	tx    *wire.MsgTx
	value usage.Sat
	out   taproot
	relay Signature // of a close
}

func (c Contract) refundExit(feeRate uint64) (x exit, err error) {
	if c.facts.spentAt > 0 {
		return x, nil
	}
	if x.out, err = c.terms.escrow(true); err != nil {
		return x, err
	}
	x.why, x.from, x.value = ForRefund, c.terms.Expiry, c.terms.Value
	x.tx, err = c.terms.RefundTx(c.escrow(), feeRate)
	return x, err
}

func (c Contract) closeExit(uint64) (x exit, err error) {
	if c.facts.spentAt > 0 || c.offered.relay.IsZero() {
		return x, nil
	}
	if x.out, err = c.terms.escrow(false); err != nil {
		return x, err
	}
	x.why, x.value, x.relay = ForClose, c.terms.Value, c.offered.relay
	x.tx, err = c.terms.CloseTx(c.escrow(), c.offered.amount, c.offered.feeRate)
	return x, err
}

func (c Contract) sweepExit(feeRate uint64) (x exit, err error) {
	s := c.facts.spend
	if c.facts.spentAt == 0 || s.Kind != SpendSettlement || s.Client == 0 || c.facts.sweptAt > 0 {
		return x, nil
	}
	if x.out, err = c.terms.delayed(); err != nil {
		return x, err
	}
	x.why, x.from, x.value = ForSweep, c.facts.spentAt, s.Client
	x.tx, err = c.terms.SweepTx(c.locked(), s.Client, feeRate)
	return x, err
}

// file makes the PSBT.
func (x exit) file(client Key) ([]byte, error) {
	p, err := psbt.NewFromUnsignedTx(x.tx)
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "a PSBT")
	}
	in := &p.Inputs[0]
	in.WitnessUtxo = wire.NewTxOut(int64(x.value), x.out.script)
	in.TaprootLeafScript = []*psbt.TaprootTapLeafScript{{
		ControlBlock: x.out.control, Script: x.out.leaf.Script, LeafVersion: x.out.leaf.LeafVersion,
	}}
	block, err := txscript.ParseControlBlock(x.out.control)
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "a control block")
	}
	in.TaprootInternalKey = x.out.control[1:33]
	in.TaprootMerkleRoot = block.RootHash(x.out.leaf.Script)
	own, hash := client.xonly(), x.out.leaf.TapHash()
	in.TaprootBip32Derivation = []*psbt.TaprootBip32Derivation{{XOnlyPubKey: own[:], LeafHashes: [][]byte{hash[:]}}}
	if !x.relay.IsZero() {
		// The other key of L_settle stands at the end of the leaf, before OP_CHECKSIG.
		key := x.out.leaf.Script[len(x.out.leaf.Script)-33 : len(x.out.leaf.Script)-1]
		in.TaprootScriptSpendSig = []*psbt.TaprootScriptSpendSig{{XOnlyPubKey: key, LeafHash: hash[:], Signature: x.relay[:]}}
	}
	return psbtBytes(p)
}

// ImportExit takes a way out that was signed outside: the transaction is the one that this side builds, byte for byte, but
// for the fee rate that was chosen at export; the signature is checked by the script engine. Codes BadState, BadPSBT,
// TooLarge, NotSigned, BadFeeRate, BadWitness; NotDue before nodes take it.
func (c Contract) ImportExit(raw []byte) (*wire.MsgTx, Purpose, error) {
	p, theirs, err := readPSBT(raw)
	if err != nil {
		return nil, 0, err
	}
	x, err := c.exitOf(theirs)
	if err != nil {
		return nil, 0, err
	}
	if c.tip < x.from {
		return nil, 0, code.New(code.NotDue, "nodes take it from height %d on, now it is %d", x.from, c.tip)
	}
	w, err := x.witness(&p.Inputs[0], c.terms.ClientKey)
	if err != nil {
		return nil, 0, err
	}
	x.tx.TxIn[0].Witness = w
	prev := map[wire.OutPoint]*wire.TxOut{x.tx.TxIn[0].PreviousOutPoint: wire.NewTxOut(int64(x.value), x.out.script)}
	return x.tx, x.why, execute(x.tx, prev)
}

// CanExitBy tells whether a transaction is one by which this contract can be left now.
func (c Contract) CanExitBy(tx *wire.MsgTx) bool {
	_, err := c.exitOf(tx)
	return c.facts.fundedAt > 0 && (err == nil || code.Of(err) == code.BadFeeRate)
}

// exitOf finds the way out that a transaction is, and builds it anew.
func (c Contract) exitOf(theirs *wire.MsgTx) (exit, error) {
	if len(theirs.TxIn) != 1 || len(theirs.TxOut) == 0 {
		return exit{}, badPSBT("a way out has one input")
	}
	for _, build := range []func(uint64) (exit, error){c.refundExit, c.closeExit, c.sweepExit} {
		x, err := build(MinFeeRate)
		if err != nil || x.tx == nil || x.tx.TxIn[0].PreviousOutPoint != theirs.TxIn[0].PreviousOutPoint || x.tx.LockTime != theirs.LockTime {
			continue
		}
		if x.why != ForClose {
			if err := x.takeFee(theirs); err != nil {
				return exit{}, err
			}
		}
		if bytes.Equal(unsignedBytes(x.tx), unsignedBytes(theirs)) {
			return x, nil
		}
	}
	return exit{}, badPSBT("it holds no transaction by which this contract can be left now")
}

// takeFee sets the fee that was chosen at export, within the bounds of fee rates.
func (x exit) takeFee(theirs *wire.MsgTx) error {
	value := theirs.TxOut[0].Value
	least := int64(x.value) - x.tx.TxOut[0].Value // at MinFeeRate
	fee := int64(x.value) - value
	if value < int64(dustLimit) || fee < least || fee > least*int64(MaxFeeRate/MinFeeRate) {
		return code.New(code.BadFeeRate, "a fee of %d sat, allowed are %d to %d", fee, least, least*int64(MaxFeeRate/MinFeeRate))
	}
	x.tx.TxOut[0].Value = value
	return nil
}

// witness builds the stack from the one signature that is taken, C's for the leaf.
func (x exit) witness(in *psbt.PInput, client Key) (wire.TxWitness, error) {
	if in.SighashType != txscript.SigHashDefault || len(in.PartialSigs) > 0 || len(in.TaprootKeySpendSig) > 0 {
		return nil, badPSBT("the input has signatures or a hash type that were not asked for")
	}
	sig, err := x.signature(in, client)
	if err != nil {
		return nil, err
	}
	if x.why == ForClose {
		return settleStack(x.out, sig, x.relay), nil
	}
	return soloStack(x.out, sig), nil
}

func (x exit) signature(in *psbt.PInput, client Key) (sig Signature, err error) {
	if len(in.FinalScriptWitness) > 0 {
		w, err := parseStack(in.FinalScriptWitness)
		at := 0
		if x.why == ForClose {
			at = 1
		}
		if err != nil || len(w) <= at || len(w[at]) != len(sig) {
			return sig, code.New(code.BadWitness, "the final witness has not the one form that is allowed")
		}
		return Signature(w[at]), nil
	}
	own, hash := client.xonly(), x.out.leaf.TapHash()
	for _, s := range in.TaprootScriptSpendSig {
		if bytes.Equal(s.XOnlyPubKey, own[:]) && bytes.Equal(s.LeafHash, hash[:]) && s.SigHash == txscript.SigHashDefault && len(s.Signature) == len(sig) {
			return Signature(s.Signature), nil
		}
	}
	return sig, code.New(code.NotSigned, "the contract's key %x has not signed", own)
}
