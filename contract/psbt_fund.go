package contract

import (
	"bytes"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Outside names coins of a wallet that this side does not hold the keys of, and where their change goes.
type Outside struct {
	Coins  []wire.OutPoint
	Change []byte // script; nil: no change
	// PSBT is the file that named them, if there was one: what it says about keys is handed on to whoever signs.
	PSBT []byte
}

// ReadOutside takes coins and change out of a PSBT that an outside wallet has made for any purpose, for instance of
// paying the deposit to an address of its own. Its other outputs count for nothing, and so do its amounts. The change
// is the output that the wallet has marked as its own by a derivation, or the script given here. Codes BadPSBT,
// BadArgument when it cannot be told which output is the change.
func ReadOutside(raw, change []byte) (Outside, error) {
	p, tx, err := readPSBT(raw)
	if err != nil {
		return Outside{}, err
	}
	o := Outside{Change: change, PSBT: raw}
	for _, in := range tx.TxIn {
		o.Coins = append(o.Coins, in.PreviousOutPoint)
	}
	if change != nil {
		return o, nil
	}
	for i, out := range p.Outputs {
		if len(out.Bip32Derivation) == 0 && len(out.TaprootBip32Derivation) == 0 {
			continue
		}
		if o.Change != nil {
			return o, code.New(code.BadArgument, "several outputs of the file belong to the wallet: say where the change goes")
		}
		o.Change = tx.TxOut[i].PkScript
	}
	if o.Change == nil {
		return o, code.New(code.BadArgument, "no output of the file is marked as change: say where the change goes")
	}
	return o, nil
}

// ChangeOf computes the change of a funding transaction with these coins: what is left of them beside escrow and fee,
// none where that would be dust or where there is no script for it. Code NotEnoughCoins.
func ChangeOf(coins []Coin, value usage.Sat, feeRate uint64, script []byte) (Change, error) {
	have, err := fundingFee(coins, 0, Change{})
	if err != nil {
		return Change{}, err
	}
	need, err := value.Add(FeeFor(feeRate, fundingWeight(coins, Change{})))
	if err != nil {
		return Change{}, code.Wrap(code.BadAmount, err, "the deposit")
	}
	if have < need {
		return Change{}, code.New(code.NotEnoughCoins, "the coins hold %d sat, escrow and fee take %d", have, need)
	}
	if script == nil {
		return Change{}, nil
	}
	with := FeeFor(feeRate, fundingWeight(coins, Change{1, script}))
	if rest := have - value; rest >= with+changeLimit(script) {
		return Change{rest - with, script}, nil
	}
	return Change{}, nil
}

// FundingPSBT is the funding transaction for an outside wallet to sign, once the relay has agreed: its id depends on the
// relay's key. What named (the Outside.PSBT, may be nil) said about the keys of the coins goes with it. Code BadState.
func (c Contract) FundingPSBT(named []byte) ([]byte, error) {
	if err := c.want(Client, StateVerified); err != nil {
		return nil, err
	}
	tx, err := c.unsignedFunding()
	if err != nil {
		return nil, err
	}
	p, err := psbt.NewFromUnsignedTx(tx)
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "a PSBT")
	}
	for i, coin := range c.funds() {
		p.Inputs[i].WitnessUtxo = coin.txOut()
	}
	for i, raw := range c.backed {
		w, err := parseWitness(raw)
		if err != nil {
			return nil, err
		}
		p.Inputs[len(c.coins)+i].FinalScriptWitness = stackBytes(w)
	}
	if len(named) > 0 {
		if err := copyKeys(p, named); err != nil {
			return nil, err
		}
	}
	return psbtBytes(p)
}

