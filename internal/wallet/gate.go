package wallet

import "github.com/btcsuite/btcwallet/chain"

// gate stands between the node and btcwallet and shuts when a block is taken back. btcwallet v0.18 rolls back only some of
// the blocks of a deeper reorganisation and then writes what it hears of the new ones beside what is left of the old: coins
// of lost blocks stay, and its record of a height can mix two blocks so that no later rollback can read it. So it never
// hears of a reorganisation: the connection ends, the wallet is rewound while nothing else changes it (rewind), and a new
// connection scans the new blocks.
type gate struct {
	chain.Interface
	out      chan any
	replaced chan struct{}
	quit     chan struct{}
}

// newGate starts passing on what the client reports, until the client stops.
func newGate(client chain.Interface) *gate {
	g := &gate{Interface: client, out: make(chan any), replaced: make(chan struct{}), quit: make(chan struct{})}
	go g.pass()
	return g
}

// Notifications is what btcwallet hears.
func (g *gate) Notifications() <-chan any { return g.out }

// stop lets go of a report that nobody takes any more.
func (g *gate) stop() { close(g.quit) }

func (g *gate) pass() {
	defer close(g.out)
	shut := false
	for n := range g.Interface.Notifications() {
		if _, back := n.(chain.BlockDisconnected); back && !shut {
			shut = true
			close(g.replaced)
		}
		if shut {
			continue
		}
		select {
		case g.out <- n:
		case <-g.quit:
			shut = true
		}
	}
}
