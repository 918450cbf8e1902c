package btcdnode

import (
	"fmt"

	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcd/wire/v2"
)

// archive is a copy of the node's best chain. btcd deletes its block database
// whenever it starts on regtest, so a node that is to come back with its chain
// must be given the blocks again. The faucet finds its coins in it too.
type archive struct {
	blocks []*wire.MsgBlock // blocks[i] has height i+1
}

// sync makes the copy equal to the node's chain. It reports whether blocks were
// dropped, and how many old ones are left.
func (a *archive) sync(client *rpcclient.Client) (kept int, forked bool, err error) {
	_, best, err := client.GetBestBlock()
	if err != nil {
		return 0, false, fmt.Errorf("btcdnode: archive: %w", err)
	}
	kept, err = a.common(client, int(best))
	if err != nil {
		return 0, false, err
	}
	forked = kept < len(a.blocks)
	a.blocks = a.blocks[:kept]
	for height := kept + 1; height <= int(best); height++ {
		block, err := blockAt(client, height)
		if err != nil {
			return 0, false, err
		}
		a.blocks = append(a.blocks, block)
	}
	return kept, forked, nil
}

// common counts the archived blocks that the node still has on its chain.
func (a *archive) common(client *rpcclient.Client, best int) (int, error) {
	height := min(len(a.blocks), best)
	for ; height > 0; height-- {
		hash, err := client.GetBlockHash(int64(height))
		if err != nil {
			return 0, fmt.Errorf("btcdnode: archive: %w", err)
		}
		if *hash == a.blocks[height-1].BlockHash() {
			break
		}
	}
	return height, nil
}

func blockAt(client *rpcclient.Client, height int) (*wire.MsgBlock, error) {
	hash, err := client.GetBlockHash(int64(height))
	if err != nil {
		return nil, fmt.Errorf("btcdnode: archive: %w", err)
	}
	block, err := client.GetBlock(hash)
	if err != nil {
		return nil, fmt.Errorf("btcdnode: archive: %w", err)
	}
	return block, nil
}

// restore gives the blocks to a node that has lost them.
func (a *archive) restore(client *rpcclient.Client) error {
	for i, block := range a.blocks {
		if err := client.SubmitBlock(btcutil.NewBlock(block), nil); err != nil {
			return fmt.Errorf("btcdnode: restore block %d: %w", i+1, err)
		}
	}
	return nil
}

// follow brings the archive, and with it the faucet, up to the node's chain.
func (n *Node) follow() error {
	kept, forked, err := n.archive.sync(n.Client())
	if err != nil || n.faucet == nil {
		return err
	}
	if forked {
		n.faucet.reread(n.archive.blocks)
		return nil
	}
	for _, block := range n.archive.blocks[kept:] {
		n.faucet.read(block)
	}
	return nil
}
