package store

import (
	"encoding/binary"

	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// All key bytes of an agent's store, beside those that it shares with a relay's ('C' contract
// rows, 'E' pending effects, 0 'm' single values). Everything lies in shard 0: one person's
// state is small, and its steps touch many of these at once.
//
//	's' record            own record (Sent)              'S' seq       → record
//	'o' order             order of one's own             'q' seq       → order, while it waits
//	'a' contract seq      → order, for audits
//	'r' record            received record (Received)     'R' seq       → record
//	'd' record            known: end of its life, so that it is read once only
//	'p' record piece      what is kept for the user
//	'P' record            what lists show of that
//	'c' record piece      content as it is stored at a relay
//	'Q' relay record      read request that may have been charged
//	'u' relay peer        cursor of a list
//	'n' kind party id     pending statement              'N' id        → kind party
//	'k' key id            sealing key
//	'e' receiver          send epoch                     'f' sender epoch   receive epoch
//	't' receiver          conversation as sent           'T' sender         as received
//	'z' record ack        acknowledgement received
//	'x' record            delete receipt
//	'h' record            last good challenge
//	'g' contract number   usage report                   'G' contract  number of the last one
//	'w' contract epoch index   row of a relay's log
//	'b' key               contact
//	'i' relay             newest offer                   'j' relay     score
//	'y' contract seq      payment                        'Y' contract  cumulative sum approved
//	'v' digest            evidence
//	'V' name              named value
//	'l' grant             grant given or received
const (
	clientSent      = 's'
	clientSentList  = 'S'
	clientOrder     = 'o'
	clientQueue     = 'q'
	clientContract  = 'a'
	clientReceived  = 'r'
	clientInbox     = 'R'
	clientKnown     = 'd'
	clientPlain     = 'p'
	clientSummary   = 'P'
	clientSealed    = 'c'
	clientRequest   = 'Q'
	clientCursor    = 'u'
	clientPending   = 'n'
	clientPendingID = 'N'
	clientSealing   = 'k'
	clientSendEpoch = 'e'
	clientRecvEpoch = 'f'
	clientSendTalk  = 't'
	clientRecvTalk  = 'T'
	clientAck       = 'z'
	clientDeleted   = 'x'
	clientChallenge = 'h'
	clientReport    = 'g'
	clientLastNo    = 'G'
	clientRow       = 'w'
	clientContact   = 'b'
	clientOffer     = 'i'
	clientScore     = 'j'
	clientPayment   = 'y'
	clientApproved  = 'Y'
	clientEvidence  = 'v'
	clientValue     = 'V'
	clientGrant     = 'l'
)

// The parties of pending statements.
const (
	pendingDelivery = 'd' // delivery acknowledgement, to a relay
	pendingSender   = 's' // acknowledgement, to a sender
	pendingDelete   = 'x' // delete, to a relay
)

// Single values.
var (
	clientKey      = metaKey("client")
	clientSeqKey   = metaKey("seq")
	chainKey       = metaKey("chain cursor")
	budgetKey      = metaKey("budget")
	ownDocumentKey = metaKey("identity")
)

// key64 is a kind with two 32-byte names.
func key64(kind byte, a, b [32]byte) []byte {
	return append(append(append(make([]byte, 0, 65), kind), a[:]...), b[:]...)
}

// key32n is a kind with a 32-byte name and a number.
func key32n(kind byte, a [32]byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(key32(kind, a), n)
}

func pieceKey(kind byte, record identity.Digest, piece uint16) []byte {
	return binary.BigEndian.AppendUint16(key32(kind, record), piece)
}

func recvEpochKey(from identity.PublicKey, id records.EpochID) []byte {
	return append(key32(clientRecvEpoch, from), id[:]...)
}

func sealingKeyKey(id records.KeyID) []byte { return append([]byte{clientSealing}, id[:]...) }

func logRowKey(id usage.ContractID, epoch uint32, index uint64) []byte {
	k := binary.BigEndian.AppendUint32(key32(clientRow, id), epoch)
	return binary.BigEndian.AppendUint64(k, index)
}

// partyKey begins the keys of statements pending for one party.
func partyKey(kind byte, party identity.PublicKey) []byte {
	return append([]byte{clientPending, kind}, party[:]...)
}

func pendingStatementKey(kind byte, party identity.PublicKey, id PendingID) []byte {
	return binary.BigEndian.AppendUint64(partyKey(kind, party), uint64(id))
}

func valueKey(name string) []byte { return append([]byte{clientValue}, name...) }

// keyNumber reads the number at the end of a key.
func keyNumber(k []byte) (uint64, error) {
	if len(k) < 8 {
		return 0, corrupt("a key of %d bytes", len(k))
	}
	return binary.BigEndian.Uint64(k[len(k)-8:]), nil
}

// keyName reads the 32-byte name behind a key's first n bytes.
func keyName(k []byte, n int) ([32]byte, error) {
	if len(k) < n+32 {
		return [32]byte{}, corrupt("a key of %d bytes", len(k))
	}
	return [32]byte(k[n : n+32]), nil
}
