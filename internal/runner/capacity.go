package runner

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/wallet"
)

// A proposal costs its sender nothing: not even the coins that it names must be its own. So what a
// relay keeps for proposals that were not signed is bounded, makes room for others, and is
// forgotten without a trace.

const (
	// maxOffered bounds what one identity can propose without signing.
	maxOffered = 4
	// signTime is how long an unsigned proposal keeps its place when others want it. A client
	// that holds its keys signs within seconds.
	signTime = time.Minute
	// coldTime is the same for a person who signs on another machine. Nobody can tell such a proposal from an idle one, so
	// only one place in coldShare is held so long, for those that came first.
	coldTime  = 30 * time.Minute
	coldShare = 8
)

// room refuses a new proposal of a client where there is no place for it.
func (r *Runner) room(ctx context.Context, client identity.PublicKey) error {
	all, own := 0, 0
	for _, c := range r.Contracts() {
		switch s := c.State(); {
		case s == contract.StateOffered && c.Peer() == client:
			own++
			all++
		case !s.Over() || s == contract.StateSettled:
			all++
		}
	}
	if own >= maxOffered {
		return code.New(code.Busy, "%d openings of yours wait for your signature", maxOffered)
	}
	if all >= r.Policy.MaxContracts && !r.makeRoom(ctx) {
		return code.New(code.NoCapacity, "the relay has %d contracts", r.Policy.MaxContracts)
	}
	return nil
}

// makeRoom gives up one unsigned proposal: of those that wait for more than a minute the newest that has none of the places
// which are held longer, or else the oldest that has waited half an hour.
func (r *Runner) makeRoom(ctx context.Context) bool {
	var waiting []contract.Nonce // oldest first
	for _, c := range r.Contracts() {
		if c.State() == contract.StateOffered && !c.Exposed() {
			waiting = append(waiting, c.Nonce())
		}
	}
	slices.SortFunc(waiting, func(a, b contract.Nonce) int { return r.offeredAt(a).Compare(r.offeredAt(b)) })
	held := min(max(r.Policy.MaxContracts/coldShare, 1), len(waiting))
	for _, n := range slices.Backward(waiting[held:]) {
		if r.waited(n) >= signTime {
			return r.dropOffer(ctx, n)
		}
	}
	return held > 0 && r.waited(waiting[0]) >= coldTime && r.dropOffer(ctx, waiting[0])
}

func (r *Runner) waited(n contract.Nonce) time.Duration { return r.Now().Sub(r.offeredAt(n)) }

func (r *Runner) dropOffer(ctx context.Context, n contract.Nonce) bool {
	stamp, err := r.stamp()
	if err == nil {
		_, err = r.step(ctx, n, contract.GiveUp{Code: code.Timeout, Text: "no signature came, and others wait", Stamp: stamp}, nil)
	}
	if err != nil {
		r.Log.Warn("a proposal could not be given up", "err", err)
	}
	return err == nil
}

// offeredAt is when a proposal was answered; the zero time if that was before the start.
func (r *Runner) offeredAt(n contract.Nonce) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offers[n]
}

// put takes over a contract that is stored. On a relay, one that ended before anything was signed
// is no more: the store has dropped its row. Callers hold r.mu.
func (r *Runner) put(n contract.Nonce, c contract.Contract) {
	switch s := c.State(); {
	case r.Role != contract.Relay:
	case s == contract.StateAborted:
		delete(r.ids, r.named[n])
		delete(r.named, n)
		delete(r.contracts, n)
		delete(r.offers, n)
		delete(r.keys, n)
		return
	case s != contract.StateOffered:
		delete(r.offers, n)
	case r.offers[n].IsZero():
		r.offers[n] = r.Now()
	}
	r.contracts[n] = c
	r.name(n, c)
}

// payout is where a new contract's earnings go. Addresses are used in turn, the first that no
// contract has, so that proposals which come to nothing use up none: a wallet that is restored from
// its phrase looks ahead over a bounded number of addresses that were never paid.
func (r *Runner) payout() ([]byte, error) {
	if r.Policy.Payout != nil {
		return r.Policy.Payout, nil
	}
	used := make(map[string]bool)
	for _, c := range r.Contracts() {
		used[string(c.Terms().RelayScript)] = true
	}
	for i := 0; ; i++ {
		if i == len(r.payouts) {
			_, script, err := r.Wallet.AddressFor(payoutID(i))
			if err != nil {
				return nil, err
			}
			r.payouts = append(r.payouts, script)
		}
		if !used[string(r.payouts[i])] {
			return bytes.Clone(r.payouts[i]), nil
		}
	}
}

// payoutID names a payout address in the wallet.
func payoutID(i int) wallet.LeaseID {
	return wallet.LeaseID(identity.Tagged("payout", binary.BigEndian.AppendUint64(nil, uint64(i))))
}

// keyUsed tells whether a contract key stands in another contract already.
func (r *Runner) keyUsed(nonce contract.Nonce, k contract.Key) bool {
	for _, c := range r.Contracts() {
		if t := c.Terms(); c.Nonce() != nonce && (t.ClientKey == k || t.RelayKey == k) {
			return true
		}
	}
	return false
}
