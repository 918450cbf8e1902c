package client

import (
	"context"
	"strconv"
	"strings"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// outside reads which coins of an outside wallet a request names; nil: none, the own wallet pays. Codes BadArgument,
// BadAddress, BadPSBT.
func (a *Agent) outside(r OpenRequest) (*contract.Outside, error) {
	if r.Outside == nil {
		return nil, nil
	}
	var change []byte
	var err error
	if r.Outside.Change != "" {
		if change, err = a.wallet.ScriptOf(r.Outside.Change); err != nil {
			return nil, err
		}
	}
	if len(r.Outside.PSBT) > 0 {
		if len(r.Outside.Inputs) > 0 {
			return nil, code.New(code.BadArgument, "name the coins either in a file or one by one")
		}
		o, err := contract.ReadOutside(r.Outside.PSBT, change)
		return &o, err
	}
	o := contract.Outside{Change: change}
	for _, text := range r.Outside.Inputs {
		op, err := parseOutPoint(text)
		if err != nil {
			return nil, err
		}
		o.Coins = append(o.Coins, op)
	}
	return &o, nil
}

// parseOutPoint reads TXID:INDEX.
func parseOutPoint(text string) (wire.OutPoint, error) {
	id, index, ok := strings.Cut(text, ":")
	hash, err := chainhash.NewHashFromStr(id)
	n, errIndex := strconv.ParseUint(index, 10, 32)
	if !ok || err != nil || len(id) != 2*chainhash.HashSize || errIndex != nil {
		return wire.OutPoint{}, code.New(code.BadArgument, "%q is not a coin; write TXID:INDEX", text)
	}
	return wire.OutPoint{Hash: *hash, Index: uint32(n)}, nil
}

// ContractExport writes PSBTs (BIP174 version 0, BIP371) of what can be signed elsewhere: the funding transaction of an
// opening that waits for an outside wallet, or every way by which the contract can give you what is yours now, for a signer
// that holds its key. feeRateSatVB is for the latter; 0: the node's estimate. Codes ContractUnknown, BadState when there is
// nothing to sign, AmountTooSmall.
func (a *Agent) ContractExport(ctx context.Context, id usage.ContractID, feeRateSatVB uint64) ([]ContractPSBT, error) {
	a.tryLevel(ctx)
	c, err := a.contractByID(id)
	if err != nil {
		return nil, err
	}
	if c.State() == contract.StateVerified {
		named, _ := a.named.Load(c.Nonce())
		hint, _ := named.([]byte)
		raw, err := c.FundingPSBT(hint)
		if err != nil {
			return nil, err
		}
		return []ContractPSBT{{Contract: idOf(c), What: contract.ForFunding.String(), Txid: c.FundingTx().TxHash().String(), PSBT: raw}}, nil
	}
	rate, err := a.feeRate(ctx, feeRateSatVB)
	if err != nil {
		return nil, err
	}
	all, err := c.Exits(rate)
	if err != nil {
		return nil, err
	}
	var out []ContractPSBT
	for _, x := range all {
		out = append(out, ContractPSBT{Contract: idOf(c), What: x.Why.String(), Txid: x.Tx.TxHash().String(), FromHeight: x.From, PSBT: x.PSBT})
	}
	return out, nil
}

// ContractImport takes back a PSBT of ContractExport that was signed elsewhere. A funding transaction goes to the relay
// with the first payment, and the opening goes on; a way out of a contract is broadcast. Which contract it belongs to
// is found from its transaction. It needs Run and the node. Codes BadPSBT, NotSigned, BadWitness, ContractUnknown when
// it fits no contract, BadDeadline when an opening took too long (nothing was given away), BadInput when a coin is gone,
// NotDue, those of the relay and of the node.
func (a *Agent) ContractImport(ctx context.Context, file []byte) (ContractInfo, error) {
	tx, err := contract.TransactionOf(file)
	if err != nil {
		return ContractInfo{}, err
	}
	if err := a.level(ctx); err != nil {
		return ContractInfo{}, err
	}
	for _, c := range a.runner.Contracts() {
		switch funding := c.FundingTx(); {
		case funding != nil && funding.TxHash() == tx.TxHash():
			return a.importFunding(ctx, c, file)
		case c.CanExitBy(tx):
			if c, err = a.runner.ImportExit(ctx, c.ID(), file); err != nil {
				return ContractInfo{}, err
			}
			return a.describe(ctx, c, nil), a.relaysChanged(ctx)
		}
	}
	return ContractInfo{}, code.New(code.ContractUnknown, "the file fits no contract of yours; one that was opened too long ago is given up, and nothing of it was given away")
}

func (a *Agent) importFunding(ctx context.Context, c contract.Contract, file []byte) (ContractInfo, error) {
	if _, err := a.session(ctx, c.Peer()); err != nil {
		return ContractInfo{}, err
	}
	nonce := c.Nonce()
	c, err := a.runner.ImportFunding(ctx, nonce, file, a.exchange(c.Peer()))
	if c.State() >= contract.StateSigned {
		a.named.Delete(nonce)
	}
	return a.afterOpening(ctx, c, err)
}

// OutsideCoins names coins whose keys are elsewhere: by a PSBT that spends them, or one by one.
type OutsideCoins struct {
	PSBT   []byte   `json:"psbt,omitempty"`   // binary or base64; only its inputs and its change count
	Inputs []string `json:"inputs,omitempty"` // TXID:INDEX
	Change string   `json:"change,omitempty"` // address for the rest; empty with a PSBT: its own change output
}

// ContractPSBT is something to be signed elsewhere.
type ContractPSBT struct {
	Contract   usage.ContractID `json:"contract"`
	What       string           `json:"what"` // funding, refund, close or sweep
	Txid       string           `json:"txid"`
	FromHeight usage.Height     `json:"from_height,omitempty"` // nodes take it when the chain is so high
	PSBT       []byte           `json:"psbt"`
}
