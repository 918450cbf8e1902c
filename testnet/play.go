package testnet

import (
	"context"
	"time"

	"relaymarket/identity"
)

// StartRelays starts every relay that is stopped.
func (w *World) StartRelays(ctx context.Context) error {
	for name := range w.relays {
		if err := w.StartRelay(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// MineEvery makes a block in intervals until ctx ends, so that a market that is played with moves.
func (w *World) MineEvery(ctx context.Context, d time.Duration) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if _, err := w.Node.Mine(1); err != nil {
				w.log.Warn("mining", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// AnyRelayKey is the key of the first relay, for examples.
func (w *World) AnyRelayKey() identity.PublicKey {
	for _, spec := range w.opts.Relays {
		if r := w.relays[spec.Name]; r != nil && r.server != nil {
			return r.server.Key()
		}
	}
	return identity.PublicKey{}
}
