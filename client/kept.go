package client

import (
	"context"
	"encoding/json"
	"slices"

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