// copyKeys hands on where the keys of inputs and change come from, which a device needs to find them.
func copyKeys(p *psbt.Packet, named []byte) error {
	from, tx, err := readPSBT(named)
	if err != nil {
		return err
	}
	for i := range p.Inputs {
		for j, in := range tx.TxIn {
			if in.PreviousOutPoint == p.UnsignedTx.TxIn[i].PreviousOutPoint {
				a, b := &p.Inputs[i], from.Inputs[j]
				a.Bip32Derivation, a.TaprootBip32Derivation, a.TaprootInternalKey = b.Bip32Derivation, b.TaprootBip32Derivation, b.TaprootInternalKey
				if b.NonWitnessUtxo != nil && b.NonWitnessUtxo.TxHash() == in.PreviousOutPoint.Hash {
					a.NonWitnessUtxo = b.NonWitnessUtxo
				}
			}
		}
	}
	for i, out := range p.UnsignedTx.TxOut {
		for j, o := range tx.TxOut {
			if i != int(EscrowIndex) && sameScript(o.PkScript, out.PkScript) {
				a, b := &p.Outputs[i], from.Outputs[j]
				a.Bip32Derivation, a.TaprootBip32Derivation, a.TaprootInternalKey = b.Bip32Derivation, b.TaprootBip32Derivation, b.TaprootInternalKey
			}
		}
	}
	return nil
}

// TransactionOf is the unsigned transaction of a PSBT, by which the contract that it belongs to is found. Codes BadPSBT,
// TooLarge.
func TransactionOf(raw []byte) (*wire.MsgTx, error) {
	_, tx, err := readPSBT(raw)
	return tx, err
}

func psbtBytes(p *psbt.Packet) ([]byte, error) {
	var b bytes.Buffer
	err := p.Serialize(&b)
	return b.Bytes(), code.Wrap(code.Internal, err, "a PSBT")
}

// ImportFunding takes the witnesses of the funding transaction out of the PSBT that an outside wallet has signed: the
// same unsigned transaction byte for byte, and for each input one signature of the one kind that is allowed, finished
// or not; whatever else the file says counts for nothing (check 41). SignedFunding checks them by the own view of the
// coins (checks 27 to 29). Codes BadState, BadPSBT, TooLarge, NotSigned, BadWitness.
func (c Contract) ImportFunding(raw []byte) (map[wire.OutPoint]wire.TxWitness, error) {
	if err := c.want(Client, StateVerified); err != nil {
		return nil, err
	}
	ours, err := c.unsignedFunding()
	if err != nil {
		return nil, err
	}
	p, theirs, err := readPSBT(raw)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(unsignedBytes(ours), unsignedBytes(theirs)) {
		return nil, badPSBT("it does not hold the funding transaction that was exported")
	}
	out := make(map[wire.OutPoint]wire.TxWitness, len(c.coins))
	for i, coin := range c.coins {
		w, err := coin.signed(&p.Inputs[i])
		if err != nil {
			return nil, err
		}
		if err := checkWitnessShape(coin, w); err != nil {
			return nil, err
		}
		out[coin.OutPoint] = w
	}
	return out, nil
}

// signed is the witness that an input of a PSBT carries for a coin.
func (c Coin) signed(in *psbt.PInput) (wire.TxWitness, error) {
	taproot := txscript.IsPayToTaproot(c.Script)
	switch {
	case in.SighashType != txscript.SigHashDefault && (taproot || in.SighashType != txscript.SigHashAll):
		return nil, badPSBT("an input asks for the hash type %#x", uint32(in.SighashType))
	case len(in.TaprootScriptSpendSig) > 0, taproot && len(in.PartialSigs) > 0,
		!taproot && (len(in.TaprootKeySpendSig) > 0 || len(in.PartialSigs) > 1):
		return nil, badPSBT("an input has signatures that were not asked for")
	case len(in.FinalScriptWitness) > 0:
		return parseStack(in.FinalScriptWitness)
	case taproot && len(in.TaprootKeySpendSig) > 0:
		return wire.TxWitness{in.TaprootKeySpendSig}, nil
	case !taproot && len(in.PartialSigs) == 1:
		s := in.PartialSigs[0]
		if !bytes.Equal(address.Hash160(s.PubKey), c.Script[2:]) {
			return nil, badPSBT("an input is signed by a key that was not asked for")
		}
		return wire.TxWitness{s.Signature, s.PubKey}, nil
	}
	return nil, code.New(code.NotSigned, "the input %v is not signed", c.OutPoint)
}
