package store

import (
	"context"

	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// Client is the durable state of one identity's agent. Every verb is one atomic, synced step;
// verbs run one at a time, queries at any time.
type Client struct{ engine Engine }

// OpenClient opens or creates the store. Errors carry code StoreLocked, StoreVersion,
// StoreCorrupt, WrongNetwork, BadConfig or Internal.
func OpenClient(o ClientOptions) (*Client, error) { return nil, errEarly }

// Close releases the store.
func (c *Client) Close() error { return c.engine.Close() }

// SaveSealingKey keeps a key; do that before the document that names it is published.
func (c *Client) SaveSealingKey(ctx context.Context, k records.SealingKey) error { return errEarly }

// SealingKeys lists all keys that are kept.
func (c *Client) SealingKeys(ctx context.Context) ([]records.SealingKey, error) {
	return nil, errEarly
}

// DeleteSealingKeys forgets keys for good.
func (c *Client) DeleteSealingKeys(ctx context.Context, ids []records.KeyID) error { return errEarly }

// SendEpoch is the state of the running epoch to a receiver, zero if there is none.
func (c *Client) SendEpoch(ctx context.Context, to identity.PublicKey) (records.SendEpoch, error) {
	return records.SendEpoch{}, errEarly
}

// RecvEpoch is the state of an epoch of a sender, zero if it was never seen.
func (c *Client) RecvEpoch(ctx context.Context, from identity.PublicKey, id records.EpochID) (records.RecvEpoch, error) {
	return records.RecvEpoch{}, errEarly
}

// SendThread is the conversation to somebody, as sent: its Next numbers the next message.
func (c *Client) SendThread(ctx context.Context, to identity.PublicKey) (records.Thread, error) {
	return records.Thread{}, errEarly
}

// RecvThread is the conversation from somebody, as received.
func (c *Client) RecvThread(ctx context.Context, from identity.PublicKey) (records.Thread, error) {
	return records.Thread{}, errEarly
}

// Enqueue keeps an order and its records for sending, together with the sealing states after
// them. It refuses with code StoreStale what was sealed from a state that is not the last one,
// or numbered from such a conversation: seal again. The same order again changes nothing.
func (c *Client) Enqueue(ctx context.Context, now identity.UnixMilli, o Outgoing) error {
	return errEarly
}

// Queue lists orders that wait for their receipts, oldest first; zero relay: of all relays.
func (c *Client) Queue(ctx context.Context, relay identity.PublicKey) ([]QueuedOrder, error) {
	return nil, errEarly
}

// QueuedWrite reads what travels for an order. Code NotFound if it does not wait any more.
func (c *Client) QueuedWrite(ctx context.Context, order identity.Digest) (QueuedWrite, error) {
	return QueuedWrite{}, errEarly
}

// MarkTried notes that an order was given to its relay (cause nil), or why that failed.
func (c *Client) MarkTried(ctx context.Context, now identity.UnixMilli, order identity.Digest, cause error) error {
	return errEarly
}

// Abandon gives an order up.
func (c *Client) Abandon(ctx context.Context, order identity.Digest) error { return errEarly }

// SaveReceipt keeps the relay's receipt: the order waits no more.
func (c *Client) SaveReceipt(ctx context.Context, r usage.VerifiedReceipt) error { return errEarly }

// Receipt reads the receipt for an order. Code NotFound.
func (c *Client) Receipt(ctx context.Context, order identity.Digest) (identity.Signed, error) {
	return identity.Signed{}, errEarly
}

// Sent reads one own record. Code NotFound.
func (c *Client) Sent(ctx context.Context, record identity.Digest) (Sent, error) {
	return Sent{}, errEarly
}

// Outbox lists own records by Seq above after, ascending.
func (c *Client) Outbox(ctx context.Context, after uint64, limit int) ([]Sent, error) {
	return nil, errEarly
}

// Known tells for each digest whether the record was received before.
func (c *Client) Known(ctx context.Context, records []identity.Digest) ([]bool, error) {
	return nil, errEarly
}

// SaveRequests keeps read requests before they are shown to a relay.
func (c *Client) SaveRequests(ctx context.Context, requests []Request) error { return errEarly }

// Request finds the request for a record at a relay that may already have been charged.
func (c *Client) Request(ctx context.Context, relay identity.PublicKey, record identity.Digest) (Request, bool, error) {
	return Request{}, false, errEarly
}

// DropRequest forgets a request that was denied or is over.
func (c *Client) DropRequest(ctx context.Context, relay identity.PublicKey, record identity.Digest) error {
	return errEarly
}

// SaveReceived keeps a record that was read, with all that follows from it, in one step. It
// tells where the message stands in its conversation. A record that is known changes only the
// cursor.
func (c *Client) SaveReceived(ctx context.Context, now identity.UnixMilli, in Incoming) (records.Place, error) {
	return 0, errEarly
}

// Received reads one record. Code NotFound.
func (c *Client) Received(ctx context.Context, record identity.Digest) (Received, error) {
	return Received{}, errEarly
}

// Inbox lists received records by Seq above after, ascending.
func (c *Client) Inbox(ctx context.Context, after uint64, limit int) ([]Received, error) {
	return nil, errEarly
}

// MarkRead notes that a message was shown.
func (c *Client) MarkRead(ctx context.Context, record identity.Digest) error { return errEarly }

// Plain reads what was kept of a sent or received record for the user. Code NotFound.
func (c *Client) Plain(ctx context.Context, record identity.Digest) ([]byte, error) {
	return nil, errEarly
}

// Sealed reads a record's content as it was stored at the relay, if it was kept. Code NotFound.
func (c *Client) Sealed(ctx context.Context, record identity.Digest) ([]byte, error) {
	return nil, errEarly
}

// Forget deletes what was kept of a record for the user; evidence stays.
func (c *Client) Forget(ctx context.Context, record identity.Digest) error { return errEarly }

// Cursor is how far a list was read; see CursorMove. Zero at first.
func (c *Client) Cursor(ctx context.Context, relay, peer identity.PublicKey) (Cursor, error) {
	return Cursor{}, errEarly
}

// SaveCursor moves a cursor.
func (c *Client) SaveCursor(ctx context.Context, m CursorMove) error { return errEarly }

// DeliveryAcks lists the delivery acknowledgements that a relay has not yet taken, oldest first.
func (c *Client) DeliveryAcks(ctx context.Context, relay identity.PublicKey, limit int) ([]PendingStatement, error) {
	return nil, errEarly
}

// SenderAcks lists the acknowledgements that wait to travel to a sender, oldest first.
func (c *Client) SenderAcks(ctx context.Context, sender identity.PublicKey, limit int) ([]PendingStatement, error) {
	return nil, errEarly
}

// AcksDue sums up the waiting acknowledgements by sender.
func (c *Client) AcksDue(ctx context.Context) ([]PendingAcks, error) { return nil, errEarly }

// EnqueueDelete keeps an order to delete until its receipt comes.
func (c *Client) EnqueueDelete(ctx context.Context, now identity.UnixMilli, d usage.VerifiedDelete, home Shard) error {
	return errEarly
}

// Deletes lists the deletes that a relay has not yet receipted, oldest first.
func (c *Client) Deletes(ctx context.Context, relay identity.PublicKey, limit int) ([]PendingStatement, error) {
	return nil, errEarly
}

// SaveDeleteReceipt keeps the relay's receipt for a deletion, ordered or by acknowledgement.
func (c *Client) SaveDeleteReceipt(ctx context.Context, r usage.VerifiedDeleteReceipt) error {
	return errEarly
}

// DonePending drops pending statements that have arrived or that nobody wants.
func (c *Client) DonePending(ctx context.Context, ids []PendingID) error { return errEarly }

// SaveReport keeps a relay's report and rows of its log from index first on. Rows may be
// saved again when acknowledgements were attached to them.
func (c *Client) SaveReport(ctx context.Context, r usage.VerifiedUsageReport, first uint64, rows []usage.RowEntry) error {
	return errEarly
}

// LastReport is the newest report on a contract. Code NotFound.
func (c *Client) LastReport(ctx context.Context, id usage.ContractID) (identity.Signed, error) {
	return identity.Signed{}, errEarly
}

// Report reads one report by its number. Code NotFound.
func (c *Client) Report(ctx context.Context, id usage.ContractID, number uint64) (identity.Signed, error) {
	return identity.Signed{}, errEarly
}

// Rows reads kept rows of a contract's log.
func (c *Client) Rows(ctx context.Context, id usage.ContractID, logEpoch uint32, from uint64, limit int) ([]usage.RowEntry, error) {
	return nil, errEarly
}

// AuditPapers are the client's own papers on a contract, as usage.Reconcile wants them.
type AuditPapers struct {
	Orders  []usage.HeldOrder
	Acks    []identity.Signed
	Deleted []identity.Signed
	Seen    map[identity.Digest]identity.UnixMilli
}

// AuditPapers collects what is held on a contract.
func (c *Client) AuditPapers(ctx context.Context, id usage.ContractID) (AuditPapers, error) {
	return AuditPapers{}, errEarly
}

// SaveChallenge notes that a relay proved at a time, by its own clock, to have a record.
func (c *Client) SaveChallenge(ctx context.Context, record identity.Digest, at identity.UnixMilli) error {
	return errEarly
}

// SaveEvidence keeps a paper. The same bytes again change nothing.
func (c *Client) SaveEvidence(ctx context.Context, e Evidence) error { return errEarly }

// Evidence lists all papers that are kept.
func (c *Client) Evidence(ctx context.Context) ([]Evidence, error) { return nil, errEarly }

// SaveContact adds or changes a contact's label.
func (c *Client) SaveContact(ctx context.Context, now identity.UnixMilli, key identity.PublicKey, label string) error {
	return errEarly
}

// SaveDocument keeps a contact's document if its sequence is the highest that was seen. Code
// IdentityRollback if a newer one is kept; UnknownContact if the owner is none.
func (c *Client) SaveDocument(ctx context.Context, now identity.UnixMilli, d *identity.VerifiedDocument, s identity.Signed) error {
	return errEarly
}

// Contact reads one contact. Code UnknownContact.
func (c *Client) Contact(ctx context.Context, key identity.PublicKey) (Contact, error) {
	return Contact{}, errEarly
}

// Contacts lists all contacts.
func (c *Client) Contacts(ctx context.Context) ([]Contact, error) { return nil, errEarly }

// DeleteContact forgets a contact; what was received from it stays.
func (c *Client) DeleteContact(ctx context.Context, key identity.PublicKey) error { return errEarly }

// SaveOwnDocument keeps the agent's own document; its sequence must rise.
func (c *Client) SaveOwnDocument(ctx context.Context, d *identity.VerifiedDocument, s identity.Signed) error {
	return errEarly
}

// OwnDocument is the agent's own document. Code NotFound.
func (c *Client) OwnDocument(ctx context.Context) (identity.Signed, error) {
	return identity.Signed{}, errEarly
}

// SaveOffers keeps the newest offer of each relay.
func (c *Client) SaveOffers(ctx context.Context, offers []SeenOffer) error { return errEarly }

// Offers lists the offers that were seen.
func (c *Client) Offers(ctx context.Context) ([]SeenOffer, error) { return nil, errEarly }

// SaveScore keeps what audits say of a relay; see broadcast.Score.
func (c *Client) SaveScore(ctx context.Context, relay identity.PublicKey, score uint32) error {
	return errEarly
}

// Scores lists all scores.
func (c *Client) Scores(ctx context.Context) (map[identity.PublicKey]uint32, error) {
	return nil, errEarly
}

// SetBudget changes limit and period; what was spent in the running period stays.
func (c *Client) SetBudget(ctx context.Context, now identity.UnixMilli, limit usage.Sat, period identity.UnixMilli) error {
	return errEarly
}

// Budget is the budget as it stands now.
func (c *Client) Budget(ctx context.Context, now identity.UnixMilli) (Budget, error) {
	return Budget{}, errEarly
}

// ApprovePayment books a payment before it is signed. p.Cumulative is the contract's sum after
// it; only what it adds counts, so that the same payment again is free. Unless asked is true
// (the user said yes to this one) it must fit the budget: code LimitExceeded.
func (c *Client) ApprovePayment(ctx context.Context, now identity.UnixMilli, p Payment, asked bool) (Payment, error) {
	return Payment{}, errEarly
}

// Payments lists the payments approved for a contract, oldest first.
func (c *Client) Payments(ctx context.Context, id usage.ContractID) ([]Payment, error) {
	return nil, errEarly
}

// SaveContracts commits one step of the runner. It gives the effects with their numbers.
// ContractRow.Account is of no use to a client and ignored.
func (c *Client) SaveContracts(ctx context.Context, b ContractBatch) ([]Pending, error) {
	return nil, errEarly
}

// Contract reads the runner's row. Code ContractUnknown.
func (c *Client) Contract(ctx context.Context, nonce [32]byte) ([]byte, error) { return nil, errEarly }

// Contracts lists all of the runner's rows.
func (c *Client) Contracts(ctx context.Context) ([]ContractRow, error) { return nil, errEarly }

// PendingEffects lists what is not yet marked done, oldest first.
func (c *Client) PendingEffects(ctx context.Context) ([]Pending, error) { return nil, errEarly }

// ChainCursor is the last saved cursor; nil at first.
func (c *Client) ChainCursor(ctx context.Context) ([]byte, error) { return nil, errEarly }

// SetValue keeps a named value; empty deletes it.
func (c *Client) SetValue(ctx context.Context, name string, value []byte) error { return errEarly }

// Value reads a named value; nil if there is none.
func (c *Client) Value(ctx context.Context, name string) ([]byte, error) { return nil, errEarly }

// CleanUp deletes what can be of no use any more: states of dead epochs, known digests of
// records whose life is over, old requests. maxTTL is the longest life in milliseconds that
// any of the user's relays grants.
func (c *Client) CleanUp(ctx context.Context, now, maxTTL identity.UnixMilli) (int, error) {
	return 0, errEarly
}
