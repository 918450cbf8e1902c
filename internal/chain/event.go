package chain

import "fmt"

// Kind says what an Event means.
type Kind uint8

const (
	// Connected: Block is the new last block, on top of the previous one, with
	// everything watched that it holds.
	Connected Kind = 1 + iota

	// Disconnected: Block was the last block and is no longer on the chain.
	// Whatever was learned from it is void; its parent is the last block now.
	Disconnected

	// Rescanned: Block was connected before, and holds what newly added
	// watches look for. The last block does not change. Only blocks with
	// findings are reported, in rising order.
	Rescanned

	// Covered: the new watches with these Keys have been looked for in all
	// blocks up to Block, the last one. A caller that stores this can watch
	// from 0 after a restart.
	Covered
)

// String is the kind's name.
func (k Kind) String() string {
	switch k {
	case Connected:
		return "connected"
	case Disconnected:
		return "disconnected"
	case Rescanned:
		return "rescanned"
	case Covered:
		return "covered"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Event is one step along the chain. A handler stores an event's facts and the
// row of its block (put at Connected, deleted at Disconnected, keyed by height)
// in one batch, and gives the rows back as Config.Recent after a restart.
//
// An event can come twice: when the handler failed, and for watches that were
// added twice. Facts keyed by (Key, Block.Hash) make that harmless.
type Event struct {
	Kind     Kind
	Block    Block
	Spends   []Spend   // Connected, Rescanned
	Confirms []Confirm // Connected, Rescanned
	Payments []Payment // Connected, Rescanned
	Keys     []string  // Covered: sorted, without repetition
}

func newEvent(kind Kind, b Block, f findings) Event {
	return Event{Kind: kind, Block: b, Spends: f.spends, Confirms: f.confirms, Payments: f.payments}
}
