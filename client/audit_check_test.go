package client

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/usage"
)

// clerk is a relay that writes a log and signs reports on it, honestly or not.
type clerk struct {
	t     *testing.T
	key   identity.PrivateKey
	state usage.LogState
	rows  []usage.RowEntry
	last  *usage.VerifiedUsageReport
}

func newClerk(t *testing.T) *clerk {
	t.Helper()
	key, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &clerk{t: t, key: key}
}

// read writes a row for a delivery; its evidence is not looked at here.
func (k *clerk) read(bytes uint64) {
	k.t.Helper()
	in := usage.RowInput{
		Kind: usage.RowRead, Arrival: k.state.LastArrival + 1, Time: k.state.LastTime + 1000, Bytes: bytes,
		Receipt: identity.Digest{1}, Record: identity.Digest{2},
	}
	if k.state.Size == 0 {
		in.Kind, in.Record = usage.RowWrite, identity.Digest{}
	}
	row, next, err := usage.AppendRow(k.state, usage.Prices{}, in)
	if err != nil {
		k.t.Fatal(err)
	}
	raw, err := row.Encode()
	if err != nil {
		k.t.Fatal(err)
	}
	k.state, k.rows = next, append(k.rows, usage.RowEntry{Row: raw})
}

func (k *clerk) tree() *usage.MemoryTree {
	var tree usage.MemoryTree
	for _, e := range k.rows {
		if err := tree.Append(e.Row); err != nil {
			k.t.Fatal(err)
		}
	}
	return &tree
}

// report signs the head of the log; change may lie in it.
func (k *clerk) report(change func(*usage.UsageReport)) usage.VerifiedUsageReport {
	k.t.Helper()
	tree := k.tree()
	root, err := usage.TreeRoot(tree.Size(), tree)
	if err != nil {
		k.t.Fatal(err)
	}
	r := usage.UsageReport{
		Header:   identity.Header{Network: identity.Regtest, From: k.key.Public(), To: k.key.Public(), Time: 1},
		Contract: usage.ContractID{1}, Terms: identity.Digest{1}, Number: 1, Size: tree.Size(), Root: root,
		LiveBytes: k.state.Live, ByteSeconds: k.state.ByteSeconds, Egress: k.state.Egress, Owed: k.state.Owed, AsOf: k.state.LastArrival,
	}
	if k.last != nil {
		r.Number, r.Previous, r.PrevSize, r.PrevRoot = k.last.Number+1, k.last.Digest(), k.last.Size, k.last.Root
		if r.Consistency, err = usage.ProveConsistency(r.PrevSize, r.Size, tree); err != nil {
			k.t.Fatal(err)
		}
	}
	if change != nil {
		change(&r)
	}
	raw, err := r.Encode()
	if err != nil {
		k.t.Fatal(err)
	}
	s, err := identity.SignOne(k.key, raw)
	if err != nil {
		k.t.Fatal(err)
	}
	v, err := usage.OpenUsageReport(s)
	if err != nil {
		k.t.Fatal(err)
	}
	return v
}

// check holds a report with rows against the one before, as the agent does.
func (k *clerk) check(r usage.VerifiedUsageReport, rows []usage.RowEntry) error {
	l := ledger{report: r, rows: rows}
	if k.last != nil && k.last.LogEpoch == r.LogEpoch {
		l.previous = k.last
	}
	return l.check(k.last)
}

func TestHonestReportsAreConsistent(t *testing.T) {
	k := newClerk(t)
	if err := k.check(k.report(nil), nil); err != nil {
		t.Fatalf("an empty log: %v", err)
	}
	for range 5 {
		k.read(100)
		k.read(200)
		r := k.report(nil)
		if err := k.check(r, k.rows); err != nil {
			t.Fatal(err)
		}
		if err := k.check(r, k.rows); err != nil {
			t.Fatalf("the same report again: %v", err)
		}
		k.last = &r
	}
	// Reports in between were made for somebody else's question; the rows show that all agrees.
	k.read(1)
	between := k.report(nil)
	after := k.report(func(r *usage.UsageReport) { r.Number, r.Previous = r.Number+1, between.Digest() })
	if err := k.check(after, k.rows); err != nil {
		t.Fatalf("a gap: %v", err)
	}
}

