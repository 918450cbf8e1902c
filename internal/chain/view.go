package chain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
)

// MaxTipAge is the age of the last block, by its own time, above which a node is
// taken to be cut off. Eighteen expected blocks fit in: by chance it happens about
// once in a thousand years.
const MaxTipAge = 3 * time.Hour

const (
	// maxLag is by how many blocks two healthy nodes may differ for a moment.
	maxLag = 3

	// forkDepth is how far below the lower tip two nodes must agree: shallower
	// forks are ordinary.
	forkDepth = 2

	// viewPatience bounds the questions of one check.
	viewPatience = 10 * time.Second

	// broadcastPatience bounds what the second backend may take for a transaction.
	broadcastPatience = 30 * time.Second
)

// ViewConfig says what a View is made of.
type ViewConfig struct {
	Main Backend

	// Second is another backend, with connections of its own, that Main is held
	// against. Nil: none.
	Second Backend

	// AnyAge skips the age of the tip: on regtest blocks come when somebody
	// makes one.
	AnyAge bool

	Now func() time.Time // nil: time.Now
}

// View is a Backend with a judgement about itself. All questions go to the main
// backend; Check tells whether its answers can be trusted with new money: a node
// that an attacker has cut off from the others (eclipsed), or that stands still,
// shows a chain that is true and old, or one that nobody else has.
//
// Check gates what can wait: opening contracts, and the beginning of service. What
// cannot wait, settlements and refunds by their heights, goes on: an attacker who
// can silence one backend must not be able to stop them.
type View struct {
	Backend
	second Backend
	anyAge bool
	now    func() time.Time
}

// NewView makes a View. It asks nothing.
func NewView(c ViewConfig) *View {
	v := &View{Backend: c.Main, second: c.Second, anyAge: c.AnyAge, now: c.Now}
	if v.now == nil {
		v.now = time.Now
	}
	return v
}

// Check is nil when the view can be trusted. Codes: ChainUnavailable when a
// backend does not answer, StaleTip when the last block is older than MaxTipAge,
// ChainDisagrees when the two backends are more than three blocks apart or have
// different blocks below the last two. A second backend that does not answer counts as
// disagreeing: an attacker would silence it.
func (v *View) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, viewPatience)
	defer cancel()
	tip, err := v.Tip(ctx)
	if err != nil {
		return code.Wrap(code.ChainUnavailable, err, "the Bitcoin backend does not show its chain")
	}
	if age := v.now().Sub(tip.Time); !v.anyAge && age > MaxTipAge {
		return code.New(code.StaleTip, "the last block, %d, is %s old: the Bitcoin node is behind or cut off from others, or this clock is wrong",
			tip.Height, age.Truncate(time.Minute))
	}
	if v.second == nil {
		return nil
	}
	return v.compare(ctx, tip)
}

// compare holds the main backend's tip against the second backend.
func (v *View) compare(ctx context.Context, tip Block) error {
	other, err := v.second.Tip(ctx)
	if err != nil {
		return code.Wrap(code.ChainDisagrees, err, "the second Bitcoin backend cannot confirm block %d", tip.Height)
	}
	if lag := int64(tip.Height) - int64(other.Height); lag > maxLag || lag < -maxLag {
		return code.New(code.ChainDisagrees, "the two Bitcoin backends are %d blocks apart: the first is at height %d, the second at %d",
			max(lag, -lag), tip.Height, other.Height)
	}
	height := min(tip.Height, other.Height)
	height -= min(height, forkDepth)
	mine, err := v.BlockAt(ctx, height)
	theirs, otherErr := v.second.BlockAt(ctx, height)
	if err := errors.Join(err, otherErr); err != nil {
		return code.Wrap(code.ChainDisagrees, err, "the two Bitcoin backends cannot be compared at height %d", height)
	}
	if mine != theirs {
		return code.New(code.ChainDisagrees, "the two Bitcoin backends have different blocks at height %d: %s and %s", height, mine, theirs)
	}
	return nil
}

// Broadcast gives a transaction to both backends, so that a cut-off main backend
// does not keep it from the network. The main one's verdict counts, and the second
// one's when the main one gives none.
func (v *View) Broadcast(ctx context.Context, tx *wire.MsgTx) error {
	if v.second == nil {
		return v.Backend.Broadcast(ctx, tx)
	}
	other := make(chan error, 1)
	go func() { // it may outlive the call: its answer matters only without the main one's
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), broadcastPatience)
		defer cancel()
		other <- v.second.Broadcast(ctx, tx.Copy())
	}()
	err := v.Backend.Broadcast(ctx, tx)
	if err == nil || code.Of(err) == code.ChainRejected {
		return err
	}
	select {
	case second := <-other:
		if second == nil {
			return nil
		}
		return fmt.Errorf("%w; the second backend: %w", err, second)
	case <-ctx.Done():
		return err
	}
}

// MayHold implements Filtering: a main backend without filters may hold anything.
func (v *View) MayHold(ctx context.Context, hash chainhash.Hash, scripts [][]byte) (bool, error) {
	if light, ok := v.Backend.(Filtering); ok {
		return light.MayHold(ctx, hash, scripts)
	}
	return true, nil
}

var _ Filtering = (*View)(nil)
