package client_test

import (
	"slices"
	"testing"

	"relaymarket/client"
	"relaymarket/internal/code"
	"relaymarket/records"
)

// TestASponsorPaysForAnother: an account without coins, node or contract sends by a grant; its reader reads; the
// sponsor's audit confirms the lane and pays it; the account finds its own lane in order; a revocation ends new
// orders and nothing else.
func TestASponsorPaysForAnother(t *testing.T) {
	shop := newShop(t)
	sponsor := newPayer(t, "sponsor", shop, 1_000_000)
	dora, bob := newPerson(t, "dora"), newPerson(t, "bob")
	for _, x := range [][2]*person{{dora, bob}, {sponsor, dora}} {
		x[0].meets(x[1])
	}
	c := sponsor.opens(shop, client.OpenRequest{Deposit: 100_000, Duration: 144, FeeRateSatVB: 2, Small: true})
	ctx := t.Context()
	given, err := sponsor.GrantGive(ctx, client.GrantRequest{Contract: c.ID, To: "dora", CapMsat: 3_000_000, DayMsat: 2_000_000})
	if err != nil || given.Grant.State != client.GrantStands {
		t.Fatal(given.Grant, err)
	}
	_, err = bob.GrantImport(ctx, given.File)
	wantCode(t, err, code.WrongRecipient)
	_, err = dora.Send(ctx, client.SendRequest{To: "bob", Body: []byte("too early"), MediaType: records.MediaText})
	wantCode(t, err, code.NoRelay)
	if g, err := dora.GrantImport(ctx, given.File); err != nil || g.State != client.GrantStands || g.Given || g.Lane == nil {
		t.Fatalf("%+v %v", g, err)
	}
	bob.knows(dora) // her document names the relay now
	_, err = dora.Send(ctx, client.SendRequest{To: "bob", Attachments: []client.Attachment{{Name: "a", Data: randomBytes(t, 1<<20)}}})
	wantCode(t, err, code.LaneDayCap)
	sent := dora.sendRequest(client.SendRequest{To: "bob", Body: randomBytes(t, 100_000), MediaType: "application/octet-stream"})
	if sent.State != client.StateStored || sent.Contract != c.ID {
		t.Fatalf("%+v", sent)
	}
	bob.sync()
	if in := bob.inbox(); len(in) != 1 || in[0].Digest != sent.Digest {
		t.Fatalf("bob has %d messages", len(in))
	}
	a, err := sponsor.Audit(ctx, c.ID)
	if err != nil || len(a.Refused) != 0 || a.Confirmed < 80_000 {
		t.Fatalf("%+v %+v %v", a.Usage.Lanes, a.Refused, err)
	}
	// The sponsor may have a lane of its own: its agent tells contacts where it is.
	if i := slices.IndexFunc(a.Usage.Lanes, func(l client.LaneTotal) bool { return l.Label == "dora" }); i < 0 || a.Usage.Lanes[i].Egress == 0 {
		t.Fatalf("%+v", a.Usage.Lanes)
	}
	if own, err := dora.GrantAudit(ctx, given.Grant.Grant.String()); err != nil || own.Rows != 2 || len(own.Refused) != 0 || own.Confirmed == 0 {
		t.Fatalf("%+v %v", own, err)
	}
	if p, err := sponsor.ContractPay(ctx, c.ID, 0); err != nil || p.Added < 80 {
		t.Fatalf("%+v %v", p, err)
	}
	if g, err := sponsor.GrantRevoke(ctx, given.Grant.Grant.String()[:12]); err != nil || g.State != client.GrantRevoked {
		t.Fatalf("%+v %v", g, err)
	}
	_, err = dora.Send(ctx, client.SendRequest{To: "bob", Body: []byte("no more"), MediaType: records.MediaText})
	wantCode(t, err, code.NoRelay)
	if g, err := dora.Grants(ctx); err != nil || len(g) != 1 || g[0].State != client.GrantRevoked {
		t.Fatalf("%+v %v", g, err)
	}
	if a, err := sponsor.Audit(ctx, c.ID); err != nil || len(a.Refused) != 0 {
		t.Fatalf("%+v %v", a.Refused, err)
	}
}
