// Package runner drives contracts: it is where the pure state machine of package contract meets
// the store, the chain, the wallet and the other side. One Runner serves one identity in one
// role, with all of its contracts.
//
// Its rule has three lines. An event is applied; the new contract, and with it the chain cursor
// when the event came from the chain, is stored in one synced batch; then the effects are
// performed, each of which may be performed again. After a restart the effects that a contract's
// state still calls for are asked of it again (contract.Resume), so that a crash at any point
// leaves nothing half done.
//
// Statements are signed with a deterministic signature from bytes that are part of the stored
// contract: what is sent after a crash is what was sent before it.
package runner

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/internal/wallet"
	"relaymarket/usage"
)

// Store is what the runner keeps contracts in: store.Relay and store.Client.
type Store interface {
	SaveContracts(ctx context.Context, b store.ContractBatch) ([]store.Pending, error)
	Contracts(ctx context.Context) ([]store.ContractRow, error)
	ChainCursor(ctx context.Context) ([]byte, error)
}

// Policy is what a relay decides about contracts; a client has none.
type Policy struct {
	// Offer finds an own offer that still binds.
	Offer func(identity.Digest) (contract.OfferTerms, bool)
	// MaxContracts bounds the contracts that are not over; code NoCapacity beyond.
	MaxContracts int
	// MaxLocked bounds the collaterals of all contracts together; code CollateralUnavailable beyond. 0: none.
	MaxLocked usage.Sat
	// Payout is the script that earnings go to, and collaterals back; nil: an address of the own wallet.
	Payout []byte
	// OwnReport tells whether a digest is that of a report this relay made for the contract.
	OwnReport func(ctx context.Context, id usage.ContractID, report identity.Digest) (bool, error)
	// Due is the least cumulative payment for which the relay agrees to close, by leaf or key path.
	Due func(ctx context.Context, c contract.Contract) (usage.Sat, error)
}

// Config is what a Runner works with.
type Config struct {
	Role    contract.Role
	Key     identity.PrivateKey
	Seed    []byte // contract keys derive from it; see wallet.ContractKey
	Network identity.Network
	Params  *chaincfg.Params
	Store   Store
	Chain   chain.Backend
	Wallet  *wallet.Wallet
	Policy  Policy // relay only
	// Sound tells why the view of the chain is not to be trusted with new money; nil: never. While
	// it does, no contract is opened, and on a relay no service begins. What is open goes on.
	Sound func(context.Context) error
	// FallbackFeeRate is for when the node has no estimate, in satoshi per 1,000 virtual bytes; 0:
	// chain's default.
	FallbackFeeRate int64
	// Head is the log of a contract as this side knows it: the relay's latest report, the latest one
	// that the client has verified. nil: no log is compared.
	Head func(ctx context.Context, c contract.Contract) (contract.Head, error)
	Poll time.Duration // between looks at the chain when no notification comes; 0: chain's default
	// Signed is told of a contract when the client's signatures are on disk and before they leave, so
	// that what recovers it can be kept elsewhere; nil: nobody is told.
	Signed func(c contract.Contract)
	// OpenWait is how long a relay may take to confirm an opening that the client has signed; then
	// the client looks for the funding itself. 0: a minute.
	OpenWait time.Duration
	Now      func() time.Time
	Rand     io.Reader // nil: crypto/rand
	Log      *slog.Logger
}

// Runner drives the contracts of one identity in one role.
type Runner struct {
	Config
	watcher *chain.Watcher

	// mu makes steps one at a time: apply, store, replace.
	mu        sync.Mutex
	contracts map[contract.Nonce]contract.Contract // guarded by mu
	ids       map[usage.ContractID]contract.Nonce  // guarded by mu; an id is dear to compute
	named     map[contract.Nonce]usage.ContractID  // guarded by mu; the same the other way round
	keys      map[contract.Nonce]*btcec.PrivateKey // guarded by mu; see keyAgain
	offers    map[contract.Nonce]time.Time         // guarded by mu; relay: when unsigned proposals were answered
	recent    []chain.Block                        // guarded by mu; oldest first, what the cursor holds
	held      map[contract.Nonce]bool              // guarded by mu; service waits for a sound view

	subMu sync.Mutex
	subs  map[chan struct{}]bool // guarded by subMu

	opening  sync.Mutex // one opening at a time, so that coins, places and addresses are chosen in turn
	payouts  [][]byte   // guarded by opening; relay: the wallet's addresses for earnings, so far as asked for
	lines    sync.Map   // contract.Nonce to a channel with one place; see line
	met      sync.Map   // contract.Nonce of those that were compared with the relay's record since the start
	signings sync.Map   // contract.Nonce to *signing; see cosign.go
	refused  sync.Map   // contract.Nonce of openings that the relay has refused; see noteRefusal
}

