package contract

import (
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// AnnounceReady (either side) tells the other that the funding is at the agreed depth here: sends
// contractReady. It may be lost; the client says it again with every session.
type AnnounceReady struct {
	Stamp Stamp
}

func (e AnnounceReady) apply(c *Contract) ([]Effect, error) {
	if !c.announceable() {
		return nil, code.New(code.NotDue, "the funding has %d confirmations of %d", c.depth(), c.terms.Depth)
	}
	return c.announce(e.Stamp)
}

// announceable tells whether the funding is unspent at the agreed depth, in a block that is known: a
// record of the first version does not name it.
func (c *Contract) announceable() bool {
	return c.signed() && c.facts.spentAt == 0 && c.depth() >= usage.Height(c.terms.Depth) && c.ready.block != [32]byte{}
}

func (c *Contract) announce(s Stamp) ([]Effect, error) {
	m := &Ready{Common: c.common(s), Contract: c.ID(), Block: c.ready.block, Height: c.facts.fundedAt, Tip: c.tip}
	m.Seq = c.talk.out
	raw, err := Encode(m)
	if err != nil {
		return nil, err
	}
	c.ready.said = true
	return []Effect{Send{raw}}, nil
}

// ready takes the other side's word on the funding. Two sides that see it in different blocks do
// not follow the same chain: that is refused, and tried again when the chain has decided. The relay
// answers a client with its own word once it has one.
func (e Received) ready(c *Contract, m *Ready) ([]Effect, error) {
	if !c.signed() {
		return nil, code.New(code.BadState, "the contract is %s", c.State())
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if at := c.facts.fundedAt; at > 0 && c.ready.block != [32]byte{} && (at != m.Height || c.ready.block != m.Block) {
		return nil, code.New(code.StaleTip, "the funding is in block %d here and in another block, %d, there", at, m.Height)
	}
	if err := c.refers(e.Message); err != nil {
		return nil, err
	}
	c.ready.theirs, c.ready.theirsIn = m.Height, m.Block
	if c.role == Relay && c.announceable() {
		return c.announce(e.Stamp)
	}
	return nil, nil
}

// ReadySaid tells whether contractReady has been sent since the funding got into its block.
func (c Contract) ReadySaid() bool { return c.ready.said }
