package store

import (
	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// Op is a verified operation for Relay.Apply: a WriteOp, ReadOp, ChallengeOp, DeleteOp,
// AckOp, IdentityOp, GrantOp or RevokeOp.
type Op interface{ op() }

// Shard is a home shard as it travels: a hint beside statements that name only a digest. A
// wrong or missing hint costs a search, never a wrong answer.
type Shard = uint16

// NoShard is the absent hint.
const NoShard Shard = 0xffff

// WriteOp stores the records of one order, all or none.
type WriteOp struct {
	Order   usage.VerifiedStoreOrder
	Records []records.Record // in the order's order
	Tip     usage.Height     // of the relay's chain, by which grants begin and end
}

// ReadOp serves one read request: the row is committed before the first byte may leave.
type ReadOp struct {
	Request usage.VerifiedReadRequest
	Home    Shard
	Offset  uint32 // resume: content bytes that the receiver already has
	// Entitled tells that the signer has shown to be the record's receiver, whether the record is
	// here or not (usage.VerifiedReadRequest.CheckEntitled).
	Entitled bool
}

// DeleteOp deletes one record at its sender's order.
type DeleteOp struct {
	Delete usage.VerifiedDelete
	Home   Shard
}

// AckOp attaches a delivery acknowledgement to the row of the read; with OK it deletes a
// record that is marked delete_on_ack, unless its receiver declares several devices.
type AckOp struct {
	Ack  usage.VerifiedAcknowledgement
	Home Shard
}

// IdentityOp keeps an Identity document for whoever asks; the highest sequence wins.
type IdentityOp struct{ Document *identity.VerifiedDocument }

func (WriteOp) op()    {}
func (ReadOp) op()     {}
func (DeleteOp) op()   {}
func (AckOp) op()      {}
func (IdentityOp) op() {}

// Outcome is what became of one operation. It is durable when it is returned.
type Outcome struct {
	// Err is a coded error; nothing of the operation was stored then.
	Err error
	// Statement is the unsigned body of the answer, ready to be signed: the receipt
	// (WriteOp), the denial (ReadOp and ChallengeOp without Grant), the delete receipt (DeleteOp, and AckOp
	// if it deleted), the grant receipt (GrantOp, RevokeOp). The same operation gets the same body again.
	Statement []byte
	// Repeat tells that this very operation had been done before and was not charged again.
	Repeat bool
	// Arrived are the new inbox entries, for nudging the receivers' sessions.
	Arrived []Arrived
	// Grant says what may now be sent to the reader.
	Grant *Grant
}

// Arrived is a record that a receiver can now read.
type Arrived struct {
	Receiver identity.PublicKey
	Row      InboxRow
}

// Grant is the permission to serve one record once.
type Grant struct {
	Record identity.Digest
	Header identity.Signed
	Size   uint32 // content bytes in all; serve from the request's offset
	place  place
	// AsOf and AsOfMs are, of a challenge, the durable watermark before the lookup and its time.
	AsOf   usage.Arrival
	AsOfMs identity.UnixMilli
}

// InboxRow is one row of an inventory.
type InboxRow struct {
	Digest    identity.Digest
	From, To  identity.PublicKey
	ID        records.ID
	Arrival   usage.Arrival
	Size      uint32             // header and content, the egress of one read
	Expiry    identity.UnixMilli // end of custody
	Home      Shard
	Tag       []byte
	PullsLeft uint16
	Statement []byte // the record's statement
}

// Page is a part of an inventory. The reader's next cursor is Through, never an arrival of a
// row.
type Page struct {
	Rows    []InboxRow
	Through usage.Arrival
	More    bool
}
