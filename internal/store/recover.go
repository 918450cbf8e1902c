package store

import (
	"context"
	"errors"
	"io"

	"relaymarket/internal/code"
)

// RecoverRelay makes a store that was restored from a backup usable: a new log epoch for every
// contract, then a new store_epoch. Clients see the second and list again; heads of logs that
// they hold from after the backup are an admitted loss. It may be repeated after a crash. The
// relay must not run. Errors as OpenRelay's.
func RecoverRelay(o Options) error {
	r, err := OpenRelay(o)
	if err != nil {
		return err
	}
	return errors.Join(r.recover(context.Background()), r.Close())
}

func (r *Relay) recover(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.homes.known {
		ref, err := r.refOf(id)
		if err != nil {
			return err
		}
		if err := r.commit(ctx, r.clock, false, []job{newLogEpoch(ref)}); err != nil {
			return err
		}
	}
	header := r.header
	if _, err := io.ReadFull(r.options.Rand, header.epoch[:]); err != nil {
		return code.Wrap(code.Internal, err, "no randomness")
	}
	err := r.commit(ctx, r.clock, false, []job{func(*tx) *step {
		s := &step{}
		s.put(metaShard, storeKey, header.encode())
		return s
	}})
	if err == nil {
		r.header = header
	}
	return err
}

func newLogEpoch(ref accountRef) job {
	return func(t *tx) *step {
		l, err := t.ledgerAt(ref)
		if err != nil {
			return t.fail(err)
		}
		next := l.copy()
		next.epoch++
		next.log.Epoch = next.epoch
		s := &step{}
		next.save(s)
		return s
	}
}
