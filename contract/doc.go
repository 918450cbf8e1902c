// Package contract is the money between a client and a relay: a 2-of-2 Bitcoin escrow from which
// the relay is paid for what it did, and from which either side gets out alone.
//
// # The shape
//
// The client funds one taproot output, the escrow, of value V. Its internal key is the MuSig2
// aggregate (BIP327) of a client key C and a relay key R; its two leaves are
//
//	L_settle  C and R together           payment: the relay takes P, the client keeps V − P
//	L_refund  C alone, from height E on  the client's way out without the relay
//
// A payment is a signature and nothing else: the client signs the settlement transaction for a
// higher P, at three fee rates, and the relay keeps it. P never falls, so the newest settlement is
// the one the relay wants to use, and no older one can hurt the client. The relay never gives its
// own signature away, except on a final close. The client's output of a settlement is locked for
// one block (L_csv), so that the client cannot pin the relay's transaction with children.
//
// Where both sides are there, a contract is closed by the key path: both sign as one (MuSig2), with one
// message each way. Nothing that protects a side rests on that; what fails there is closed by the leaf.
// The nonces of it are made and kept outside this package, in memory, and never in a Contract.
//
// A relay that is asked for it locks money of its own, K, in a second output of the same transaction, the
// collateral (collateral.go): a time-lock that ends at E, and no insurance.
//
// All deadlines are heights below E (see Margins). Service stops first, then the relay settles,
// with rising fee rates, then the client may refund.
//
// # The machine
//
// A Contract is a value. Both sides run the same function:
//
//	next, effects, err := c.Apply(event)
//
// An error leaves the contract as it was. Events are what a person or a policy wants (Propose,
// Accept, Pay, …), a verified message from the other side (Received), and the chain's blocks and
// mempool sightings. The chain's events only set facts (funded at, spent at, tip); State follows
// from facts, so a reorg is an ordinary event and nothing has to be undone by hand. Effects say
// what is to be done: send a statement, have the wallet sign the funding, broadcast a
// transaction, watch an output, change the account. The caller first stores contract and effects
// together, then performs the effects, each of which may be performed any number of times.
//
// Nothing in this package reads a clock, a chain or a random source: times, serials and coins come
// with the events, and so do the private contract keys, which are never part of a Contract.
//
// STATES.md shows all states and the ways between them, drawn from the table in transitions.go.
//
// # Where to start
//
// Terms (terms.go) is what both sides agree on; script.go and tx.go build every output and
// transaction from Terms alone, and neither side ever signs a transaction that it did not build
// itself; message_*.go are the statements; apply_*.go the rules. Check numbers in comments
// are those of the protocol's verification checklist in PROTOCOL.md.
package contract
