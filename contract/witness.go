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

// checkWitnesses parses and checks the witnesses of the client's inputs, and with them those of all funding inputs
// (checks 27 to 29), and gives the transaction with them.
func (c *Contract) checkWitnesses(raw [][]byte) (*wire.MsgTx, error) {
	tx, err := c.unsignedFunding()
	if err != nil {
		return nil, err
	}
	if err := putWitnesses(tx.TxIn, c.coins, raw); err != nil {
		return nil, err
	}
	if err := putWitnesses(tx.TxIn[len(c.coins):], c.backing.Coins, c.backed); err != nil {
		return nil, err
	}
	if err := execute(tx, c.prevouts()); err != nil {
		return nil, err
	}
	return tx, c.checkEffectiveRate(tx)
}

// checkBacked checks the witnesses of the relay's inputs alone, before those of the client exist (checks 27 and 28): what
// they sign is the whole transaction.
func (c *Contract) checkBacked(raw [][]byte) error {
	tx, err := c.unsignedFunding()
	if err != nil {
		return err
	}
	if err := putWitnesses(tx.TxIn[len(c.coins):], c.backing.Coins, raw); err != nil {
		return err
	}
	return executeFrom(tx, c.prevouts(), len(c.coins))
}

// putWitnesses parses the witnesses of coins, which have to have the one form that is allowed, into the first inputs.
func putWitnesses(ins []*wire.TxIn, coins []Coin, raw [][]byte) error {
	if len(raw) != len(coins) {
		return code.New(code.BadWitness, "%d witnesses for %d inputs", len(raw), len(coins))
	}
	for i, c := range coins {
		w, err := parseWitness(raw[i])
		if err != nil {
			return err
		}
		if err := checkWitnessShape(c, w); err != nil {
			return err
		}
		ins[i].Witness = w
	}
	return nil
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
func (c *Contract) checkEffectiveRate(tx *wire.MsgTx) error {
	fee, err := c.fundFee()
	if err != nil {
		return err
	}
	weight := 3*int64(tx.SerializeSizeStripped()) + int64(tx.SerializeSize())
	if fee < FeeFor(c.terms.FundFeeRate, weight) {
		return code.New(code.BadFeeRate, "the signed funding transaction pays %d sat for %d weight units", fee, weight)
	}
	return nil
}
