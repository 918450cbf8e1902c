package store

import (
	"io"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// ClientOptions opens the store of one identity's agent.
type ClientOptions struct {
	Dir     string
	FS      FS   // nil: the disk
	Size    Size // zero: Small
	Network identity.Network
	Owner   identity.PublicKey // the agent's identity
	Rand    io.Reader          // group ids; nil: crypto/rand
	Fatal   func(error)        // as for Options
}

// Kind says what a record is for. Only messages are shown to the user.
type Kind uint8

// The kinds of records. Numbers are on disk.
const (
	KindMessage          Kind = 1 // something that was said
	KindPiece            Kind = 2 // a chunk of an attachment
	KindAcknowledgements Kind = 3 // records.MediaAcknowledgements
	KindIdentity         Kind = 4 // records.MediaIdentity
	KindRecovery         Kind = 5 // records.SuiteRecovery, to oneself
)

// OrderState is how far an order and its records have come.
type OrderState uint8

// The states of an order. Numbers are on disk.
const (
	OrderQueued    OrderState = 1 // on this disk only
	OrderSent      OrderState = 2 // given to the relay, whose answer has not come; sent again after a restart
	OrderReceipted OrderState = 3 // the relay's receipt is on disk
	OrderAbandoned OrderState = 4 // given up; its records are not sent any more
)

// Outgoing is an order with its records, ready to be sent to one relay.
type Outgoing struct {
	Order   usage.VerifiedStoreOrder
	Records []OutgoingRecord // in the order's order
	// Epochs are the states after sealing, one for each epoch that the records use.
	Epochs []records.SendEpoch
	// Flushed are pending acknowledgements that travel in these records; they are pending no
	// more.
	Flushed []PendingID
	// Replaces, if not zero, is an order for the same records that is given up in the same
	// step, because it expired or another contract pays now.
	Replaces identity.Digest
}

// OutgoingRecord is one record of an Outgoing.
type OutgoingRecord struct {
	Record records.Record
	Kind   Kind
	// Sequence and Previous are the record's place in its conversation, as in its content.
	Sequence uint64
	Previous identity.Digest
	// Plain is what is kept for the user, usually the encoded content; empty: nothing.
	Plain   []byte
	Summary *Summary // of Plain, for lists; nil: none
}

// QueuedOrder is an order that waits for its receipt.
type QueuedOrder struct {
	Seq      uint64 // ascending in the order of queueing
	Order    identity.Digest
	Relay    identity.PublicKey
	Contract usage.ContractID
	State    OrderState
	Records  int
	Created  identity.UnixMilli
	NotAfter identity.UnixMilli // the relay does not accept the order later
	Tries    uint32
	LastTry  identity.UnixMilli
	Error    code.Code // of the last try
	Text     string    // of the last try
}

// QueuedWrite is everything that travels for an order.
type QueuedWrite struct {
	Order    identity.Signed
	Headers  []identity.Signed
	Contents [][]byte
}

// Sent is a record of one's own, from the moment it was queued.
type Sent struct {
	Seq      uint64 // ascending in the order of queueing
	Digest   identity.Digest
	Signed   identity.Signed
	Header   records.Header
	Kind     Kind
	Sequence uint64             // place in the conversation; 0: outside
	Saved    identity.UnixMilli // when it was queued
	Orders   []identity.Digest  // orders for it; several if it is mirrored or was ordered again
	Stored   identity.UnixMilli // first receipt, by the relay's clock; 0: none yet
	Acked    identity.UnixMilli // first acknowledgement over the receiver's own relays, by his clock
	Verdict  usage.Verdict      // of the acknowledgements; OK wins; 0: none yet
	Deleted  identity.UnixMilli // delete receipt, by the relay's clock; 0: none
	HasPlain bool
}

// Incoming is a record that was read from a relay, with everything that follows from it.
type Incoming struct {
	Record  records.Verified
	Kind    Kind
	Relay   identity.PublicKey // that served it
	Arrival usage.Arrival
	Home    Shard
	Verdict usage.Verdict
	Opened  bool // decrypted and understood
	// Sequence and Previous are its place in the conversation, as in its content.
	Sequence uint64
	Previous identity.Digest
	Plain    []byte             // encoded content, or the bytes of a piece; empty if not opened
	Summary  *Summary           // of Plain, for lists; nil: none
	Sealed   []byte             // the content as it was stored, if the user wants to keep that as well
	Epoch    *records.RecvEpoch // state after opening; nil if nothing was opened with one

	DeliveryAck identity.Signed // to the relay: kept until it was taken
	SenderAck   identity.Signed // to the sender: kept until it travels in a record; zero: none
	// Acks are the acknowledgements that the record carries.
	Acks []usage.VerifiedAcknowledgement
	// Cursor, if not nil, is moved in the same step.
	Cursor *CursorMove
}

// Received is a record that was read.
type Received struct {
	Seq       uint64 // ascending in the order of saving
	Digest    identity.Digest
	Signed    identity.Signed
	Header    records.Header
	Kind      Kind
	Relay     identity.PublicKey
	Arrival   usage.Arrival
	Home      Shard
	Verdict   usage.Verdict
	Opened    bool
	Sequence  uint64
	Place     records.Place      // in the conversation, when it came
	Saved     identity.UnixMilli // when it came
	Read      bool               // shown to the user
	HasPlain  bool
	HasSealed bool
}

// Cursor is how far a list of a relay was read. A relay whose StoreEpoch is another one was
// restored: list again from 0 and deduplicate by digest.
type Cursor struct {
	Through    usage.Arrival
	StoreEpoch [16]byte
}

// CursorMove moves the cursor of a list: the records at Relay from Peer, or, with the zero
// Peer, from everybody.
type CursorMove struct {
	Relay, Peer identity.PublicKey
	Cursor
}

// Request is a signed read request that was, or may have been, shown to a relay. Show the same
// one again instead of paying twice.
type Request struct {
	Signed identity.Signed
	Relay  identity.PublicKey
	Home   Shard
}

// PendingID names a pending statement.
type PendingID uint64

// PendingStatement is a statement that must still reach somebody.
type PendingStatement struct {
	ID     PendingID
	Signed identity.Signed
	Record identity.Digest // that it is about
	Home   Shard           // hint for the relay
	Saved  identity.UnixMilli
}

// PendingAcks sums up the acknowledgements that wait to travel to one sender.
type PendingAcks struct {
	Sender identity.PublicKey
	Count  int
	Oldest identity.UnixMilli // when the first was saved
}

// Contact is somebody whose relays are listened to.
type Contact struct {
	Key      identity.PublicKey
	Label    string             // given by the user; empty: the document's
	Document identity.Signed    // the one with the highest sequence that was seen; may be zero
	Sequence uint64             // of Document
	Digest   identity.Digest    // of Document
	Checked  identity.UnixMilli // when the document was last confirmed to be the newest
	Added    identity.UnixMilli
	// Conflict: another document with the same sequence was seen; warn the user.
	Conflict bool
}

// Payment is a payment that was approved: the contract's cumulative sum after it.
type Payment struct {
	Contract   usage.ContractID
	Cumulative usage.Sat
	Added      usage.Sat
	Time       identity.UnixMilli
	Report     identity.Digest // that it was made for; zero: prepaid
}

// Budget is what the agent may pay without asking, in one period.
type Budget struct {
	Limit  usage.Sat          // per period; 0: nothing without asking
	Period identity.UnixMilli // length in milliseconds; 0: the budget is never renewed
	Start  identity.UnixMilli // of the running period
	Spent  usage.Sat          // in the running period
}

// SeenOffer is a relay's newest offer and what the user's own audits say of the relay.
type SeenOffer struct {
	Relay identity.PublicKey
	Offer identity.Signed
	Seen  identity.UnixMilli
}

// Evidence is a paper that is kept for a dispute: a denial, a fraud proof, a dissent.
type Evidence struct {
	Digest   identity.Digest // of Bytes; Tagged("evidence", Bytes)
	Relay    identity.PublicKey
	Contract usage.ContractID
	Saved    identity.UnixMilli
	Name     string // what it is, for the user
	Bytes    []byte // at most MaxEvidence
}

// MaxEvidence is the largest paper that is kept, in bytes: a row of the store.
const MaxEvidence = 60 << 10
