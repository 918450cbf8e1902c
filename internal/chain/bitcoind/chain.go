package bitcoind

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
)

// placed is a header in the verbose form, as far as it is used.
type placed struct {
	Hash          string `json:"hash"`
	Confirmations int64  `json:"confirmations"` // -1: not on the best chain
	Height        uint32 `json:"height"`
	Prev          string `json:"previousblockhash"` // missing for the first block
	Time          int64  `json:"time"`
}

// Tip implements chain.Backend.
func (b *Backend) Tip(ctx context.Context) (chain.Block, error) {
	var hash string
	if err := b.call(ctx, &hash, "getbestblockhash"); err != nil {
		return chain.Block{}, unavailable(ctx, err, "its tip")
	}
	var p placed
	if err := b.call(ctx, &p, "getblockheader", hash, true); err != nil {
		return chain.Block{}, unavailable(ctx, err, "its tip")
	}
	at, err := chainhash.NewHashFromStr(p.Hash)
	if err != nil {
		return chain.Block{}, unavailable(ctx, err, "its tip sensibly")
	}
	prev := new(chainhash.Hash)
	if p.Prev != "" {
		prev, err = chainhash.NewHashFromStr(p.Prev)
	}
	if err != nil {
		return chain.Block{}, unavailable(ctx, err, "its tip sensibly")
	}
	return chain.Block{Hash: *at, Height: p.Height, Prev: *prev, Time: time.Unix(p.Time, 0)}, nil
}

// BlockAt implements chain.Backend.
func (b *Backend) BlockAt(ctx context.Context, height uint32) (chainhash.Hash, error) {
	if height > 1<<31-1 { // the node's own type
		return chainhash.Hash{}, fmt.Errorf("height %d: %w", height, chain.ErrNotOnChain)
	}
	var text string
	err := b.call(ctx, &text, "getblockhash", height)
	if numberOf(err) == rpcBadParameter {
		return chainhash.Hash{}, fmt.Errorf("height %d: %w", height, chain.ErrNotOnChain)
	}
	if err != nil {
		return chainhash.Hash{}, unavailable(ctx, err, "the block at height %d", height)
	}
	hash, err := chainhash.NewHashFromStr(text)
	if err != nil {
		return chainhash.Hash{}, unavailable(ctx, err, "the block at height %d sensibly", height)
	}
	return *hash, nil
}

// Header implements chain.Backend.
func (b *Backend) Header(ctx context.Context, hash chainhash.Hash) (*wire.BlockHeader, uint32, error) {
	header := new(wire.BlockHeader)
	height, err := b.object(ctx, hash, func() error {
		var text string
		if err := b.call(ctx, &text, "getblockheader", hash.String(), false); err != nil {
			return err
		}
		return decode(text, header)
	}, header.BlockHash)
	if err != nil {
		return nil, 0, err
	}
	return header, height, nil
}

// Block implements chain.Backend.
func (b *Backend) Block(ctx context.Context, hash chainhash.Hash) (*wire.MsgBlock, uint32, error) {
	block := new(wire.MsgBlock)
	height, err := b.object(ctx, hash, func() error {
		var text string
		if err := b.call(ctx, &text, "getblock", hash.String(), 0); err != nil {
			return err
		}
		return decode(text, block)
	}, block.BlockHash)
	if err != nil {
		return nil, 0, err
	}
	return block, height, nil
}

// object finds the height of a block of the best chain, and gets what is wanted of it.
func (b *Backend) object(ctx context.Context, hash chainhash.Hash, get func() error, got func() chainhash.Hash) (uint32, error) {
	var p placed
	err := b.call(ctx, &p, "getblockheader", hash.String(), true)
	if err == nil && p.Confirmations < 1 {
		err = chain.ErrNotOnChain
	}
	if err == nil {
		err = get()
	}
	switch {
	case numberOf(err) == rpcNotFound, errors.Is(err, chain.ErrNotOnChain):
		return 0, fmt.Errorf("block %s: %w", hash, chain.ErrNotOnChain)
	case err == nil && got() != hash:
		err = errors.New("it answers with another one")
	}
	return p.Height, unavailable(ctx, err, "block %s", hash)
}

// message is a header, block or transaction.
type message interface{ Deserialize(io.Reader) error }

// decode reads hexadecimal text and wants all of it to be used.
func decode(text string, into message) error {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	r := bytes.NewReader(raw)
	err = into.Deserialize(r)
	if err == nil && r.Len() > 0 {
		err = fmt.Errorf("%d bytes too many", r.Len())
	}
	return err
}
