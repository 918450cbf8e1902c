package wallet

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	btcchain "github.com/btcsuite/btcwallet/chain"
	"github.com/btcsuite/btcwallet/wtxmgr"

	"relaymarket/internal/chain"
)

// pullPoll is the time between looks at the chain when no notification comes.
const pullPoll = 2 * time.Second

// puller feeds btcwallet from a backend of internal/chain: a Watcher follows the chain for the
// wallet's scripts and coins, and its events become btcwallet's notifications. It tells nothing of
// the mempool: what others pay shows with its first confirmation.
type puller struct {
	backend chain.Backend
	params  *chaincfg.Params
	notes   chan any

	life context.Context // ends with the connection
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	watcher *chain.Watcher    // nil before Rescan
	early   []address.Address // asked for before Rescan

	// Of the Watcher's goroutine alone.
	target   uint32       // height at which the rescan is finished
	finished bool         // it is
	held     *chain.Block // connected, but not told yet: a coin in it may be spent in it
}

func newPuller(b chain.Backend, params *chaincfg.Params) *puller {
	p := &puller{backend: b, params: params, notes: make(chan any)}
	p.life, p.stop = context.WithCancel(context.Background())
	_ = p.Start(p.life) // the first note waits for a reader
	go p.close()
	return p
}

// close ends the notifications when nothing can send one any more.
func (p *puller) close() {
	<-p.life.Done()
	p.mu.Lock() // whoever was about to start something has started it, or sees the end
	defer p.mu.Unlock()
	p.work.Wait()
	close(p.notes)
}

// Start implements btcwallet's chain.Interface.
func (p *puller) Start(context.Context) error {
	p.work.Go(func() { _ = p.tell(btcchain.ClientConnected{}) })
	return nil
}

// Stop ends everything that runs or waits.
func (p *puller) Stop() { p.stop() }

// WaitForShutdown waits for the end.
func (p *puller) WaitForShutdown() {
	<-p.life.Done()
	p.work.Wait()
}

// Disconnected tells whether it has ended.
func (p *puller) Disconnected() bool { return p.life.Err() != nil }

// Notifications implements btcwallet's chain.Interface.
func (p *puller) Notifications() <-chan any { return p.notes }

// NotifyBlocks needs nothing: Rescan goes on with new blocks.
func (p *puller) NotifyBlocks() error { return nil }

func (p *puller) tell(note any) error {
	select {
	case p.notes <- note:
		return nil
	case <-p.life.Done():
		return p.life.Err()
	}
}

// Rescan looks through all blocks after start, and from then on through every new one. btcwallet
// calls it once per connection.
func (p *puller) Rescan(start *chainhash.Hash, addrs []address.Address, coins map[wire.OutPoint]address.Address) error {
	header, height, err := p.backend.Header(p.life, *start)
	if err != nil {
		return err
	}
	tip, err := p.backend.Tip(p.life)
	if err != nil {
		return err
	}
	from := chain.Block{Hash: *start, Height: height, Prev: header.PrevBlock, Time: header.Timestamp}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.life.Err(); err != nil {
		return err
	}
	if p.watcher != nil {
		return errors.New("wallet: a second rescan on one connection")
	}
	w := chain.New(p.backend, chain.Config{Start: from, Poll: pullPoll})
	if err := watchAddresses(w, append(p.early, addrs...), 0); err != nil {
		return err
	}
	for op, addr := range coins {
		script, err := txscript.PayToAddrScript(addr)
		if err != nil {
			return err
		}
		w.Watch(coinWatch(op, script, 0))
	}
	p.watcher, p.target = w, tip.Height
	p.work.Go(func() { p.run(from) })
	return nil
}

func coinWatch(op wire.OutPoint, script []byte, from uint32) chain.Watch {
	return chain.OutPoint(op.String(), op, from).At(script)
}

func watchAddresses(w *chain.Watcher, addrs []address.Address, from uint32) error {
	for _, a := range addrs {
		script, err := txscript.PayToAddrScript(a)
		if err != nil {
			return err
		}
		w.Watch(chain.Script(string(script), script, from))
	}
	return nil
}

// NotifyReceived watches new addresses: nothing can have been paid to them before now.
func (p *puller) NotifyReceived(addrs []address.Address) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watcher == nil {
		p.early = append(p.early, addrs...)
		return nil
	}
	return watchAddresses(p.watcher, addrs, p.watcher.Health().Last.Height+1)
}

// run follows the chain. Its end is the end of the connection.
func (p *puller) run(start chain.Block) {
	defer p.stop()
	if start.Height >= p.target && p.finish(start) != nil {
		return
	}
	_ = p.watcher.Run(p.life, p.handle) // the next connection finds the reason again
}

func (p *puller) handle(e chain.Event) error {
	if e.Kind == chain.Covered {
		return p.release()
	}
	if e.Kind != chain.Rescanned {
		if err := p.release(); err != nil {
			return err
		}
	}
	if e.Kind == chain.Disconnected {
		return p.tell(btcchain.BlockDisconnected(metaOf(e.Block))) // which ends the connection; see gate
	}
	if err := p.tellCoins(e); err != nil || e.Kind == chain.Rescanned {
		return err
	}
	p.held = &e.Block
	if len(e.Payments) > 0 {
		return nil // until their outputs were looked for in this block too
	}
	return p.release()
}

// tellCoins reports what a block holds of the wallet, and watches the new coins.
func (p *puller) tellCoins(e chain.Event) error {
	txs := make(map[chainhash.Hash]*wire.MsgTx)
	for _, s := range e.Spends {
		txs[s.Txid] = s.Tx
	}
	for _, x := range e.Payments {
		txs[x.OutPoint.Hash] = x.Tx
		p.watcher.Watch(coinWatch(x.OutPoint, x.Tx.TxOut[x.OutPoint.Index].PkScript, e.Block.Height))
	}
	meta := metaOf(e.Block)
	note := btcchain.FilteredBlockConnected{Block: &meta}
	for _, tx := range wtxmgr.DependencySort(txs) { // a coin must be known before its spending
		rec, err := wtxmgr.NewTxRecordFromMsgTx(tx, e.Block.Time)
		if err != nil {
			return err
		}
		note.RelevantTxs = append(note.RelevantTxs, rec)
	}
	if len(note.RelevantTxs) == 0 {
		return nil
	}
	return p.tell(note)
}

// release tells of the block that was held back, after everything that it holds.
func (p *puller) release() error {
	if p.held == nil {
		return nil
	}
	block := *p.held
	if err := p.tell(btcchain.BlockConnected(metaOf(block))); err != nil {
		return err
	}
	p.held = nil
	if p.finished || block.Height < p.target {
		return nil
	}
	return p.finish(block)
}

func (p *puller) finish(b chain.Block) error {
	p.finished = true
	return p.tell(&btcchain.RescanFinished{Hash: &b.Hash, Height: int32(b.Height), Time: b.Time})
}

func metaOf(b chain.Block) wtxmgr.BlockMeta {
	return wtxmgr.BlockMeta{Block: wtxmgr.Block{Hash: b.Hash, Height: int32(b.Height)}, Time: b.Time}
}
