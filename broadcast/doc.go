// Package broadcast owns how a relay says what it sells, and how a client chooses among those
// who say so.
//
// An Offer is a signed, numbered, expiring price list: addresses, prices, bounds of deposit
// and duration, limits. It proves itself: whoever hands it on, its relay signed it, it costs
// work to make (so that boards can bound what strangers put on them), and it binds the relay
// until it expires. Open checks one, cheapest test first, and is the only maker of a
// VerifiedOffer. Rank prices a client's own expected usage under each offer and sorts by what
// the whole thing costs, with everything that the client's Guard refuses at the end and the
// reason beside it.
//
// Two digests of an offer matter. The Core leaves out the nonce: it is what the proof of work
// is over and what tells two offers apart. The Digest is that of the whole statement: it is
// what contracts name.
package broadcast
