package btcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/btcsuite/btcd/btcjson"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
)

// Error numbers of the RPC interface that both btcd and Bitcoin Core use.
const (
	rpcMisc           = -1  // btcd: height out of range
	rpcNotFound       = -5  // no such block, transaction or output
	rpcBadParameter   = -8  // Core: height out of range
	rpcUndecodable    = -22 // not a transaction
	rpcMissingInputs  = -25
	rpcRejected       = -26
	rpcAlreadyInChain = -27
	rpcNoMethod       = -32601
	rpcInternal       = -32603 // btcd: among others, height of a block off the best chain
)

// rpcCode is the number of a node's own error, 0 for any other error.
func rpcCode(err error) int {
	var rpc *btcjson.RPCError
	if errors.As(err, &rpc) {
		return int(rpc.Code)
	}
	return 0
}

func handlers(w *chain.Wakes) *rpcclient.NotificationHandlers {
	return &rpcclient.NotificationHandlers{
		OnFilteredBlockConnected:    func(int32, *wire.BlockHeader, []*btcutil.Tx) { w.All() },
		OnFilteredBlockDisconnected: func(int32, *wire.BlockHeader) { w.All() },
	}
}

// Tip implements chain.Backend. A tip that a reorg takes between the two
// questions it needs is asked for again.
func (b *Backend) Tip(ctx context.Context) (chain.Block, error) {
	tip, err := call(ctx, b, func(c *rpcclient.Client) (chain.Block, error) {
		var err error
		for range 3 {
			var tip chain.Block
			if tip, err = readTip(c); rpcCode(err) == 0 {
				return tip, err
			}
		}
		return chain.Block{}, err
	})
	return tip, unavailable(ctx, err, "its tip")
}

func readTip(c *rpcclient.Client) (chain.Block, error) {
	hash, err := c.GetBestBlockHash()
	if err != nil {
		return chain.Block{}, err
	}
	header, err := c.GetBlockHeaderVerbose(hash)
	if err != nil {
		return chain.Block{}, err
	}
	prev, err := chainhash.NewHashFromStr(header.PreviousHash)
	if err != nil {
		return chain.Block{}, err
	}
	return chain.Block{
		Hash: *hash, Height: uint32(header.Height), Prev: *prev, Time: time.Unix(header.Time, 0),
	}, nil
}

// BlockAt implements chain.Backend.
func (b *Backend) BlockAt(ctx context.Context, height uint32) (chainhash.Hash, error) {
	hash, err := call(ctx, b, func(c *rpcclient.Client) (*chainhash.Hash, error) {
		return c.GetBlockHash(int64(height))
	})
	switch rpcCode(err) {
	case rpcMisc, rpcBadParameter:
		return chainhash.Hash{}, fmt.Errorf("height %d: %w", height, chain.ErrNotOnChain)
	}
	if err != nil {
		return chainhash.Hash{}, unavailable(ctx, err, "the block at height %d", height)
	}
	return *hash, nil
}

// Header implements chain.Backend.
func (b *Backend) Header(ctx context.Context, hash chainhash.Hash) (*wire.BlockHeader, uint32, error) {
	block, err := call(ctx, b, func(c *rpcclient.Client) (placedBlock, error) {
		return readHeader(c, hash)
	})
	if err := offChain(ctx, err, hash); err != nil {
		return nil, 0, err
	}
	return &block.msg.Header, uint32(block.height), nil
}

// readHeader asks for the header in both forms at once: one has the height, the
// other is exact.
func readHeader(c *rpcclient.Client, hash chainhash.Hash) (placedBlock, error) {
	future := c.GetBlockHeaderVerboseAsync(&hash)
	header, headerErr := c.GetBlockHeader(&hash)
	verbose, err := future.Receive()
	if err := errors.Join(headerErr, err); err != nil {
		return placedBlock{}, err
	}
	if verbose.Confirmations < 1 { // Core, for blocks off the best chain
		return placedBlock{}, chain.ErrNotOnChain
	}
	return placedBlock{&wire.MsgBlock{Header: *header}, verbose.Height}, nil
}

// offChain reads the error of a question about a block.
func offChain(ctx context.Context, err error, hash chainhash.Hash) error {
	switch rpcCode(err) {
	case rpcNotFound, rpcInternal:
		err = chain.ErrNotOnChain
	}
	if errors.Is(err, chain.ErrNotOnChain) {
		return fmt.Errorf("block %s: %w", hash, err)
	}
	return unavailable(ctx, err, "block %s", hash)
}

// placedBlock is a block with its height.
type placedBlock struct {
	msg    *wire.MsgBlock
	height int32
}

// Block implements chain.Backend.
func (b *Backend) Block(ctx context.Context, hash chainhash.Hash) (*wire.MsgBlock, uint32, error) {
	block, err := call(ctx, b, func(c *rpcclient.Client) (placedBlock, error) {
		return readBlock(c, hash)
	})
	if err := offChain(ctx, err, hash); err != nil {
		return nil, 0, err
	}
	return block.msg, uint32(block.height), nil
}

// readBlock asks for header and block at once, to save a round trip.
func readBlock(c *rpcclient.Client, hash chainhash.Hash) (placedBlock, error) {
	future := c.GetBlockHeaderVerboseAsync(&hash)
	msg, blockErr := c.GetBlock(&hash)
	header, err := future.Receive()
	if err := errors.Join(blockErr, err); err != nil {
		return placedBlock{}, err
	}
	if header.Confirmations < 1 { // Core, for blocks off the best chain
		return placedBlock{}, chain.ErrNotOnChain
	}
	return placedBlock{msg, header.Height}, nil
}
