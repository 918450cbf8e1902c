package spec

import (
	"encoding/hex"

	"relaymarket/identity"
	"relaymarket/usage"
)

// lanes is a log of one order of the payer and one by a grant, with the lanes that its report names.
func (m *maker) lanes() {
	m.t.Helper()
	g := m.goodBodies()
	own, granted := identity.Tagged("spec/receipt 1"), identity.Tagged("spec/receipt 2")
	record := identity.StatementDigest(identity.TypeRecord, m.batch()[0].Statement)
	order, _ := m.order()
	state := usage.LogState{Epoch: 1}
	var rows []string
	for i, in := range []usage.RowInput{
		{Kind: usage.RowWrite, Time: now, Bytes: 2_000_000, Receipt: own, Evidence: order.Bytes()},
		{Kind: usage.RowWrite, Time: now + 60_999, Bytes: 700_000, Receipt: granted, Evidence: g["storeOrder-by-a-grant"].Bytes()},
		{Kind: usage.RowRead, Time: now + 90_000, Bytes: 400_000, Receipt: granted, Record: record, Evidence: g["readRequest"].Bytes()},
		{Kind: usage.RowDelete, Time: now + 120_000, Bytes: 300_000, Receipt: granted, Record: record, Accepted: now + 60_999, Evidence: g["delete"].Bytes()},
		{Kind: usage.RowExpire, Time: now + 86_400_000, Bytes: 1_000_000, Receipt: own, Accepted: now},
	} {
		in.Arrival = usage.Arrival(in.Time)*1000 + usage.Arrival(i)
		row, next, err := usage.AppendRow(state, dear, in)
		m.must(err)
		rows, state = append(rows, text(val(row.Encode())(m))), next
	}
	add := func(name, what string, rows []string) {
		m.add("log/lanes-"+name, "lanes", "ok", what, values{
			"rows": rows, "storage_msat_per_gib_day": uint64(dear.StorageMsatPerGiBDay), "egress_msat_per_gib": uint64(dear.EgressMsatPerGiB),
		})
	}
	add("ok", "two lanes at the time of the last row, which is the payer's", rows)
	add("own", "a log of the payer's own orders names no lanes", rows[:1])
}

// decideLanes makes the lanes of a log.
func decideLanes(in input) (values, error) {
	var rows []usage.RowEntry
	for _, raw := range in.hexList("rows") {
		rows = append(rows, usage.RowEntry{Row: raw})
	}
	ls, err := usage.LanesOf(rows)
	if err != nil {
		return nil, err
	}
	entries, err := ls.Entries(usage.Prices{
		StorageMsatPerGiBDay: usage.Msat(in.number("storage_msat_per_gib_day")), EgressMsatPerGiB: usage.Msat(in.number("egress_msat_per_gib")),
	})
	if err != nil {
		return nil, err
	}
	var raws []string
	for _, e := range entries {
		raw, err := e.Encode()
		if err != nil {
			return nil, err
		}
		raws = append(raws, hex.EncodeToString(raw))
	}
	n, root, err := usage.LanesHead(entries)
	return values{"lanes": n, "lanes_root": root.String(), "entries": raws}, err
}
