package store

import (
	"relaymarket/identity"
	"relaymarket/usage"
)

// AccountState says what a contract's account may do.
type AccountState uint8

// The states of an account. Numbers are on disk and in accountInfo messages.
const (
	// AccountActive: everything that is funded.
	AccountActive AccountState = 1
	// AccountHeld: no new writes.
	AccountHeld AccountState = 2
	// AccountSuspended: a payment is missing. No new writes, and only the payer reads.
	AccountSuspended AccountState = 3
	// AccountClosed: the client has closed the contract, or its funding failed. No new writes, and
	// reads only while everything that was accepted is covered by what the close pays.
	AccountClosed AccountState = 4
	// AccountRetained: a payment is still missing. No new writes, and nobody reads.
	AccountRetained AccountState = 5
	// AccountPurged: a payment is still missing, and Purge may end the records.
	AccountPurged AccountState = 6

	lastAccountState = AccountPurged
)

// AccountTerms is what the committer must know of a contract to charge it: a copy of the
// signed terms and of how the contract stands. Prices never change in a contract's life.
type AccountTerms struct {
	Contract      usage.ContractID
	Payer         identity.PublicKey
	Terms         identity.Digest // of the signed terms
	Prices        usage.Prices
	ContractPrice usage.Sat // flat price, the first part of what is paid
	Value         usage.Sat // of the escrow: never more than this can be paid
	Credit        usage.Sat // served beyond what is paid
	Paid          usage.Sat // P_n, the sum of the last payment update
	ServiceUntil  identity.UnixMilli
	Expiry        usage.Height
	State         AccountState
	// Final is what a close by the client pays in all, and Closing the client's statement; zero
	// where there is none. While a payment is missing, Closing is the relay's notice.
	Final   usage.Sat
	Closing identity.Digest
}

// Account is an account with its running totals.
type Account struct {
	AccountTerms
	LogEpoch uint32
	Rows     uint64 // size of the log
	Live     uint64 // billable bytes kept
	Owed     usage.Msat
	Reserved usage.Msat // held back for what live records can still cost
	Funds    usage.Msat // what may be used in all: owed + reserved never pass it by a write
}

// ContractRow is the runner's row of one contract: bytes that only the runner understands.
type ContractRow struct {
	Nonce [32]byte // names the row from the first message on
	Row   []byte   // nil removes it (relay only)
	// Account, if not nil, opens or updates the contract's account in the same batch.
	Account *AccountTerms
}

// Pending is something that must be done after the batch that ordered it was synced, and again
// after a crash until it is marked done: an effect of the runner, or a message to somebody.
type Pending struct {
	Seq   uint64             // given by the store, ascending
	Nonce [32]byte           // the contract
	To    identity.PublicKey // receiver of a message; zero for an effect
	Data  []byte
}

// ContractBatch is one step of the runner: rows, their effects, effects that are done, and the
// chain cursor, committed together or not at all.
type ContractBatch struct {
	Rows    []ContractRow
	Effects []Pending // Seq is ignored and assigned
	Done    []uint64  // Seq of effects that are done
	Cursor  []byte    // the chain cursor; nil leaves it
}

// Tip is the chain position that a report names.
type Tip struct {
	Height usage.Height
	Hash   [32]byte
}
