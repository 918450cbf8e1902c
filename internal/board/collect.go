package board

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// atOnce is how many boards are asked at the same time.
const atOnce = 8

// Collector gathers offers from many boards.
type Collector struct {
	Client     *Client
	Network    identity.Network // offers of other networks are left out silently
	MinPowBits uint8            // offers that commit to less work are refused
}

// Collect asks all sources (see Client) and gives the newest offer of each relay, those with
// the most work for their time first; the result does not depend on the order of the sources.
// A relay that signed two offers under its highest sequence is left out and reported with both
// digests. Whatever else is wrong is reported by source and spoils nothing.
func (c Collector) Collect(ctx context.Context, sources []string, now identity.UnixMilli) ([]broadcast.VerifiedOffer, []error) {
	found, problems := c.fetchAll(ctx, sources)
	m := merge{seen: make(map[string]bool), best: make(map[identity.PublicKey][]broadcast.VerifiedOffer)}
	for i, list := range found {
		var bad tally
		for _, s := range list {
			if err := ctx.Err(); err != nil {
				return nil, append(problems, code.Wrap(code.Timeout, err, "collecting offers"))
			}
			bad.add(c.take(&m, s, now))
		}
		if err := bad.err(); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", sources[i], err))
		}
	}
	offers, conflicts := m.result()
	return offers, append(problems, conflicts...)
}

// fetchAll asks the boards, a few at a time; results stand in the order of the sources.
func (c Collector) fetchAll(ctx context.Context, sources []string) ([][]identity.Signed, []error) {
	found, errs := make([][]identity.Signed, len(sources)), make([]error, len(sources))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, s := range sources {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var err error
			if found[i], err = c.Client.Fetch(ctx, s); err != nil {
				errs[i] = fmt.Errorf("%s: %w", s, err)
			}
		})
	}
	wg.Wait()
	return found, slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// take verifies one offer and merges it. A statement that was seen good is not looked at
// again; one that was seen bad is, because only its proof may have been bad.
func (c Collector) take(m *merge, s identity.Signed, now identity.UnixMilli) error {
	if m.seen[string(s.Statement)] {
		return nil
	}
	h, err := identity.PeekHeader(s.Statement)
	if err != nil || h.Network != c.Network {
		return err
	}
	o, err := broadcast.Decode(s.Statement)
	if err != nil {
		return err
	}
	if o.PowBits < c.MinPowBits {
		return code.New(code.BadProofOfWork, "%d bits of work, asked for are %d", o.PowBits, c.MinPowBits)
	}
	v, err := broadcast.Open(s, now)
	if err != nil {
		return err
	}
	m.seen[string(s.Statement)] = true
	m.add(v)
	return nil
}

// merge keeps the newest offers of each relay: one, unless the relay contradicts itself.
type merge struct {
	seen map[string]bool // statements that are in
	best map[identity.PublicKey][]broadcast.VerifiedOffer
}

func (m *merge) add(v broadcast.VerifiedOffer) {
	known := m.best[v.From]
	switch {
	case len(known) == 0 || v.Sequence > known[0].Sequence:
		m.best[v.From] = []broadcast.VerifiedOffer{v}
	case v.Sequence == known[0].Sequence:
		m.best[v.From] = append(known, v)
	}
}

func (m *merge) result() (offers []broadcast.VerifiedOffer, conflicts []error) {
	for _, same := range m.best {
		slices.SortFunc(same, byDigest)
		first := same[0]
		i := slices.IndexFunc(same, func(o broadcast.VerifiedOffer) bool { return broadcast.Conflict(first, o) })
		if i < 0 {
			offers = append(offers, first)
			continue
		}
		conflicts = append(conflicts, code.Wrap(code.Conflict, broadcast.ErrConflict, "relay %s signed %s and %s as number %d and is left out",
			first.From, first.Digest(), same[i].Digest(), first.Sequence))
	}
	slices.SortFunc(offers, byStrength)
	slices.SortFunc(conflicts, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return offers, conflicts
}

func byDigest(a, b broadcast.VerifiedOffer) int {
	x, y := a.Digest(), b.Digest()
	return bytes.Compare(x[:], y[:])
}
