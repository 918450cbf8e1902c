package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// A renewal is a new contract with the same relay. Nothing binds the two but the relay and their order: of the contracts
// with one relay the one that expires last is the next one of all others. So there is nothing that a crash between two
// steps could leave half done. The old one stays whole: what was stored under it is served, billed and paid under it
// alone, because a receipt binds each record to one contract.

// renewalsKey is the named value with what the user has said about renewals, by contract nonce.
const renewalsKey = "renewals"

// renewal is what the user has said about the renewal of one contract.
type renewal struct {
	// Budget is the most that the agent may take from the wallet for the next contract by itself, deposit and fee
	// together; 0: it only warns.
	Budget usage.Sat `json:"auto_budget_sat,omitempty"`
	// Said tells that Budget was decided for this contract, else it comes from the one before.
	Said bool `json:"said,omitempty"`
	// Replace: this contract was renewed, so that it may be closed once that costs nothing.
	Replace bool `json:"replace,omitempty"`
}

// renewer makes renewals one at a time and remembers what came of them while the agent runs.
type renewer struct {
	turn chan struct{} // one token: the right to renew

	mu       sync.Mutex
	tried    map[contract.Nonce]usage.Height // guarded by mu: the tip at the last try, so that there is one for each block
	problems map[contract.Nonce]error        // guarded by mu: why the last try failed
}

func newRenewer() *renewer {
	return &renewer{
		turn: make(chan struct{}, 1), tried: make(map[contract.Nonce]usage.Height), problems: make(map[contract.Nonce]error),
	}
}

// first tells whether this is the first try at a height.
func (r *renewer) first(n contract.Nonce, tip usage.Height) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.tried[n]; ok && at == tip {
		return false
	}
	r.tried[n] = tip
	return true
}

// note keeps why a try failed, and tells whether that is news.
func (r *renewer) note(n contract.Nonce, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.problems[n]
	if err == nil {
		delete(r.problems, n)
		return false
	}
	r.problems[n] = err
	return old == nil || code.Of(old) != code.Of(err)
}

// forget lets a contract be looked at again, because something was said about it.
func (r *renewer) forget(n contract.Nonce) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tried, n)
	delete(r.problems, n)
}

func (r *renewer) problem(n contract.Nonce) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problems[n]
}

func (a *Agent) renewals(ctx context.Context) (map[string]renewal, error) {
	raw, err := a.store.Value(ctx, renewalsKey)
	if err != nil || raw == nil {
		return map[string]renewal{}, err
	}
	var all map[string]renewal
	err = json.Unmarshal(raw, &all)
	return all, code.Wrap(code.StoreCorrupt, err, "the renewals")
}

// renewalOf is what was said about a contract.
func (a *Agent) renewalOf(ctx context.Context, n contract.Nonce) (renewal, error) {
	all, err := a.renewals(ctx)
	return all[n.String()], err
}

// setRenewal changes what was said about a contract. What was said about contracts that are over is dropped.
func (a *Agent) setRenewal(ctx context.Context, n contract.Nonce, change func(*renewal)) error {
	a.renewer.mu.Lock()
	defer a.renewer.mu.Unlock()
	all, err := a.renewals(ctx)
	if err != nil {
		return err
	}
	for _, c := range a.runner.Contracts() {
		if c.Forgettable() {
			delete(all, c.Nonce().String())
		}
	}
	r := all[n.String()]
	change(&r)
	all[n.String()] = r
	raw, err := json.Marshal(all)
	if err != nil {
		return code.Wrap(code.Internal, err, "the renewals")
	}
	return a.store.SetValue(ctx, renewalsKey, raw)
}

// later orders contracts by the end of their service.
func later(x, y contract.Contract) int {
	xn, yn := x.Nonce(), y.Nonce()
	return cmp.Or(cmp.Compare(x.Terms().Expiry, y.Terms().Expiry), cmp.Compare(x.Terms().Tip, y.Terms().Tip), bytes.Compare(xn[:], yn[:]))
}

