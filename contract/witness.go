package contract

import (
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// maxDER is the largest signature of a P2WPKH input: DER with low S, and the hash type.
const maxDER = 72

// encodeWitness is the wire form of a witness stack: u32 length ‖ item for each item.
func encodeWitness(w wire.TxWitness) []byte { return codec.AppendList(nil, w) }

func parseWitness(raw []byte) (wire.TxWitness, error) {
	items, err := codec.SplitList(raw, 2, maxDER)
	return items, code.Wrap(code.BadWitness, err, "a witness of %d bytes", len(raw))
}

// checkWitnesses parses and checks the witnesses of all funding inputs (checks 27 to 29), and gives
// the transaction with them.
func checkWitnesses(t Terms, coins []Coin, change Change, raw [][]byte) (*wire.MsgTx, error) {
	if len(raw) != len(coins) {
		return nil, code.New(code.BadWitness, "%d witnesses for %d inputs", len(raw), len(coins))
	}
	tx, err := t.FundingTx(coins, change)
	if err != nil {
		return nil, err
	}
	prevouts := make(map[wire.OutPoint]*wire.TxOut, len(coins))
	for i, c := range coins {
		w, err := parseWitness(raw[i])
		if err != nil {
			return nil, err
		}
		if err := checkWitnessShape(c, w); err != nil {
			return nil, err
		}
		tx.TxIn[i].Witness = w
		prevouts[c.OutPoint] = c.txOut()
	}
	if err := execute(tx, prevouts); err != nil {
		return nil, err
	}
	return tx, checkEffectiveRate(t, coins, change, tx)
}

// checkWitnessShape allows one 64-byte signature for P2TR (the default hash type, key path, no
// annex), and DER ‖ SIGHASH_ALL with a compressed key for P2WPKH (check 27).
func checkWitnessShape(c Coin, w wire.TxWitness) error {
	ok := len(w) == 2 && len(w[0]) > 8 && len(w[0]) <= maxDER && len(w[1]) == 33 &&
		w[0][len(w[0])-1] == byte(txscript.SigHashAll)
	if txscript.IsPayToTaproot(c.Script) {
		ok = len(w) == 1 && len(w[0]) == 64
	}
	if !ok {
		return code.New(code.BadWitness, "the witness for %v has not the one form that is allowed", c.OutPoint)
	}
	return nil
}

// checkEffectiveRate computes the fee rate again from the witnesses that really came (check 29).
func checkEffectiveRate(t Terms, coins []Coin, change Change, tx *wire.MsgTx) error {
	fee, err := fundingFee(coins, t.Value, change)
	if err != nil {
		return err
	}
	weight := 3*int64(tx.SerializeSizeStripped()) + int64(tx.SerializeSize())
	if fee < FeeFor(t.FundFeeRate, weight) {
		return code.New(code.BadFeeRate, "the signed funding transaction pays %d sat for %d weight units", fee, weight)
	}
	return nil
}
