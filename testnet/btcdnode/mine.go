package btcdnode

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/mining"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

const (
	// generateAtOnce bounds one generate request, so that no single answer
	// takes long.
	generateAtOnce = 200

	// blockVersion is the plain version-bits value without any signal.
	blockVersion = 0x20000000
)

// Mine makes n blocks from the node's mempool and returns their hashes, oldest
// first. n = 0 does nothing.
func (n *Node) Mine(count int) ([]chainhash.Hash, error) {
	n.making.Lock()
	defer n.making.Unlock()
	hashes, err := n.mine(count)
	return hashes, errors.Join(err, n.follow())
}

func (n *Node) mine(count int) ([]chainhash.Hash, error) {
	hashes := make([]chainhash.Hash, 0, max(count, 0))
	for len(hashes) < count {
		batch, err := n.Client().Generate(uint32(min(count-len(hashes), generateAtOnce)))
		if err != nil {
			return hashes, fmt.Errorf("btcdnode: mine: %w", err)
		}
		for _, h := range batch {
			hashes = append(hashes, *h)
		}
	}
	return hashes, nil
}

// MineEmpty makes n blocks that hold no transaction but the reward, whatever
// waits in the mempool.
func (n *Node) MineEmpty(count int) ([]chainhash.Hash, error) {
	n.making.Lock()
	defer n.making.Unlock()
	return n.mineEach(make([][]*wire.MsgTx, max(count, 0)))
}

// mineEach makes one block per list of transactions.
func (n *Node) mineEach(blocks [][]*wire.MsgTx) ([]chainhash.Hash, error) {
	var hashes []chainhash.Hash
	for _, txs := range blocks {
		hash, err := n.mineWith(txs)
		if err != nil {
			return hashes, errors.Join(err, n.follow())
		}
		hashes = append(hashes, hash)
	}
	return hashes, n.follow()
}

// MineWith makes one block on the tip that holds exactly these transactions, in
// this order (parents before children), past the mempool's policy: so a test
// can confirm a double spend or leave out what it likes. The reward is the
// subsidy without the fees.
func (n *Node) MineWith(txs ...*wire.MsgTx) (chainhash.Hash, error) {
	n.making.Lock()
	defer n.making.Unlock()
	hash, err := n.mineWith(txs)
	return hash, errors.Join(err, n.follow())
}

func (n *Node) mineWith(txs []*wire.MsgTx) (chainhash.Hash, error) {
	block, err := n.assemble(txs)
	if err != nil {
		return chainhash.Hash{}, err
	}
	if err := solve(&block.Header); err != nil {
		return chainhash.Hash{}, err
	}
	if err := n.Client().SubmitBlock(btcutil.NewBlock(block), nil); err != nil {
		return chainhash.Hash{}, fmt.Errorf("btcdnode: submit block: %w", err)
	}
	return block.BlockHash(), nil
}

// assemble builds an unsolved block on the node's tip.
func (n *Node) assemble(txs []*wire.MsgTx) (*wire.MsgBlock, error) {
	tip, height, err := n.Tip()
	if err != nil {
		return nil, err
	}
	when, err := n.nextTime()
	if err != nil {
		return nil, err
	}
	reward, err := n.reward(height + 1)
	if err != nil {
		return nil, err
	}
	all := []*btcutil.Tx{btcutil.NewTx(reward)}
	for _, tx := range txs {
		all = append(all, btcutil.NewTx(tx.Copy()))
	}
	mining.AddWitnessCommitment(all[0], all)
	block := &wire.MsgBlock{Header: wire.BlockHeader{
		Version: blockVersion, PrevBlock: tip, MerkleRoot: blockchain.CalcMerkleRoot(all, false),
		Timestamp: when, Bits: params().PowLimitBits,
	}}
	for _, tx := range all {
		block.Transactions = append(block.Transactions, tx.MsgTx())
	}
	return block, nil
}

// nextTime is the earliest time a node accepts that is not in the past.
func (n *Node) nextTime() (time.Time, error) {
	info, err := n.Client().GetBlockChainInfo()
	if err != nil {
		return time.Time{}, fmt.Errorf("btcdnode: median time: %w", err)
	}
	return time.Unix(max(time.Now().Unix(), info.MedianTime+1), 0), nil
}

// reward makes a coinbase transaction. Its random tag makes two blocks at one
// height differ even when they hold the same and are made in the same second.
func (n *Node) reward(height int32) (*wire.MsgTx, error) {
	var tag [8]byte
	if _, err := rand.Read(tag[:]); err != nil {
		return nil, err
	}
	script, err := txscript.NewScriptBuilder().AddInt64(int64(height)).AddData(tag[:]).Script()
	if err != nil {
		return nil, err
	}
	pkScript, err := n.rewardScript()
	if err != nil {
		return nil, err
	}
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(&wire.TxIn{
		PreviousOutPoint: wire.OutPoint{Index: wire.MaxPrevOutIndex},
		SignatureScript:  script, Sequence: wire.MaxTxInSequenceNum,
	})
	tx.AddTxOut(wire.NewTxOut(blockchain.CalcBlockSubsidy(height, params()), pkScript))
	return tx, nil
}

// solve tries nonces; on regtest about every second one fits.
func solve(header *wire.BlockHeader) error {
	target := blockchain.CompactToBig(header.Bits)
	for header.Nonce = range uint32(1 << 20) {
		hash := header.BlockHash()
		if blockchain.HashToBig(&hash).Cmp(target) <= 0 {
			return nil
		}
	}
	return errors.New("btcdnode: no nonce solves the block")
}

// Reorg takes the last depth blocks off the chain and mines newLen others in
// their place, from the mempool, into which the node has put back what the old
// blocks held. Use Fork to choose what the new blocks hold. newLen may be less
// than depth, even 0, because the node is told that the old blocks are invalid.
func (n *Node) Reorg(depth, newLen int) error {
	n.making.Lock()
	defer n.making.Unlock()
	if err := n.rewind(depth); err != nil {
		return err
	}
	_, err := n.mine(newLen)
	return errors.Join(err, n.follow())
}

// Fork takes the last depth blocks off the chain and mines one block per
// argument in their place, each holding exactly the given transactions (see
// MineWith).
func (n *Node) Fork(depth int, blocks ...[]*wire.MsgTx) error {
	n.making.Lock()
	defer n.making.Unlock()
	if err := n.rewind(depth); err != nil {
		return err
	}
	_, err := n.mineEach(blocks)
	return err
}

// rewind declares the block at tip-depth+1 invalid.
func (n *Node) rewind(depth int) error {
	_, height, err := n.Tip()
	if err != nil {
		return err
	}
	if depth < 0 || int64(depth) > int64(height) {
		return fmt.Errorf("btcdnode: cannot take %d blocks off a chain of %d", depth, height)
	}
	if depth == 0 {
		return nil
	}
	hash, err := n.Client().GetBlockHash(int64(height) - int64(depth) + 1)
	if err != nil {
		return fmt.Errorf("btcdnode: rewind: %w", err)
	}
	if err := n.Client().InvalidateBlock(hash); err != nil {
		return fmt.Errorf("btcdnode: rewind: %w", err)
	}
	return nil
}