func TestDishonestReportsAreFound(t *testing.T) {
	for name, lie := range map[string]func(*clerk) (usage.VerifiedUsageReport, []usage.RowEntry){
		"an earlier row was changed": func(k *clerk) (usage.VerifiedUsageReport, []usage.RowEntry) {
			l := newClerk(k.t)
			l.key, l.last = k.key, k.last
			for i := range k.rows {
				l.read(100 + uint64(i))
			}
			l.read(5)
			return l.report(nil), l.rows
		},
		"other rows are shown than signed": func(k *clerk) (usage.VerifiedUsageReport, []usage.RowEntry) {
			k.read(5)
			r := k.report(nil)
			l := newClerk(k.t)
			l.rows, l.state = slices.Clone(k.rows[:len(k.rows)-1]), lastState(k, len(k.rows)-1)
			l.read(6)
			return r, l.rows
		},
		"the totals are not the last row's": func(k *clerk) (usage.VerifiedUsageReport, []usage.RowEntry) {
			k.read(5)
			return k.report(func(r *usage.UsageReport) { r.Egress++ }), k.rows
		},
		"the log got shorter": func(k *clerk) (usage.VerifiedUsageReport, []usage.RowEntry) {
			k.rows = k.rows[:2]
			l := newClerk(k.t)
			l.key, l.rows = k.key, k.rows
			return l.report(func(r *usage.UsageReport) { r.Number, r.Previous = k.last.Number+1, k.last.Digest() }), k.rows
		},
		"two reports have one number": func(k *clerk) (usage.VerifiedUsageReport, []usage.RowEntry) {
			k.read(5)
			return k.report(func(r *usage.UsageReport) {
				r.Number, r.Previous, r.PrevSize, r.PrevRoot, r.Consistency = 1, identity.Digest{}, 0, identity.Digest{}, nil
			}), k.rows
		},
		"the log begins again": func(k *clerk) (usage.VerifiedUsageReport, []usage.RowEntry) {
			l := newClerk(k.t)
			l.key, l.state.Epoch = k.key, 1
			l.read(5)
			return l.report(func(r *usage.UsageReport) { r.Number, r.Previous, r.LogEpoch = k.last.Number+1, k.last.Digest(), 1 }), l.rows
		},
		"a row bills too much": func(k *clerk) (usage.VerifiedUsageReport, []usage.RowEntry) {
			k.state.Egress += 1000
			k.read(5)
			return k.report(nil), k.rows
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newClerk(t)
			for range 4 {
				k.read(100)
			}
			r := k.report(nil)
			k.last = &r
			report, rows := lie(k)
			err := k.check(report, rows)
			if err == nil {
				t.Fatal("nothing was noticed")
			}
			if errors.Is(err, usage.ErrOverflow) {
				t.Fatalf("noticed by chance: %v", err)
			}
		})
	}
}

// TestPaymentsAreBounded: whatever is confirmed, a payment never falls, never passes the escrow or
// what is confirmed, and never leaves a rest that could not be paid out.
func TestPaymentsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := usage.Sat(rapid.Uint64Range(1000, 1<<40).Draw(t, "value"))
		price := usage.Sat(rapid.Uint64Range(0, uint64(v)).Draw(t, "price"))
		paid := usage.Sat(rapid.Uint64Range(uint64(price), uint64(v)).Draw(t, "paid"))
		if v-paid < minRest {
			paid = v // as contracts have it
		}
		near := rapid.Uint64Range(0, 2000).Draw(t, "near the escrow")
		confirmed := usage.Msat(rapid.OneOf(
			rapid.Uint64(), rapid.Just(uint64(v-price)*1000-min(near, uint64(v-price)*1000)), rapid.Uint64Range(0, uint64(v)*1000),
		).Draw(t, "confirmed"))
		due := dueOf(contract.Terms{Value: v, ContractPrice: price}, paid, confirmed)
		switch {
		case due < paid || due > v:
			t.Fatalf("due %d with %d paid of %d", due, paid, v)
		case due < v && v-due < minRest:
			t.Fatalf("due %d leaves %d", due, v-due)
		case due > paid && uint64(due-price) > uint64(confirmed.CeilSat()):
			t.Fatalf("due %d, confirmed %d msat on top of %d", due, confirmed, price)
		}
	})
}

// lastState is the state of a log after its first n rows.
func lastState(k *clerk, n int) usage.LogState {
	k.t.Helper()
	r, err := usage.DecodeRow(k.rows[n-1].Row)
	if err != nil {
		k.t.Fatal(err)
	}
	return r.State()
}