// nextOf is the contract with the same relay that follows a contract, whether it can be used already or not.
func (a *Agent) nextOf(c contract.Contract) (next contract.Contract, ok bool) {
	for _, k := range a.runner.Contracts() {
		s := k.State()
		alive := s.Live() || s == contract.StateOpening || s == contract.StateVerified || s == contract.StateSigned
		if alive && k.Peer() == c.Peer() && later(k, c) > 0 && (!ok || later(k, next) > 0) {
			next, ok = k, true
		}
	}
	return next, ok
}

// established tells whether both sides see a contract in service.
func established(c contract.Contract) bool { return c.Service() && c.PeerReady() }

// storable are the contracts that new records can be stored under. One that the relay has not called ready is left out as
// long as another one with this relay serves.
func (a *Agent) storable() []contract.Contract {
	all := a.serving()
	return slices.DeleteFunc(slices.Clone(all), func(c contract.Contract) bool {
		return !c.PeerReady() && slices.ContainsFunc(all, func(k contract.Contract) bool { return k.Peer() == c.Peer() && k.PeerReady() })
	})
}

// superseded tells whether a later contract with the same relay is there to be used. The old one still pays where the
// later one cannot.
func superseded(c contract.Contract, all []contract.Contract) bool {
	return slices.ContainsFunc(all, func(k contract.Contract) bool { return k.Peer() == c.Peer() && later(k, c) > 0 })
}

// withoutOld leaves out what is superseded where a later contract with the same relay bids as well.
func withoutOld(bids []bid) []bid {
	fresh := make(map[identity.PublicKey]bool)
	for _, b := range bids {
		if !b.old {
			fresh[b.relay] = true
		}
	}
	return slices.DeleteFunc(bids, func(b bid) bool { return b.old && fresh[b.relay] })
}

// RenewalInfo is how the renewal of a contract stands.
type RenewalInfo struct {
	From       usage.Height     `json:"from_height"` // from there on the next contract should be opened
	Due        bool             `json:"due"`         // it should be, and is not
	AutoBudget usage.Sat        `json:"auto_budget_sat"`
	Next       usage.ContractID `json:"next,omitzero"` // the contract that follows
	NextState  string           `json:"next_state,omitempty"`
	Problem    string           `json:"problem,omitempty"` // why the agent could not renew it by itself
}

// renewalInfo says how the renewal of a contract stands.
func (a *Agent) renewalInfo(ctx context.Context, c contract.Contract) RenewalInfo {
	i := RenewalInfo{From: renewFrom(c)}
	r, err := a.renewalOf(ctx, c.Nonce())
	if err != nil {
		a.log.Warn("renewals", "err", err)
	}
	i.AutoBudget = r.Budget
	if next, ok := a.nextOf(c); ok {
		i.Next, i.NextState = idOf(next), next.State().String()
		return i
	}
	if i.Due = renewable(c) && c.Tip() >= i.From; i.Due {
		if err := a.renewer.problem(c.Nonce()); err != nil && err != errNotAllowed {
			i.Problem = code.Explain(err)
		}
	}
	return i
}

// words are the renewal at the end of a sentence.
func (i RenewalInfo) words() string {
	switch {
	case !i.Next.IsZero():
		return "; the next contract with this relay is " + i.Next.String()[:12] + ", " + i.NextState
	case i.Due && i.Problem != "":
		return "; it is time to renew it, and your agent could not: " + i.Problem
	case i.Due && i.AutoBudget > 0:
		return "; it is time to renew it, which your agent does by itself"
	case i.Due:
		return "; it is time to renew it: contract renew"
	}
	return ""
}

// renewable tells whether a contract is one that a next one can follow.
func renewable(c contract.Contract) bool {
	switch s := c.State(); s {
	case contract.StateActive, contract.StateDraining, contract.StateFrozen, contract.StateClosing:
		return true
	default:
		return s.Owing()
	}
}
