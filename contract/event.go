package contract

import (
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Event is something that happens to a contract. The types below are all there are.
type Event interface {
	apply(c *Contract) ([]Effect, error)
}

// Stamp is what a statement needs and a pure function does not have: the time by this side's clock
// and a random serial. Every event that can make a statement carries one; it is used once at most.
type Stamp struct {
	Time   identity.UnixMilli
	Serial identity.Serial
}

// Propose (client) starts a contract: StateNew → StateOpening, sends contractOpen.
type Propose struct {
	Offer       OfferTerms         // of the verified offer
	Client      identity.PublicKey // own identity
	Nonce       Nonce              // fresh and random
	Key         Key                // C, derived from the nonce
	Value       usage.Sat          // V
	Prepaid     usage.Sat          // paid at once, on top of the contract price
	Collateral  usage.Sat          // K, what the relay is to lock until E; 0: nothing
	Duration    usage.Height       // E = Tip + Duration
	FundFeeRate uint64             // sat per 1,000 vB
	Coins       []Coin             // reserved by the wallet, confirmed
	Change      Change             // zero Value: none
	Payout      []byte             // where the client is paid at the end
	Tip         usage.Height
	Stamp       Stamp
}

// Accept (relay) answers a proposal that its policy wants: StateNew → StateOffered, sends
// contractServerAddInputs; with a collateral, once the wallet has signed (SignFunding, SignedFunding). The same proposal
// again is answered as before.
type Accept struct {
	Message Verified   // the contractOpen
	Offer   OfferTerms // of the own offer that the proposal names
	Coins   []CoinView // what the own node says about each input, in the order of Open.Funding
	Backing Share      // the own coins for the collateral, reserved by the wallet, confirmed; none with K = 0
	Key     Key        // R, derived from the nonce
	KeyUsed bool       // the client's key was seen in another contract
	Earned  usage.Sat  // what the client has paid for use before: credit that it need not earn again
	Payout  []byte     // where the relay is paid
	Tip     usage.Height
	Stamp   Stamp
}

// SignedFunding brings the wallet's witnesses. Client: StateVerified → StateSigned, sends
// contractClientSigned; from here on the contract is never forgotten. Relay with a collateral: sends
// contractServerAddInputs; from here on the contract is never forgotten before its coins are spent, one way or another.
type SignedFunding struct {
	Witnesses map[wire.OutPoint]wire.TxWitness
	Key       *btcec.PrivateKey // of C; not looked at on the relay's side
	Stamp     Stamp
}

// PublishFunding (client) publishes the funding transaction although the relay is silent; the
// refund at E is then the way out. CancelFunding is the other way.
type PublishFunding struct{}

// CancelFunding (client) takes the coins back while the funding is not confirmed, by a transaction
// that spends them at a higher fee rate; SignedCancel follows. The contract is StateCancelling until
// a block decides: StateFailed if the coins came back, StateFunding if the escrow was faster.
type CancelFunding struct {
	FeeRate uint64 // sat per 1,000 vB; raised to what replaces the funding transaction
}

// SignedCancel brings the wallet's witnesses for CancelFunding, with the same fee rate; on the relay's side for the double
// spend of its own coins, which it asks for by itself when the funding of a contract with a collateral does not come.
type SignedCancel struct {
	FeeRate   uint64
	Witnesses map[wire.OutPoint]wire.TxWitness
}

// Pay (client) pays: sends contractPaymentUpdate. Amount is cumulative. A rest below 330 sat goes
// with it, because it could never come back.
type Pay struct {
	Amount usage.Sat
	Report identity.Digest // the report that is paid; zero for a payment in advance
	Key    *btcec.PrivateKey
	Stamp  Stamp
}

// AskPayment (relay) asks for a cumulative payment: sends contractRequestPayment.
type AskPayment struct {
	Amount usage.Sat
	Report identity.Digest
	Small  bool // too small for a notice to follow
	Stamp  Stamp
}

// OfferClose (relay) gives a closing signature: sends contractRequestPayment with final = 1. No
// service and no update after it.
type OfferClose struct {
	Amount  usage.Sat // what the close pays the relay in all, at least P_n
	FeeRate uint64    // sat per 1,000 vB, out of the relay's payment
	Report  identity.Digest
	Key     *btcec.PrivateKey // of R
	Stamp   Stamp
}

// AcceptClose (client) co-signs the relay's standing offer to close, if it pays the relay no more
// than Max, and broadcasts it.
type AcceptClose struct {
	Max usage.Sat
	Key *btcec.PrivateKey // of C
}

// Close (client) gives a closing signature: sends contractRefundPayment. No payment after it,
// except a higher one by closing again.
type Close struct {
	Amount  usage.Sat // what the close pays the relay in all, at least P_n
	FeeRate uint64    // sat per 1,000 vB; above the agreed one only as far as Amount makes up for it
	Key     *btcec.PrivateKey
	Stamp   Stamp
}

// Settle (relay) takes P_n without the client, now: broadcasts the latest settlement, at rising fee
// rates until it is confirmed.
type Settle struct {
	Key     *btcec.PrivateKey // of R
	FeeRate uint64            // the node's estimate, sat per 1,000 vB; 0: the lowest tier will do
}

// Refund (client) broadcasts the refund at a fee rate of its own choice; possible from tip E on.
// It happens by itself with every block too.
type Refund struct {
	FeeRate uint64
	Key     *btcec.PrivateKey // of C
}

// GiveUp (either side) ends an opening in which nothing was signed: sends contractAbort.
type GiveUp struct {
	Code  code.Code
	Text  string // printable ASCII
	Stamp Stamp
}

// Received is a verified message from the other side; contractOpen comes with Accept instead. A
// message that came before is answered as before.
type Received struct {
	Message Verified
	// KeyUsed (client, contractServerAddInputs): the relay's key was seen in another contract.
	KeyUsed bool
	// Coins (client, contractServerAddInputs): what the own node says about each input of the relay, in the order of
	// Contract.Backing.
	Coins []CoinView
	// OwnReport (relay, contractPaymentUpdate): the report that the update names is one that this
	// relay signed for this contract. Not looked at when it names none.
	OwnReport bool
	// Due (relay, contractRefundPayment and contractCloseNonce): the least cumulative payment for
	// which the relay closes.
	Due usage.Sat
	// Head (contractReestablish): the log as this side knows it.
	Head Head
	// Max (client, contractCloseNonce): the most that a close may pay the relay.
	Max usage.Sat
	// Both (who asked, contractCloseSig): the signature that the own signing session makes of the
	// answer; zero if there is no such session, as after a restart.
	Both Signature
	// Key is R, needed by the relay with contractRefundPayment.
	Key   *btcec.PrivateKey
	Stamp Stamp
}

// BlockConnected tells that a block is in the chain. Blocks without interest may be left out if a
// higher one follows; a lower one may come later, when a rescan finds it.
type BlockConnected struct {
	Height usage.Height
	Hash   chainhash.Hash // of the block
	// Txs are the transactions of the block that concern Watches; others do no harm.
	Txs []*wire.MsgTx
	// Key is the own contract key; needed once anything is signed.
	Key *btcec.PrivateKey
	// FeeRate for a settlement, a refund or a sweep that is due, sat per 1,000 vB; clamped to the bounds.
	FeeRate uint64
	Stamp   Stamp
}

// BlockDisconnected tells that the block at this height, and all above it, are no longer in the
// chain.
type BlockDisconnected struct {
	Height usage.Height
}

// TxSeen tells that a transaction is in the own node's mempool: reported by the node, or just
// broadcast with success.
type TxSeen struct {
	Tx    *wire.MsgTx
	Stamp Stamp
}
