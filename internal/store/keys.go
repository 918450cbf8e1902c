package store

import (
	"crypto/sha256"
	"encoding/binary"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// All key bytes of a relay's store. The engine puts the shard before each. Integers are
// big-endian, so that byte order is their order.
//
//	0 'v'                            version and group id of the shard (the engine's own)
//	0 'm' name                       single values; in shard 0
//	'a' num                          account of a contract
//	'l' num index                    row of its log
//	'h' num hash index               stored hash of its tree
//	'k' num index                    acknowledgement attached to a row
//	'u' num number                   usage report
//	'g' digest                       grant and its revocation; in the shard of its contract
//	'n' num digest                   lane of a grant that was used
//	'w' num num index                which rows of the log are the lane's
//	'e' end num receipt              what must be closed when (due)
//	'd' digest                       record digest → place
//	'p' num num id                   path → claim; in the sender's shard
//	'i' num arrival                  inbox: receiver
//	'o' num arrival                  outbox: sender
//	'I' key                          Identity document; in its owner's shard
//	'x' bucket kind …                everything that is dropped with its expiry bucket
//	'C' nonce, 'E' seq, 'B' key      contract rows, pending effects, board; in shard 0
//
// A num is the 8-byte number of an identity, a contract or a grant in this store.
const (
	kindMeta     = 0
	kindAccount  = 'a'
	kindRow      = 'l'
	kindHash     = 'h'
	kindAck      = 'k'
	kindReport   = 'u'
	kindGrant    = 'g'
	kindLane     = 'n'
	kindLaneRow  = 'w'
	kindDue      = 'e'
	kindDigest   = 'd'
	kindPath     = 'p'
	kindInbox    = 'i'
	kindOutbox   = 'o'
	kindIdentity = 'I'
	kindBucket   = 'x'
	kindContract = 'C'
	kindPending  = 'E'
	kindBoard    = 'B'
)

// What lies in an expiry bucket.
const (
	inRecord  = 'r' // arrival: header and state, later the tombstone
	inContent = 'c' // arrival, piece: content bytes
	inPulls   = 'n' // arrival: number of pulls used
	inPull    = 'q' // arrival, request digest: the row of one pull
	inOrder   = 'o' // order digest: its receipt
	inRequest = 's' // request digest: what it was answered
	inFree    = 'f' // payer: free allowance used on one day
	inAsked   = 'v' // challenger: challenges of one day
	inDay     = 'g' // grant: max_msat of its orders of one day
	inRef     = 'y' // key outside of the bucket that goes with it
)

// metaShard holds what belongs to no account.
const metaShard uint8 = 0

// num is the short number that stands for an identity or a contract in keys. It is a secret
// hash, so that it needs no table and nobody can look for collisions: a table would grow by
// every key that a stranger writes to and could never shrink. Rows repeat the full key and
// are compared with it.
type num uint64

// numbers makes nums; its secret is drawn when the store is created.
type numbers [16]byte

func (n numbers) of(key [32]byte) num {
	var b [48]byte
	copy(b[:], n[:])
	copy(b[16:], key[:])
	h := sha256.Sum256(b[:])
	return num(binary.BigEndian.Uint64(h[:8]))
}

// shardOf is the shard of an identity: the first byte of its key, which is as good as random.
func shardOf(k identity.PublicKey) uint8 { return k[0] }

// hourMs is the width of an expiry bucket in milliseconds.
const hourMs = 3_600_000

// purgeDelay is how long, in milliseconds, something expired is kept before it is removed, so
// that a reader meets EXPIRED and not NONE around the end.
const purgeDelay = 60_000

// bucketAt is the bucket of what ends at a time: the first hour that begins at least
// purgeDelay after it.
func bucketAt(end identity.UnixMilli) Bucket {
	const last = 1<<32 - 1
	if end > last*hourMs-purgeDelay-hourMs {
		return last
	}
	return Bucket((uint64(end) + purgeDelay + hourMs - 1) / hourMs)
}

// droppable tells whether a bucket may go.
func (b Bucket) droppable(now identity.UnixMilli) bool { return uint64(b)*hourMs <= uint64(now) }

func key8(kind byte, a uint64) []byte { return binary.BigEndian.AppendUint64([]byte{kind}, a) }

func key16(kind byte, a, b uint64) []byte {
	k := make([]byte, 1, 17)
	k[0] = kind
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(k, a), b)
}

func key32(kind byte, d [32]byte) []byte { return append([]byte{kind}, d[:]...) }

func metaKey(name string) []byte { return append([]byte{kindMeta, 'm'}, name...) }

func accountKey(n num) []byte              { return key8(kindAccount, uint64(n)) }
func rowKey(n num, index uint64) []byte    { return key16(kindRow, uint64(n), index) }
func hashKey(n num, index uint64) []byte   { return key16(kindHash, uint64(n), index) }
func ackKey(n num, index uint64) []byte    { return key16(kindAck, uint64(n), index) }
func reportKey(n num, no uint64) []byte    { return key16(kindReport, uint64(n), no) }
func digestKey(d identity.Digest) []byte   { return key32(kindDigest, d) }
func docKey(k identity.PublicKey) []byte   { return key32(kindIdentity, k) }
func contractKey(nonce [32]byte) []byte    { return key32(kindContract, nonce) }
func boardKey(k identity.PublicKey) []byte { return key32(kindBoard, k) }
func pendingKey(seq uint64) []byte         { return key8(kindPending, seq) }