// New reads the contracts from the store. It starts nothing.
func New(ctx context.Context, c Config) (*Runner, error) {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	r := &Runner{
		Config: c, contracts: make(map[contract.Nonce]contract.Contract), offers: make(map[contract.Nonce]time.Time), subs: make(map[chan struct{}]bool),
		ids: make(map[usage.ContractID]contract.Nonce), named: make(map[contract.Nonce]usage.ContractID),
		keys: make(map[contract.Nonce]*btcec.PrivateKey), held: make(map[contract.Nonce]bool),
	}
	rows, err := c.Store.Contracts(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		k, err := contract.DecodeContract(row.Row)
		if err != nil {
			return nil, code.Wrap(code.StoreCorrupt, err, "contract %x", row.Nonce[:4])
		}
		r.contracts[k.Nonce()] = k
		r.name(k.Nonce(), k)
	}
	raw, err := c.Store.ChainCursor(ctx)
	if err != nil {
		return nil, err
	}
	if r.recent, err = decodeCursor(raw); err != nil {
		return nil, err
	}
	r.watcher = chain.New(c.Chain, chain.Config{Recent: r.recent, Poll: c.Poll, Now: c.Now})
	return r, nil
}

// Run follows the chain until ctx ends: it resumes what a stop left undone, applies every block to
// every contract, and performs what they ask for.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.resume(ctx); err != nil {
		return err
	}
	along, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	if r.Role == contract.Client {
		beside.Go(func() { r.watchOpenings(along) })
	}
	err := r.watcher.Run(ctx, func(e chain.Event) error { return r.onChain(ctx, e) })
	stop()
	beside.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// resume reserves the coins of all contracts again, since the contract rows and not the wallet
// are the truth about them, and performs the effects that the contracts' states call for.
func (r *Runner) resume(ctx context.Context) error {
	if err := r.lease(); err != nil {
		return err
	}
	for _, c := range r.Contracts() {
		if c.Forgettable() {
			continue
		}
		if err := r.perform(ctx, c.Nonce(), covered(c, c.Resume()), nil); err != nil {
			r.Log.Warn("an effect is left for the next block", "contract", c.ID().String()[:8], "err", err)
		}
	}
	return nil
}

// covered spares a living contract the search through all blocks since its opening: whatever they
// held was applied in the batch that moved the cursor over them.
func covered(c contract.Contract, effects []contract.Effect) []contract.Effect {
	if s := c.Summary(); s.Depth == 0 || s.SpentAt != 0 {
		return effects
	}
	for i, e := range effects {
		if w, ok := e.(contract.Watch); ok {
			w.From = 0
			effects[i] = w
		}
	}
	return effects
}

// step applies one event to one contract, stores the result, and performs its effects. Statements
// to the other side are appended to sent, signed.
func (r *Runner) step(ctx context.Context, nonce contract.Nonce, e contract.Event, sent *[]identity.Signed) (contract.Contract, error) {
	next, effects, err := r.commit(ctx, nonce, e)
	if err != nil {
		return next, err
	}
	return next, r.perform(ctx, nonce, effects, sent)
}

// commit applies and stores, as one step that nothing comes between.
func (r *Runner) commit(ctx context.Context, nonce contract.Nonce, e contract.Event) (contract.Contract, []contract.Effect, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, effects, err := r.contracts[nonce].Apply(e)
	if err != nil {
		return r.contracts[nonce], nil, err
	}
	row, err := r.row(next)
	if err != nil {
		return r.contracts[nonce], nil, err
	}
	if _, err := r.Store.SaveContracts(ctx, store.ContractBatch{Rows: []store.ContractRow{row}}); err != nil {
		return r.contracts[nonce], nil, err
	}
	r.put(nonce, next)
	r.changed()
	return next, effects, nil
}

