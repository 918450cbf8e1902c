package client

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

const (
	// doctorTime bounds each question of Doctor.
	doctorTime = 10 * time.Second
	// badClock is the offset from which relays refuse what this machine signs.
	badClock = 100 * time.Second
	// lowDisk is the free space below which writing may soon fail, in bytes.
	lowDisk = 256 << 20
	// maxSocket is the longest path of a unix socket on Linux; elsewhere it is shorter.
	maxSocket = 104
)

// Doctor checks everything that this agent depends on and says what to do about what is wrong. It
// connects to the node and to all relays that matter.
func (a *Agent) Doctor(ctx context.Context) ([]Check, error) {
	wanted, err := a.wanted(ctx)
	if err != nil {
		return nil, err
	}
	out := append(a.checkNode(ctx), a.checkWallet(), a.checkStore(ctx), a.checkDisk(), a.checkSocket())
	out = append(out, a.checkProxy(ctx)...)
	keys := make([]identity.PublicKey, 0, len(wanted))
	for k := range wanted {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y identity.PublicKey) int { return slices.Compare(x[:], y[:]) })
	for _, k := range keys {
		out = append(out, a.checkRelay(ctx, k))
	}
	if len(keys) == 0 {
		out = append(out, Check{Name: "relays", Value: "none", Hint: "open a contract, use a relay's free allowance, or add a contact"})
	}
	for _, c := range a.runner.Contracts() {
		if k, ok := a.checkContract(ctx, c); ok {
			out = append(out, k)
		}
	}
	return append(out, a.checkParts()...), nil
}

// failed is a check that met an error.
func failed(name string, err error) Check {
	return Check{Name: name, Value: err.Error(), Hint: code.Of(err).Hint()}
}

func (a *Agent) checkNode(ctx context.Context) []Check {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	tip, err := a.chain.Tip(ctx)
	if err != nil {
		if code.Of(err) == code.Internal {
			err = code.Wrap(code.ChainUnavailable, err, "%s does not answer", a.cfg.Bitcoin.Where())
		}
		return []Check{failed("bitcoin node", err)}
	}
	out := []Check{{Name: "bitcoin node", OK: true, Value: fmt.Sprintf("%s, height %d", a.cfg.Bitcoin.Where(), tip.Height)}}
	age := a.now().Sub(tip.Time).Truncate(time.Second)
	k := Check{Name: "chain tip", OK: true, Value: age.String() + " old"}
	if err := a.chain.Check(ctx); err != nil {
		k = failed("chain tip", err)
	} else if !a.cfg.Second.None() {
		k.Value += ", confirmed by " + a.cfg.Second.Where()
	}
	if seen := a.runner.Tip(); seen > 0 && uint32(seen)+6 < tip.Height {
		k.Value += fmt.Sprintf("; contracts have seen height %d", seen)
	}
	return append(out, k)
}

func (a *Agent) checkWallet() Check {
	height, following := a.wallet.Status()
	k := Check{Name: "wallet", OK: following, Value: fmt.Sprintf("synced to height %d", height)}
	if !following {
		k.Value = fmt.Sprintf("at height %d, not following the node", height)
		k.Hint = "it follows while the agent runs (up) and the node answers"
	}
	return k
}

func (a *Agent) checkStore(ctx context.Context) Check {
	queue, err := a.store.Queue(ctx, identity.PublicKey{})
	if err != nil {
		return failed("store", err)
	}
	return Check{Name: "store", OK: true, Value: fmt.Sprintf("%s, %d orders waiting", a.home.Path("store"), len(queue))}
}

// freeDisk is the free space where the agent keeps everything, in bytes.
func (a *Agent) freeDisk() (uint64, error) {
	var st syscall.Statfs_t
	err := syscall.Statfs(a.home.Path(), &st)
	return st.Bavail * uint64(st.Bsize), err
}

// lowOnDisk tells whether nothing more should be fetched: what others send must not take the space
// that contracts and payments need.
func (a *Agent) lowOnDisk() bool {
	free, err := a.disk()
	return err == nil && free < lowDisk
}

func (a *Agent) checkDisk() Check {
	free, err := a.disk()
	if err != nil {
		return failed("disk", err)
	}
	k := Check{Name: "disk", OK: free >= lowDisk, Value: fmt.Sprintf("%d MiB free", free>>20)}
	if !k.OK {
		k.Hint = "make room: what cannot be saved is not sent and not acknowledged"
	}
	return k
}

// checkSocket looks at the length that a socket in the agent's directory would have.
func (a *Agent) checkSocket() Check {
	path := a.home.Path("agent.sock")
	k := Check{Name: "socket", OK: true, Value: path}
	if len(path) > maxSocket {
		k.Value = fmt.Sprintf("%s is longer than %d bytes; a socket in the temporary directory is used", path, maxSocket)
	}
	return k
}

func (a *Agent) checkRelay(ctx context.Context, relay identity.PublicKey) Check {
	patience := doctorTime
	if a.proxy != nil {
		patience = proxyDialTime
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	name := "relay " + relay.Name()
	c, err := a.session(ctx, relay)
	if err != nil {
		return failed(name, err)
	}
	off := c.Info().TimeOffset.Truncate(time.Millisecond)
	k := Check{Name: name, OK: off.Abs() < badClock, Value: fmt.Sprintf("connected, its clock is %s ahead of this one", off)}
	if off < 0 {
		k.Value = fmt.Sprintf("connected, its clock is %s behind this one", -off)
	}
	if !k.OK {
		k.Hint = code.ClockWrong.Hint()
	}
	return k
}

// checkContract speaks of contracts that need attention, and counts the others as good.
func (a *Agent) checkContract(ctx context.Context, c contract.Contract) (Check, bool) {
	s := c.State()
	if !s.Live() && s != contract.StateSettled {
		return Check{}, false
	}
	id := c.ID().String()
	k := Check{Name: "contract " + id[:8], OK: true, Value: s.String()}
	i := a.renewalInfo(ctx, c)
	switch {
	case s.Owing():
		k.OK = false
		k.Value = sentence(c)
		k.Hint = "audit it, and pay what is right: relay-client contract pay " + id[:8]
	case s == contract.StateActive && i.Due:
		k.OK = i.AutoBudget > 0 && i.Problem == ""
		end := c.Terms().ServiceUntil()
		k.Value += ", service ends in " + blocks(end-min(c.Tip(), end)) + i.words()
		k.Hint = "relay-client contract renew " + id[:12] + ", or let the agent do it with --auto"
	case s == contract.StateDraining:
		k.Value += ": nothing new can be stored"
		k.Hint = "close it, or wait for the relay's settlement or for the refund at its expiry"
	}
	return k, true
}

// checkParts tells which parts of a running agent have stopped.
func (a *Agent) checkParts() []Check {
	a.faultMu.Lock()
	defer a.faultMu.Unlock()
	var out []Check
	for name, err := range a.faults {
		k := failed("agent: "+name, err)
		out = append(out, k)
	}
	return out
}
