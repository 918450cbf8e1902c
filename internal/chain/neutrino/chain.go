package neutrino

import (
	"context"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/btcutil/v2/gcs"
	"github.com/btcsuite/btcd/btcutil/v2/gcs/builder"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	light "github.com/lightninglabs/neutrino"
	"github.com/lightninglabs/neutrino/pushtx"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// batch is how many filters are fetched at once when many are wanted: about 5 MB on
// the main network.
const batch = 200

// Tip implements chain.Backend. It is the last block whose filter header is known
// as well.
func (b *Backend) Tip(context.Context) (chain.Block, error) {
	s, err := b.ready()
	if err != nil {
		return chain.Block{}, err
	}
	best, err := s.BestBlock()
	if err != nil {
		return chain.Block{}, code.Wrap(code.ChainUnavailable, err, "the light client does not know its tip")
	}
	header, height, err := header(s, best.Hash)
	if err != nil { // a reorg came in between
		return chain.Block{}, code.Wrap(code.ChainUnavailable, err, "the light client's tip moves")
	}
	return chain.Block{Hash: best.Hash, Height: height, Prev: header.PrevBlock, Time: header.Timestamp}, nil
}

// BlockAt implements chain.Backend.
func (b *Backend) BlockAt(_ context.Context, height uint32) (chainhash.Hash, error) {
	s, err := b.ready()
	if err != nil {
		return chainhash.Hash{}, err
	}
	best, err := s.BestBlock()
	if err != nil {
		return chainhash.Hash{}, code.Wrap(code.ChainUnavailable, err, "the light client does not know its tip")
	}
	if int64(height) > int64(best.Height) {
		return chainhash.Hash{}, fmt.Errorf("height %d: %w", height, chain.ErrNotOnChain)
	}
	hash, err := s.GetBlockHash(int64(height))
	if err != nil { // a reorg made the chain shorter for a moment
		return chainhash.Hash{}, code.Wrap(code.ChainUnavailable, err, "the light client has no block at height %d", height)
	}
	return *hash, nil
}

// header finds a block of the best chain. Neutrino's index keeps the heights of
// blocks that were replaced, so what it finds must be compared.
func header(s *light.ChainService, hash chainhash.Hash) (*wire.BlockHeader, uint32, error) {
	h, height, err := s.BlockHeaders.FetchHeader(&hash)
	if err != nil || h.BlockHash() != hash {
		return nil, 0, fmt.Errorf("block %s: %w", hash, chain.ErrNotOnChain)
	}
	return h, height, nil
}

// Header implements chain.Backend.
func (b *Backend) Header(_ context.Context, hash chainhash.Hash) (*wire.BlockHeader, uint32, error) {
	s, err := b.ready()
	if err != nil {
		return nil, 0, err
	}
	return header(s, hash)
}

// Block implements chain.Backend. It is fetched from a peer, and checked.
func (b *Backend) Block(ctx context.Context, hash chainhash.Hash) (*wire.MsgBlock, uint32, error) {
	s, err := b.ready()
	if err != nil {
		return nil, 0, err
	}
	_, height, err := header(s, hash)
	if err != nil {
		return nil, 0, err
	}
	block, err := call(ctx, b, "a block", func() (*btcutil.Block, error) { return s.GetBlock(hash) })
	if err != nil {
		return nil, 0, unavailable(ctx, err, "block %s", hash)
	}
	return block.MsgBlock(), height, nil
}

// MayHold implements chain.Filtering. The filter was compared with the filter
// headers that the peers agree on.
func (b *Backend) MayHold(ctx context.Context, hash chainhash.Hash, scripts [][]byte) (bool, error) {
	s, err := b.ready()
	if err != nil {
		return false, err
	}
	if _, _, err := header(s, hash); err != nil {
		return false, err
	}
	filter, err := call(ctx, b, "a filter", func() (*gcs.Filter, error) {
		return s.GetCFilter(hash, wire.GCSFilterRegular, light.OptimisticBatch(), light.MaxBatchSize(batch))
	})
	if err != nil {
		return false, unavailable(ctx, err, "the filter of block %s", hash)
	}
	if filter.N() == 0 || len(scripts) == 0 {
		return false, nil
	}
	may, err := filter.MatchAny(builder.DeriveKey(&hash), scripts)
	return may, unavailable(ctx, err, "a sensible filter of block %s", hash)
}

func unavailable(ctx context.Context, err error, format string, args ...any) error {
	if err == nil || code.Of(err) == code.ChainUnavailable {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return code.Wrap(code.ChainUnavailable, err, "the light client does not get %s", fmt.Sprintf(format, args...))
}

func refused(what string) error {
	return code.New(code.LightClient, "a light client cannot tell %s", what)
}

// TxOut implements chain.Backend: code LightClient.
func (b *Backend) TxOut(_ context.Context, op wire.OutPoint, _ bool) (*chain.TxOut, error) {
	return nil, refused("whether " + op.String() + " is unspent")
}

// Spending implements chain.Backend: code LightClient.
func (b *Backend) Spending(_ context.Context, op wire.OutPoint) (*chainhash.Hash, error) {
	return nil, refused("what spends " + op.String())
}

// Tx implements chain.Backend: code LightClient.
func (b *Backend) Tx(_ context.Context, txid chainhash.Hash) (*wire.MsgTx, uint32, error) {
	return nil, 0, refused("where transaction " + txid.String() + " is")
}

// TestAccept implements chain.Backend: code LightClient.
func (b *Backend) TestAccept(_ context.Context, tx *wire.MsgTx) error {
	return refused("whether nodes would accept transaction " + tx.TxHash().String())
}

// Broadcast implements chain.Backend. Nil means that the peers were told, not that
// they took it; see the package comment.
func (b *Backend) Broadcast(ctx context.Context, tx *wire.MsgTx) error {
	txid := tx.TxHash()
	if err := blockchain.CheckTransactionSanity(btcutil.NewTx(tx)); err != nil {
		return code.Wrap(code.ChainRejected, err, "transaction %s is malformed", txid)
	}
	s, err := b.ready()
	if err != nil {
		return err
	}
	if b.sent.lately(txid) {
		return nil
	}
	_, err = call(ctx, b, "an answer to a transaction", func() (struct{}, error) {
		return struct{}{}, s.SendTransaction(tx.Copy())
	})
	var rejected *pushtx.BroadcastError
	switch {
	case err == nil, pushtx.IsBroadcastError(err, pushtx.Mempool, pushtx.Confirmed):
		b.sent.note(txid)
		return nil
	case errors.As(err, &rejected):
		return code.Wrap(code.ChainRejected, err, "peers refuse transaction %s", txid)
	}
	return unavailable(ctx, err, "transaction %s to its peers", txid)
}

// FeeRate implements chain.Backend: a light client sees no fees.
func (b *Backend) FeeRate(context.Context, int) (int64, error) { return 0, nil }