// row is a contract as the store keeps it, with the account that it feeds on a relay.
func (r *Runner) row(c contract.Contract) (store.ContractRow, error) {
	raw, err := c.Encode()
	if err != nil {
		return store.ContractRow{}, code.Wrap(code.Internal, err, "contract row")
	}
	row := store.ContractRow{Nonce: c.Nonce(), Row: raw}
	if r.Role == contract.Relay {
		if c.State() == contract.StateAborted {
			row.Row = nil // nothing was signed: it leaves no trace
		}
		row.Account = r.account(c)
	}
	return row, nil
}

// stamp is the time and a random serial for a statement.
func (r *Runner) stamp() (contract.Stamp, error) {
	s := contract.Stamp{Time: identity.UnixMilli(r.Now().UnixMilli())}
	_, err := io.ReadFull(r.Rand, s.Serial[:])
	return s, code.Wrap(code.Internal, err, "random bytes")
}

// keyOf derives this side's private key of a contract.
func (r *Runner) keyOf(nonce contract.Nonce) (*btcec.PrivateKey, error) {
	role := wallet.RoleClient
	if r.Role == contract.Relay {
		role = wallet.RoleRelay
	}
	key, err := wallet.ContractKey(r.Seed, r.Params, nonce, role)
	return key, code.Wrap(code.Internal, err, "contract key")
}

// keyAgain is keyOf for a contract that is kept, and remembers the key: every block asks for those
// of all contracts. Callers hold r.mu.
func (r *Runner) keyAgain(nonce contract.Nonce) (*btcec.PrivateKey, error) {
	if key := r.keys[nonce]; key != nil {
		return key, nil
	}
	key, err := r.keyOf(nonce)
	if err == nil {
		r.keys[nonce] = key
	}
	return key, err
}

// Contracts are all contracts, in no particular order.
func (r *Runner) Contracts() []contract.Contract {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]contract.Contract, 0, len(r.contracts))
	for _, c := range r.contracts {
		out = append(out, c)
	}
	return out
}

// Contract finds a contract by its id. Code ContractUnknown.
func (r *Runner) Contract(id usage.ContractID) (contract.Contract, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.ids[id]
	if !ok || r.contracts[n].State() == contract.StateAborted {
		return contract.Contract{}, code.New(code.ContractUnknown, "no contract %s here", id)
	}
	return r.contracts[n], nil
}

// Of are the contracts with one peer, in no particular order.
func (r *Runner) Of(peer identity.PublicKey) []contract.Contract {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []contract.Contract
	for _, c := range r.contracts {
		if c.Peer() == peer {
			out = append(out, c)
		}
	}
	return out
}

// name remembers the id of a contract once it has one. Callers hold r.mu.
func (r *Runner) name(n contract.Nonce, c contract.Contract) {
	if _, ok := r.named[n]; ok {
		return
	}
	if id := c.ID(); !id.IsZero() {
		r.ids[id], r.named[n] = n, id
	}
}

// ByNonce finds a contract by its nonce.
func (r *Runner) ByNonce(n contract.Nonce) (contract.Contract, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.contracts[n]
	return c, ok
}

// Health is the watcher's view of chain and node.
func (r *Runner) Health() chain.Health { return r.watcher.Health() }

// Tip is the height of the last block that the contracts were told of.
func (r *Runner) Tip() usage.Height { return usage.Height(r.watcher.Health().Last.Height) }

// Changes gives a channel that gets a nudge after every step, and a function that ends it.
func (r *Runner) Changes() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	r.subMu.Lock()
	defer r.subMu.Unlock()
	r.subs[ch] = true
	return ch, func() {
		r.subMu.Lock()
		defer r.subMu.Unlock()
		delete(r.subs, ch)
	}
}

func (r *Runner) changed() {
	r.subMu.Lock()
	defer r.subMu.Unlock()
	for ch := range r.subs {
		select {
		case ch <- struct{}{}:
		default: // a nudge is waiting already
		}
	}
}

// errNoReply tells that the other side answered nothing where an answer was needed.
var errNoReply = errors.New("the other side gave no answer")
