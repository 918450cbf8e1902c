package testnet

import (
	"context"
	"time"

	"relaymarket/internal/code"
)

// MineUntil makes blocks, at most max, until f says that what they should bring about has
// happened. A miner takes a transaction into one of the next blocks, not always into the very
// next; and whoever follows the chain needs a moment after each.
func (w *World) MineUntil(ctx context.Context, what string, max int, f func() (bool, error)) error {
	for range max {
		if err := w.Mine(ctx, 1); err != nil {
			return err
		}
		for range 5 {
			if ok, err := f(); ok || err != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return code.New(code.Timeout, "%d blocks were mined in vain until %s", max, what)
}
