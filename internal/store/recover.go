package store

import (
	"context"
	"errors"
	"io"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// RecoverRelay makes a store that was restored from a backup usable: a new log epoch for every
// contract, higher numbers for offers, then a new store_epoch. Clients see the last and list
// again; heads of logs that they hold from after the backup are an admitted loss. It may be
// repeated after a crash. The relay must not run. Errors as OpenRelay's.
//
// Epochs and numbers come from now: who restores one backup twice, or one that is older than what
// was published since, would else use some a second time, and what is signed under them would
// prove that the relay told two stories.
func RecoverRelay(o Options, now identity.UnixMilli) error {
	r, err := OpenRelay(o)
	if err != nil {
		return err
	}
	return errors.Join(r.recover(context.Background(), now), r.Close())
}

func (r *Relay) recover(ctx context.Context, now identity.UnixMilli) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.homes.known {
		ref, err := r.refOf(id)
		if err != nil {
			return err
		}
		if err := r.commit(ctx, r.clock, false, []job{newLogEpoch(ref, now)}); err != nil {
			return err
		}
	}
	header := r.header
	if _, err := io.ReadFull(r.options.Rand, header.epoch[:]); err != nil {
		return code.Wrap(code.Internal, err, "no randomness")
	}
	err := r.commit(ctx, r.clock, false, []job{func(t *tx) *step {
		last, err := t.get(metaShard, offerKey)
		if err != nil {
			return t.fail(err)
		}
		seq, err := decodeNumber(last)
		if err != nil {
			return t.fail(err)
		}
		s := &step{}
		s.put(metaShard, offerKey, number(max(seq, uint64(now))))
		s.put(metaShard, storeKey, header.encode())
		return s
	}})
	if err == nil {
		r.header = header
	}
	return err
}

func newLogEpoch(ref accountRef, now identity.UnixMilli) job {
	return func(t *tx) *step {
		l, err := t.ledgerAt(ref)
		if err != nil {
			return t.fail(err)
		}
		next := l.copy()
		next.epoch = max(next.epoch+1, uint32(now/1000))
		next.log.Epoch = next.epoch
		s := &step{}
		next.save(s)
		return s
	}
}
