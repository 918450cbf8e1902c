package wallet

import (
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcjson"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	btcchain "github.com/btcsuite/btcwallet/chain"
	"github.com/btcsuite/btcwallet/waddrmgr"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// The questions of btcwallet and of the wallet, asked of the backend.

// BackEnd is the name of the kind of client. btcwallet treats those that it knows in special ways.
func (p *puller) BackEnd() string { return "relaymarket" }

// GetBestBlock is the tip.
func (p *puller) GetBestBlock() (*chainhash.Hash, int32, error) {
	tip, err := p.backend.Tip(p.life)
	return &tip.Hash, int32(tip.Height), err
}

// GetBestBlockHash is the tip's hash.
func (p *puller) GetBestBlockHash() (*chainhash.Hash, error) {
	hash, _, err := p.GetBestBlock()
	return hash, err
}

// GetBlockCount is the tip's height.
func (p *puller) GetBlockCount() (int64, error) {
	_, height, err := p.GetBestBlock()
	return int64(height), err
}

// BlockStamp is the tip.
func (p *puller) BlockStamp() (*waddrmgr.BlockStamp, error) {
	tip, err := p.backend.Tip(p.life)
	return &waddrmgr.BlockStamp{Hash: tip.Hash, Height: int32(tip.Height), Timestamp: tip.Time}, err
}

// IsCurrent tells whether the last block is young enough for a first search to begin.
func (p *puller) IsCurrent() bool {
	tip, err := p.backend.Tip(p.life)
	return err == nil && time.Since(tip.Time) < chain.MaxTipAge
}

// GetBlock is a block of the best chain.
func (p *puller) GetBlock(hash *chainhash.Hash) (*wire.MsgBlock, error) {
	block, _, err := p.backend.Block(p.life, *hash)
	return block, err
}

// GetBlockHash is the hash of the best chain's block at a height.
func (p *puller) GetBlockHash(height int64) (*chainhash.Hash, error) {
	hash, err := p.backend.BlockAt(p.life, uint32(height))
	return &hash, err
}

// GetBlockHeader is the header of a block of the best chain.
func (p *puller) GetBlockHeader(hash *chainhash.Hash) (*wire.BlockHeader, error) {
	header, _, err := p.backend.Header(p.life, *hash)
	return header, err
}

// SendRawTransaction broadcasts. A transaction that the node has is a success.
func (p *puller) SendRawTransaction(tx *wire.MsgTx, _ bool) (*chainhash.Hash, error) {
	hash := tx.TxHash()
	return &hash, p.backend.Broadcast(p.life, tx)
}

// TestMempoolAccept is not used by the wallet.
func (p *puller) TestMempoolAccept([]*wire.MsgTx, float64) ([]*btcjson.TestMempoolAcceptResult, error) {
	return nil, btcchain.ErrUnimplemented
}

// SubmitPackage is not used by the wallet.
func (p *puller) SubmitPackage([]*wire.MsgTx, *float64) (*btcjson.SubmitPackageResult, error) {
	return nil, btcchain.ErrUnimplemented
}

// MapRPCErr leaves errors as they are: they are coded.
func (p *puller) MapRPCErr(err error) error { return err }

// GetTxOut is an unspent output, or nil. A light client cannot tell; then the wallet's own record,
// which comes from the same blocks, has to do.
func (p *puller) GetTxOut(txid *chainhash.Hash, index uint32, mempool bool) (*btcjson.GetTxOutResult, error) {
	out, err := p.backend.TxOut(p.life, wire.OutPoint{Hash: *txid, Index: index}, mempool)
	if code.Of(err) == code.LightClient {
		return &btcjson.GetTxOutResult{}, nil
	}
	if err != nil || out == nil {
		return nil, err
	}
	return &btcjson.GetTxOutResult{
		Confirmations: int64(out.Confirmations), Value: btcutil.Amount(out.Value).ToBTC(), Coinbase: out.Coinbase,
	}, nil
}

// GetTxSpendingPrevOut tells what the mempool spends. A light client has none.
func (p *puller) GetTxSpendingPrevOut(ops []wire.OutPoint) ([]*btcjson.GetTxSpendingPrevOutResult, error) {
	out := make([]*btcjson.GetTxSpendingPrevOutResult, 0, len(ops))
	for _, op := range ops {
		spender, err := p.backend.Spending(p.life, op)
		if err != nil && code.Of(err) != code.LightClient {
			return nil, err
		}
		r := &btcjson.GetTxSpendingPrevOutResult{Txid: op.Hash.String(), Vout: op.Index}
		if spender != nil {
			r.SpendingTxid = spender.String()
		}
		out = append(out, r)
	}
	return out, nil
}

// FilterBlocks finds the first block that pays to or spends from what btcwallet's search of the
// chain looks for; nil: none does.
func (p *puller) FilterBlocks(req *btcchain.FilterBlocksRequest) (*btcchain.FilterBlocksResponse, error) {
	scripts, err := scriptsOf(req)
	if err != nil {
		return nil, err
	}
	filterer := btcchain.NewBlockFilterer(p.params, req)
	light, _ := p.backend.(chain.Filtering)
	for i, block := range req.Blocks {
		if light != nil {
			may, err := light.MayHold(p.life, block.Hash, scripts)
			if err != nil {
				return nil, err
			}
			if !may {
				continue
			}
		}
		msg, err := p.GetBlock(&block.Hash)
		if err != nil {
			return nil, err
		}
		if filterer.FilterBlock(msg) {
			return &btcchain.FilterBlocksResponse{
				BatchIndex: uint32(i), BlockMeta: block, FoundExternalAddrs: filterer.FoundExternal,
				FoundInternalAddrs: filterer.FoundInternal, FoundOutPoints: filterer.FoundOutPoints, RelevantTxns: filterer.RelevantTxns,
			}, nil
		}
	}
	return nil, nil
}

func scriptsOf(req *btcchain.FilterBlocksRequest) ([][]byte, error) {
	var out [][]byte
	add := func(a address.Address) error {
		script, err := txscript.PayToAddrScript(a)
		out = append(out, script)
		return err
	}
	for _, a := range req.ExternalAddrs {
		if err := add(a); err != nil {
			return nil, err
		}
	}
	for _, a := range req.InternalAddrs {
		if err := add(a); err != nil {
			return nil, err
		}
	}
	for _, a := range req.WatchedOutPoints {
		if err := add(a); err != nil {
			return nil, err
		}
	}
	return out, nil
}
