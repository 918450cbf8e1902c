package contract

import (
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/usage"
)

// Effect is something to do after contract and effects are stored. Each may be performed again
// without harm; Resume gives those that the contract's state calls for after a restart.
type Effect interface{ effect() }

// Send asks for a statement to be signed with the identity key and sent to the other side. The
// caller signs before it stores, so that what is stored is what is sent; a statement that was
// sent before comes again with the same bytes.
type Send struct{ Statement []byte }

// SignFunding asks the wallet for the witnesses of this side's inputs. SignedFunding brings them;
// with Cancel, where Tx pays the coins back to this side, SignedCancel does, with the same FeeRate.
type SignFunding struct {
	Cancel   bool
	FeeRate  uint64 // with Cancel: what Tx was built for, sat per 1,000 vB
	Tx       *wire.MsgTx
	Prevouts map[wire.OutPoint]*wire.TxOut
	Own      []wire.OutPoint
}

// SignBump asks the relay's wallet to sign a child of the settlement, which spends the relay's own
// output of it back to the same script at a high fee, so that both are mined (CPFP), and to
// broadcast it after the settlement. Where the output is not the wallet's, nothing can be done.
type SignBump struct {
	Parent  *wire.MsgTx
	Tx      *wire.MsgTx
	Prevout *wire.TxOut
}

// Broadcast asks for a transaction to be given to the network. That it is known already is success;
// tell success with TxSeen. A failure needs nothing: it comes again with the next block.
type Broadcast struct {
	Tx  *wire.MsgTx
	Why Purpose
}

// Purpose is what a broadcast transaction is for.
type Purpose uint8

// The purposes.
const (
	ForFunding    Purpose = 1
	ForSettlement Purpose = 2
	ForClose      Purpose = 3
	ForRefund     Purpose = 4
	ForSweep      Purpose = 5
	ForCancel     Purpose = 6
	ForReclaim    Purpose = 7
)

// String is the purpose in one word.
func (p Purpose) String() string {
	return [...]string{"nothing", "funding", "settlement", "close", "refund", "sweep", "cancel", "reclaim"}[min(p, ForReclaim)]
}

// Watch asks for the chain to be watched from a height on, without end: for the confirmation of a
// transaction (TxID set), or for the spend of an output (OutPoint set). Script is that of the
// output concerned.
type Watch struct {
	TxID     chainhash.Hash
	OutPoint wire.OutPoint
	Script   []byte
	From     usage.Height
}

// Release frees coins that were reserved for the contract.
type Release struct{ Coins []wire.OutPoint }

// Expose asks for the account of the contract to be changed. It begins when the client's signatures
// have left, or arrived.
type Expose struct{ Funds Funds }

// Forget tells that the record may be deleted.
type Forget struct{}

func (Send) effect()        {}
func (SignFunding) effect() {}
func (SignBump) effect()    {}
func (Broadcast) effect()   {}
func (Watch) effect()       {}
func (Release) effect()     {}
func (Expose) effect()      {}
func (Forget) effect()      {}

// Funds is what an account row shows of a contract.
type Funds struct {
	Contract      usage.ContractID
	Terms         identity.Digest
	State         State
	Service       bool // use may be served and charged
	Prices        usage.Prices
	Value         usage.Sat // V
	ContractPrice usage.Sat
	Paid          usage.Sat    // P_n
	CreditLimit   usage.Sat    // present one: Terms.Credit
	ServiceUntil  usage.Height // no service from here on
	Expiry        usage.Height // E
	// Closed tells that the client has asked for a close and got it. Final is what that pays in all,
	// and Order the client's statement. A close that the relay offered is not told of: whoever ends
	// a contract by its own will goes on owing what it has promised.
	Closed bool
	Final  usage.Sat
	Order  identity.Digest
	Step   Step            // what a missing payment has led to, whatever else the contract has come to since
	Notice identity.Digest // the relay's notice of it
}

// Funds is the present state of the contract's account; zero until the terms are complete.
func (c Contract) Funds() Funds {
	if !c.complete() {
		return Funds{}
	}
	f := c.standingFunds()
	f.Contract, f.Terms = c.ID(), c.terms.Digest()
	return f
}

// standingFunds is Funds without the digests, which nothing changes once the terms are complete.
func (c Contract) standingFunds() Funds {
	t := c.terms
	f := Funds{
		State: c.State(), Service: c.Service(), Prices: t.Prices,
		Value: t.Value, ContractPrice: t.ContractPrice, Paid: c.paid, CreditLimit: t.Credit(c.paid),
		ServiceUntil: t.ServiceUntil(), Expiry: t.Expiry, Step: c.Arrears().Step, Notice: c.Arrears().Notice,
	}
	if c.role == Relay {
		f.Final, f.Order, f.Closed = c.ended()
	}
	return f
}
