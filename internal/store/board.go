package store

import (
	"context"

	"relaymarket/identity"
)

var offerKey = metaKey("offer") // sequence of the last own offer

// NextOfferSequence takes the next sequence number for an own offer; it is synced before it is
// returned, so that no two offers share one.
func (r *Relay) NextOfferSequence(ctx context.Context) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var next uint64
	err := r.commit(ctx, r.clock, false, []job{func(t *tx) *step {
		s := &step{}
		b, err := t.get(metaShard, offerKey)
		if err == nil {
			next, err = decodeNumber(b)
		}
		if err != nil {
			return t.fail(err)
		}
		next++
		s.put(metaShard, offerKey, number(next))
		return s
	}})
	return next, err
}

// BoardOffer is an offer on this relay's board: bytes that only package board understands.
type BoardOffer struct {
	Key     identity.PublicKey // one offer per relay key
	Expires identity.UnixMilli
	Offer   []byte
}

// SaveBoard puts offers on the board and takes others off, in one commit.
func (r *Relay) SaveBoard(ctx context.Context, put []BoardOffer, drop []identity.PublicKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commit(ctx, r.clock, false, []job{func(*tx) *step {
		s := &step{}
		for _, o := range put {
			s.put(metaShard, boardKey(o.Key), o.encode())
		}
		for _, k := range drop {
			s.delete(metaShard, boardKey(k))
		}
		return s
	}})
}

// Board lists all offers on the board.
func (r *Relay) Board(ctx context.Context) ([]BoardOffer, error) {
	pairs, err := r.scanMeta(ctx, kindBoard, 32)
	if err != nil {
		return nil, err
	}
	out := make([]BoardOffer, len(pairs))
	for i, p := range pairs {
		if out[i], err = decodeBoardOffer(identity.PublicKey(p.Key[1:]), p.Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}
