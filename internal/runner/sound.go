package runner

import (
	"context"

	"relaymarket/contract"
)

// sound is nil when the view of the chain can be trusted with new money.
func (r *Runner) sound(ctx context.Context) error {
	if r.Sound == nil {
		return nil
	}
	return r.Sound(ctx)
}

// doubt tells whether service must not begin now. A relay that serves on the word of a chain that
// nobody else has serves for nothing. Only contracts whose funding is on its way have a beginning
// that can wait, so that catching up with many blocks asks nothing.
func (r *Runner) doubt(ctx context.Context) bool {
	if r.Role != contract.Relay || r.Sound == nil {
		return false
	}
	waiting := false
	r.mu.Lock()
	for n, c := range r.contracts {
		waiting = waiting || c.State() == contract.StateFunding || r.held[n]
	}
	r.mu.Unlock()
	if !waiting {
		return false
	}
	err := r.sound(ctx)
	if err != nil {
		r.Log.Warn("no service begins while the view of the chain is in doubt", "err", err)
	}
	return err != nil
}

// hold keeps the account of a contract closed that would begin its service while the view is in doubt,
// and opens it when the doubt is over: with the next block. Callers hold r.mu.
func (r *Runner) hold(before, after contract.Contract, doubt bool) {
	switch n := after.Nonce(); {
	case !doubt || !after.Service():
		delete(r.held, n)
	case !before.Service():
		r.held[n] = true
	}
}
