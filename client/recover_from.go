package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// Found is what RecoverFrom has brought back, and what it could not.
type Found struct {
	Contracts []ContractInfo `json:"contracts"`
	Problems  []string       `json:"problems,omitempty"`
}

const (
	// maxCopies bounds how many records to oneself are read from one relay.
	maxCopies = 1000
	// maxCopySize bounds each, in bytes.
	maxCopySize = records.MaxRecoveryText + maxHeader
)

// RecoverFrom asks relays for the recoveries that this identity has left there, and brings the contracts back as Recover does.
// Where a relay is, the boards tell. The relays of contracts that are found are asked as well: what a relay keeps is about
// contracts with others. It needs Run. A relay that cannot be asked is a problem, and no error unless nothing was found: then
// code NotFound or that of the first problem.
func (a *Agent) RecoverFrom(ctx context.Context, relays []identity.PublicKey) (Found, error) {
	if len(relays) == 0 {
		return Found{}, code.New(code.BadArgument, "which relay?")
	}
	if err := a.level(ctx); err != nil {
		return Found{}, err
	}
	out := Found{Contracts: []ContractInfo{}}
	var first error
	asked, known := make(map[identity.PublicKey]bool), make(map[usage.ContractID]bool)
	for len(relays) > 0 {
		relay := relays[0]
		relays = relays[1:]
		if asked[relay] {
			continue
		}
		asked[relay] = true
		a.locate(ctx, relay)
		texts, err := a.recoveriesAt(ctx, relay)
		if err != nil {
			out.Problems = append(out.Problems, "relay "+relay.Name()+": "+code.Explain(err))
			first = cmp.Or(first, err)
		}
		for _, text := range texts {
			i, err := a.Recover(ctx, text)
			if err != nil {
				out.Problems = append(out.Problems, "a recovery at relay "+relay.Name()+": "+code.Explain(err))
				first = cmp.Or(first, err)
				continue
			}
			if !known[i.ID] {
				known[i.ID] = true
				out.Contracts = append(out.Contracts, i)
				relays = append(relays, i.Relay)
			}
		}
	}
	if len(out.Contracts) > 0 {
		return out, nil
	}
	return out, cmp.Or(first, code.New(code.NotFound, "no relay keeps a recovery of this identity"))
}

// recoveriesAt reads the sealed texts that a relay keeps for this identity, the newest of each contract.
func (a *Agent) recoveriesAt(ctx context.Context, relay identity.PublicKey) ([]string, error) {
	c, err := a.session(ctx, relay)
	if err != nil {
		return nil, err
	}
	rows, err := a.ownRows(ctx, c)
	if err != nil {
		return nil, err
	}
	var out []string
	seen := make(map[contract.Nonce]bool)
	var first error
	for _, row := range rows {
		text, err := a.readCopy(ctx, c, relay, row)
		if err != nil {
			a.log.Info("a record to oneself is no recovery, or is not served", "relay", relay.Name(), "record", row.Digest.Short(), "err", err)
			first = cmp.Or(first, err)
			continue
		}
		r, err := contract.OpenRecovery(a.home.Seed(), text)
		if err != nil {
			first = cmp.Or(first, err)
		} else if !seen[r.Terms.Nonce] {
			seen[r.Terms.Nonce] = true
			out = append(out, text)
		}
	}
	if len(out) > 0 {
		first = nil
	}
	return out, first
}

// ownRows lists the records from this identity to itself that could be recoveries, the newest first.
func (a *Agent) ownRows(ctx context.Context, c *session.Client) ([]message.Row, error) {
	var out []message.Row
	ls := &listing{c: c, epoch: c.Info().StoreEpoch}
	for at, pages := usage.Arrival(0), 0; pages < maxPages; pages++ {
		p, err := a.page(ctx, ls, at, 0)
		if err != nil {
			return nil, err
		}
		for _, r := range p.Rows {
			if r.From == a.Key() && r.To == a.Key() && r.Size <= maxCopySize {
				out = append(out, r)
			}
		}
		if !p.More || usage.Arrival(p.Through) <= at {
			break
		}
		at = usage.Arrival(p.Through)
	}
	slices.Reverse(out)
	return out[:min(len(out), maxCopies)], nil
}

// readCopy reads one record to oneself and gives the text in it.
func (a *Agent) readCopy(ctx context.Context, c *session.Client, relay identity.PublicKey, row message.Row) (string, error) {
	w := wish{record: row.Digest, from: a.Key(), size: uint64(row.Size), arrival: usage.Arrival(row.Arrival), home: row.Home}
	ds, m, err := a.ask(ctx, relay, []wish{w})
	if err != nil {
		return "", err
	}
	d := &ds[0]
	if err := a.pull(ctx, c, relay, m, d); err != nil {
		return "", errors.Join(err, a.store.DropRequest(ctx, relay, row.Digest))
	}
	v, err := a.checkHeader(d)
	if err != nil {
		return "", err
	}
	rec, err := v.Attach(d.content)
	if err != nil {
		return "", err
	}
	ack, _, err := a.acknowledgements(relay, d, a.Key(), v.StoredBytes(), usage.VerdictOK)
	if err != nil {
		return "", err
	}
	if _, err := a.acknowledge(ctx, c, []store.PendingStatement{{Signed: ack, Home: store.Shard(row.Home)}}); err != nil {
		a.log.Debug("an acknowledgement of a recovery was not taken", "relay", relay.Name(), "err", err)
	}
	if err := a.store.DropRequest(ctx, relay, row.Digest); err != nil {
		return "", err
	}
	return records.ParseRecoveryContent(rec.Content())
}

// pull takes the answer to a read of one small record. A denial is kept: it is the relay's word.
func (a *Agent) pull(ctx context.Context, c *session.Client, relay identity.PublicKey, m *message.Read, d *download) error {
	ctx, cancel := context.WithTimeout(ctx, stallTime)
	defer cancel()
	s, err := c.Stream(ctx, m)
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		got, err := s.Next(ctx)
		if errors.Is(err, io.EOF) && d.done {
			return nil
		}
		if err != nil {
			return err
		}
		p, ok := got.(*message.ReadData)
		switch {
		case !ok || p.Index != 0:
			return code.New(code.Malformed, "the relay answers read with %s", got.Type())
		case len(p.Denial) > 0:
			_, err := a.denied(ctx, relay, d, p.Denial)
			return cmp.Or(err, code.New(code.NotFound, "the relay denies the record"))
		case p.End && len(p.Data) == 0 && len(p.Header) == 0 && !p.Last:
			continue
		}
		if err := d.add(p, maxCopySize); err != nil {
			return err
		}
		d.done = p.Last
	}
}
