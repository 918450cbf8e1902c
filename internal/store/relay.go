package store

import (
	"context"

	"golang.org/x/mod/sumdb/tlog"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

type place struct {
	home    uint8
	bucket  Bucket
	arrival usage.Arrival
}

// Relay is the durable state of one relay. Apply, Expire, SaveContracts and MakeReport commit
// and run one at a time; queries run at any time and see synced state only.
type Relay struct{ engine Engine }

var errEarly = code.New(code.Unsupported, "not built yet")

// OpenRelay opens or creates the store. Errors carry code StoreLocked, StoreVersion,
// StoreCorrupt or Internal.
func OpenRelay(o Options) (*Relay, error) { return nil, errEarly }

// RecoverRelay makes a store that was restored from a backup usable: a new store_epoch, and a
// new log epoch for every contract. The relay must not run.
func RecoverRelay(o Options, now identity.UnixMilli) error { return errEarly }

// Close releases the store.
func (r *Relay) Close() error { return r.engine.Close() }

// Apply checks the operations in their order, stores what is in order with one sync, and gives
// one outcome for each. The error is for faults of the whole batch; then nothing may be
// answered but a coded error, and the operations may be tried again.
func (r *Relay) Apply(ctx context.Context, now identity.UnixMilli, ops []Op) ([]Outcome, error) {
	return nil, errEarly
}

// Expire closes what is past its end: EXPIRE rows, then indices and content at least 60 s
// later. Call it about once a minute, also without traffic. It gives the number of records
// removed.
func (r *Relay) Expire(ctx context.Context, now identity.UnixMilli) (int, error) { return 0, errEarly }

// ConfirmClock is the operator's word that the clock is right although it is far from the
// last commit.
func (r *Relay) ConfirmClock(ctx context.Context, now identity.UnixMilli) error { return errEarly }

// Watermark is the arrival up to which everything is synced: `through` and `as_of`.
func (r *Relay) Watermark() usage.Arrival { return 0 }

// StoreEpoch changes when a store is restored.
func (r *Relay) StoreEpoch() [16]byte { return [16]byte{} }

// Inbox lists what was written for a receiver, after and before exclusive (before 0: no
// bound), oldest first.
func (r *Relay) Inbox(ctx context.Context, receiver identity.PublicKey, after, before usage.Arrival, limit int) (Page, error) {
	return Page{}, errEarly
}

// Outbox is Inbox for the records of a sender.
func (r *Relay) Outbox(ctx context.Context, sender identity.PublicKey, after, before usage.Arrival, limit int) (Page, error) {
	return Page{}, errEarly
}

// Content reads n bytes (or what is left) of a granted record's content from offset.
func (r *Relay) Content(ctx context.Context, g *Grant, offset uint32, n int) ([]byte, error) {
	return nil, errEarly
}

// Header reads a live record's signed header by its digest. Code NotFound.
func (r *Relay) Header(ctx context.Context, record identity.Digest, home Shard) (identity.Signed, error) {
	return identity.Signed{}, errEarly
}

// Identity reads the kept Identity document of a key. Code NotFound.
func (r *Relay) Identity(ctx context.Context, key identity.PublicKey) (identity.Signed, error) {
	return identity.Signed{}, errEarly
}

// FreeUsed is how much of the free allowance an identity has used on the day of now.
func (r *Relay) FreeUsed(ctx context.Context, key identity.PublicKey, now identity.UnixMilli) (uint64, error) {
	return 0, errEarly
}

// Account reads one contract's account. Code ContractUnknown.
func (r *Relay) Account(ctx context.Context, id usage.ContractID) (Account, error) {
	return Account{}, errEarly
}

// Accounts lists the accounts of a payer; with the zero key, of all.
func (r *Relay) Accounts(ctx context.Context, payer identity.PublicKey) ([]Account, error) {
	return nil, errEarly
}

// RowsQuery selects rows of a contract's log. After and Before are arrivals, exclusive, zero
// for no bound.
type RowsQuery struct {
	From          uint64 // first row index
	After, Before usage.Arrival
	Limit         int
}

// Hashes reads the stored hashes of a contract's log, for proofs.
func (r *Relay) Hashes(ctx context.Context, id usage.ContractID) tlog.HashReader { return nil }

// Report is the body of a contract's latest usage report. Code NotFound.
func (r *Relay) Report(ctx context.Context, id usage.ContractID) ([]byte, error) { return nil, errEarly }

// MakeReport makes the next report if the log has grown since the last one, or gives the last
// one. Its body is synced when it is returned; the caller signs it.
func (r *Relay) MakeReport(ctx context.Context, now identity.UnixMilli, id usage.ContractID, tip Tip) ([]byte, error) {
	return nil, errEarly
}

// SaveContracts commits one step of the runner. It gives the effects with their numbers.
func (r *Relay) SaveContracts(ctx context.Context, b ContractBatch) ([]Pending, error) {
	return nil, errEarly
}

// Contract reads the runner's row. Code ContractUnknown.
func (r *Relay) Contract(ctx context.Context, nonce [32]byte) ([]byte, error) { return nil, errEarly }

// Contracts lists all of the runner's rows (Account is not filled).
func (r *Relay) Contracts(ctx context.Context) ([]ContractRow, error) { return nil, errEarly }

// PendingEffects lists what is not yet marked done, oldest first.
func (r *Relay) PendingEffects(ctx context.Context) ([]Pending, error) { return nil, errEarly }

// ChainCursor is the last saved cursor; nil at first.
func (r *Relay) ChainCursor(ctx context.Context) ([]byte, error) { return nil, errEarly }

// NextOfferSequence takes the next sequence number for an own offer; it is synced before it is
// returned, so that no two offers share one.
func (r *Relay) NextOfferSequence(ctx context.Context) (uint64, error) { return 0, errEarly }

// BoardOffer is an offer on this relay's board: bytes that only package board understands.
type BoardOffer struct {
	Key     identity.PublicKey // one offer per relay key
	Expires identity.UnixMilli
	Offer   []byte
}

// SaveBoard puts offers on the board and takes others off, in one commit.
func (r *Relay) SaveBoard(ctx context.Context, put []BoardOffer, drop []identity.PublicKey) error {
	return errEarly
}

// Board lists all offers on the board.
func (r *Relay) Board(ctx context.Context) ([]BoardOffer, error) { return nil, errEarly }
