package client

import (
	"context"
	"encoding/json"
	"slices"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// keptKey is the named value with the relays that keep records of contracts that are closed.
const keptKey = "kept relays"

// kept is a relay that goes on serving what a close has paid for. The own Identity document names it
// until then, or nobody would look there.
type kept struct {
	Relay identity.PublicKey `json:"relay"`
	Until identity.UnixMilli `json:"until_ms"`
}

// keptRelays are those whose records have not ended.
func (a *Agent) keptRelays(ctx context.Context) ([]kept, error) {
	raw, err := a.store.Value(ctx, keptKey)
	if err != nil || raw == nil {
		return nil, err
	}
	var all []kept
	err = json.Unmarshal(raw, &all)
	now := a.nowMilli()
	all = slices.DeleteFunc(all, func(k kept) bool { return k.Until <= now })
	return all, code.Wrap(code.StoreCorrupt, err, "the kept relays")
}

// keepRelay remembers a relay until the last record under some orders has ended there.
func (a *Agent) keepRelay(ctx context.Context, relay identity.PublicKey, orders []usage.HeldOrder) error {
	all, err := a.keptRelays(ctx)
	if err != nil {
		return err
	}
	k := kept{Relay: relay}
	for _, o := range orders {
		r, err := usage.DecodeReceipt(o.Receipt.Statement)
		if err != nil {
			continue // none came
		}
		for _, f := range o.Records {
			k.Until = max(k.Until, f.CustodyEnd(r.ServiceUntil))
		}
	}
	if k.Until <= a.nowMilli() {
		return nil
	}
	raw, err := json.Marshal(append(all, k))
	if err != nil {
		return code.Wrap(code.Internal, err, "the kept relays")
	}
	return a.store.SetValue(ctx, keptKey, raw)
}

// keepStored remembers the relay of a contract that is about to be closed, for what is stored there, and gives
// the sum that pays for it.
func (a *Agent) keepStored(ctx context.Context, c contract.Contract, v verdict) (usage.Sat, error) {
	papers, err := a.store.AuditPapers(ctx, c.ID())
	if err != nil {
		return 0, err
	}
	sum, err := a.keeping(ctx, v, papers.Orders)
	if err != nil {
		return 0, err
	}
	return sum, a.keepRelay(ctx, c.Peer(), papers.Orders)
}

// keeping is the sum for which the relay goes on serving what it has accepted: what is used and what
// may still be used, as the relay's books have it. It may not be more than what was confirmed and
// what the receipts name as the most that their records can cost. Codes Disconnected (the relay does
// not say) and LimitExceeded.
func (a *Agent) keeping(ctx context.Context, v verdict, orders []usage.HeldOrder) (usage.Sat, error) {
	book := a.book(ctx, v.contract, true)
	if book == nil {
		return 0, code.New(code.Disconnected, "the relay does not say what it has reserved for stored records")
	}
	most := v.result.ConfirmedMsat
	for _, o := range orders {
		r, err := usage.DecodeReceipt(o.Receipt.Statement)
		if err != nil {
			continue // none came
		}
		if most, err = most.Add(r.WorstMsat); err != nil {
			return 0, err
		}
	}
	t := v.contract.Terms()
	all, err := usage.Msat(book.OwedMsat).Add(usage.Msat(book.ReservedMsat))
	if err != nil || all > most {
		return 0, code.New(code.LimitExceeded, "the relay has reserved %d msat, its receipts promise at most %d in all", book.ReservedMsat, most)
	}
	return max(v.due, dueOf(t, v.contract.Paid(), all)), nil
}