func grantKey(d identity.Digest) []byte { return key32(kindGrant, d) }

func laneKey(n num, grant identity.Digest) []byte {
	return append(key8(kindLane, uint64(n)), grant[:]...)
}

func laneRowKey(n, grant num, index uint64) []byte {
	return binary.BigEndian.AppendUint64(key16(kindLaneRow, uint64(n), uint64(grant)), index)
}

func inboxKey(n num, a usage.Arrival) []byte  { return key16(kindInbox, uint64(n), uint64(a)) }
func outboxKey(n num, a usage.Arrival) []byte { return key16(kindOutbox, uint64(n), uint64(a)) }

// listArrival reads the arrival out of an inbox or outbox key.
func listArrival(k []byte) (usage.Arrival, error) {
	if len(k) != 17 {
		return 0, corrupt("a list key of %d bytes", len(k))
	}
	return usage.Arrival(binary.BigEndian.Uint64(k[9:])), nil
}

func pathKey(sender, receiver num, id records.ID) []byte {
	return append(key16(kindPath, uint64(sender), uint64(receiver)), id...)
}

// dueKey is where the records of one receipt with one end of custody wait for it.
func dueKey(end identity.UnixMilli, n num, receipt identity.Digest) []byte {
	return append(key16(kindDue, uint64(end), uint64(n)), receipt[:]...)
}

func decodeDueKey(k []byte) (end identity.UnixMilli, n num, receipt identity.Digest, err error) {
	if len(k) != 49 || k[0] != kindDue {
		return 0, 0, receipt, corrupt("a due key of %d bytes", len(k))
	}
	return identity.UnixMilli(binary.BigEndian.Uint64(k[1:])), num(binary.BigEndian.Uint64(k[9:])), identity.Digest(k[17:]), nil
}

// inBucket begins a key that is dropped with a bucket.
func inBucket(b Bucket, kind byte, rest int) []byte {
	k := make([]byte, 1, 6+rest)
	k[0] = kindBucket
	return append(binary.BigEndian.AppendUint32(k, uint32(b)), kind)
}

func bucketed8(b Bucket, kind byte, a usage.Arrival) []byte {
	return binary.BigEndian.AppendUint64(inBucket(b, kind, 42), uint64(a))
}

func bucketed32(b Bucket, kind byte, d [32]byte) []byte {
	return append(inBucket(b, kind, 32), d[:]...)
}

func recordKey(p place) []byte { return bucketed8(p.bucket, inRecord, p.arrival) }
func pullsKey(p place) []byte  { return bucketed8(p.bucket, inPulls, p.arrival) }

func pullKey(p place, request identity.Digest) []byte {
	return append(bucketed8(p.bucket, inPull, p.arrival), request[:]...)
}

func contentKey(p place, piece uint16) []byte {
	return binary.BigEndian.AppendUint16(bucketed8(p.bucket, inContent, p.arrival), piece)
}

func orderKey(b Bucket, order identity.Digest) []byte     { return bucketed32(b, inOrder, order) }
func requestKey(b Bucket, request identity.Digest) []byte { return bucketed32(b, inRequest, request) }
func freeKey(b Bucket, payer identity.PublicKey) []byte   { return bucketed32(b, inFree, payer) }

func challengesKey(b Bucket, by identity.PublicKey) []byte { return bucketed32(b, inAsked, by) }

func dayKey(b Bucket, grant identity.Digest) []byte { return bucketed32(b, inDay, grant) }

// refKey makes a key outside of the bucket go with it.
func refKey(b Bucket, target []byte) []byte {
	return append(inBucket(b, inRef, len(target)), target...)
}

// bucketOf reads the bucket out of a bucketed key.
func bucketOf(k []byte) (Bucket, error) {
	if len(k) < 6 || k[0] != kindBucket {
		return 0, corrupt("a bucket key of %d bytes", len(k))
	}
	return Bucket(binary.BigEndian.Uint32(k[1:])), nil
}

// bucketRange is everything in a bucket.
func bucketRange(b Bucket) (from, to []byte) {
	from = binary.BigEndian.AppendUint32([]byte{kindBucket}, uint32(b))
	if b == 1<<32-1 {
		return from, []byte{kindBucket + 1}
	}
	return from, binary.BigEndian.AppendUint32([]byte{kindBucket}, uint32(b)+1)
}

// after is the first key that does not begin with a prefix.
func after(prefix []byte) []byte {
	k := append([]byte(nil), prefix...)
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]++; k[i] != 0 {
			return k[:i+1]
		}
	}
	return nil
}

func corrupt(format string, args ...any) error { return code.New(code.StoreCorrupt, format, args...) }
