package relay_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/records"
	"relaymarket/usage"
)

// header is the signed header of a record of a write.
func header(t *testing.T, w *message.Write, i int) identity.Signed {
	t.Helper()
	b, err := identity.ParseBundle(w.Bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	all, err := b.Split()
	if err != nil {
		t.Fatal(err)
	}
	return all[i+1]
}

// showing makes a read show the statement of its record.
func showing(m *message.Read, statement []byte) *message.Read {
	m.Statements = [][]byte{statement}
	return m
}

// refusal is what a relay says to a request that it refuses, as it is on the wire.
func refusal(t *testing.T, err error) []byte {
	t.Helper()
	frame, err := message.Encode(1, &message.Error{Code: code.Of(err), Text: code.Text(err)})
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// TestBadInputStrangerLearnsNothing: who knows the digest of somebody else's record, and perhaps
// all about it, is told the same by read, delete and acknowledge, at no earlier time, whether the
// record was never there, is there, or was deleted.
func TestBadInputStrangerLearnsNothing(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob, eve := newPerson(t, r), newPerson(t, r), newPerson(t, r)
	w := ada.draft(bob.key.Public(), []byte("not for eve"))
	d := digestOf(t, w, 0)
	ask := func() (read, del, ack []byte) {
		t.Helper()
		began := time.Now()
		_, _, err := eve.read(eve.request(d, 1000))
		read = refusal(t, err)
		if code.Of(err) != code.NotFound {
			t.Fatalf("read: %v", err)
		}
		m := eve.remove(d)
		k := must[*message.Acknowledged](eve, eve.acknowledgement(eve.request(d, 1000), d, 100, usage.VerdictOK))
		if took := time.Since(began); took < 75*time.Millisecond {
			t.Errorf("three refusals took %s: the time of a lookup shows", took)
		}
		return read, refusal(t, m.Results[0].Err()), refusal(t, k.Results[0].Err())
	}
	same := func(what string, want, got [3][]byte) {
		t.Helper()
		for i, verb := range []string{"read", "delete", "acknowledge"} {
			if !bytes.Equal(want[i], got[i]) {
				t.Errorf("%s of a record that %s: %q, else %q", verb, what, got[i], want[i])
			}
		}
	}
	var absent, got [3][]byte
	absent[0], absent[1], absent[2] = ask()
	must[*message.Written](ada, w)
	got[0], got[1], got[2] = ask()
	same("is here", absent, got)
	_, _, err := ada.read(ada.request(d, 1000)) // its sender is no reader either
	same("is her own", absent, [3][]byte{refusal(t, err), got[1], got[2]})
	ada.remove(d)
	got[0], got[1], got[2] = ask()
	same("was deleted", absent, got)
	if why := bob.denied(d); why != usage.ReasonDeleted {
		t.Errorf("its receiver is denied %v", why)
	}
}

// TestBadInputShownStatement: what a reader shows must be the statement of the record that it asks
// for, and name the reader. It is looked at before anything is looked up.
func TestBadInputShownStatement(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob, eve := newPerson(t, r), newPerson(t, r), newPerson(t, r)
	w := ada.draft(bob.key.Public(), []byte("a"), []byte("b"))
	first, second := header(t, w, 0).Statement, header(t, w, 1).Statement
	d := digestOf(t, w, 0)
	for _, stored := range []bool{false, true} {
		if stored {
			must[*message.Written](ada, w)
		}
		two := showing(bob.request(d, 1000), first)
		two.Statements = append(two.Statements, second)
		for name, x := range map[string]struct {
			who  *person
			read *message.Read
			want code.Code
		}{
			"another record's":  {bob, showing(bob.request(d, 1000), second), code.Malformed},
			"garbage":           {bob, showing(bob.request(d, 1000), []byte("garbage")), code.Malformed},
			"another reader's":  {eve, showing(eve.request(d, 1000), first), code.Forbidden},
			"more than request": {bob, two, code.Malformed},
		} {
			if _, _, err := x.who.read(x.read); code.Of(err) != x.want {
				t.Errorf("%s, stored %v: %v, want %s", name, stored, err, x.want)
			}
		}
	}
	if got, _, err := bob.read(showing(bob.request(d, 1000), first)); err != nil || string(got) != "a" {
		t.Errorf("%q %v", got, err)
	}
}

// TestListsShowWhatEntitles: a receiver learns from its lists what it must show; a sender has it.
func TestListsShowWhatEntitles(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob := newPerson(t, r), newPerson(t, r)
	w := ada.draft(bob.key.Public(), []byte("a"))
	must[*message.Written](ada, w)
	page := must[*message.InventoryPage](bob, &message.Inventory{Role: message.RoleReceiver})
	st, err := bob.sess.Stream(t.Context(), &message.Listen{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	m, err := st.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range append(page.Rows, m.(*message.ListenEvent).Rows...) {
		h, err := records.DecodeHeader(row.Statement)
		if err != nil || h.To != bob.key.Public() || identity.StatementDigest(identity.TypeRecord, row.Statement) != row.Digest {
			t.Errorf("a row shows %+v %v", h, err)
		}
	}
	if own := must[*message.InventoryPage](ada, &message.Inventory{Role: message.RoleSender}); len(own.Rows) != 1 || own.Rows[0].Statement != nil {
		t.Errorf("%d rows, the first with %d bytes of statement", len(own.Rows), len(own.Rows[0].Statement))
	}
}

// papers are what proves a loss: the record's header, its order and receipt, a request, a denial.
type papers struct {
	header  records.Verified
	order   usage.VerifiedStoreOrder
	index   int
	digests []identity.Digest
	receipt usage.VerifiedReceipt
	request usage.VerifiedReadRequest
	denial  usage.VerifiedDenial
}

// proven applies the seven conditions of PROTOCOL.md 9.7; opening the papers was the first.
func (p papers) proven() bool {
	h, o, r, q, d := p.header.Header(), p.order, p.receipt, p.request, p.denial
	one := h.Network == o.Network && h.Network == r.Network && h.Network == q.Network && h.Network == d.Network
	two := r.Order == o.Digest() && o.Root == identity.Root(p.digests) && p.digests[p.index] == p.header.Digest() &&
		q.Record == p.header.Digest() && d.Record == p.header.Digest()
	three := r.From == d.From && r.From == q.To
	four := q.From == h.To
	five := d.Request == q.Digest() && d.To == q.From
	six := d.Reason == usage.ReasonNone
	seven := d.AsOf >= r.Arrival+usage.Arrival(p.index) && r.AcceptedMs <= d.AsOfMs && d.AsOfMs < min(h.Expiry(), r.ServiceUntil)
	return one && two && three && four && five && six && seven
}

// TestLossIsProven: a relay that lost a record, here because its disk was put back without relay
// recover, proves that itself to a receiver who shows what entitles it; to one who does not it
// says what it says to everybody.
func TestLossIsProven(t *testing.T) {
	r, before, ada, bob := copied(t)
	w := ada.draft(bob.key.Public(), []byte("first"), []byte("second"))
	p := papers{index: 1, digests: []identity.Digest{digestOf(t, w, 0), digestOf(t, w, 1)}}
	receipt, err := identity.ParseSigned(must[*message.Written](ada, w).Receipt)
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	r = start(t, before, config(node(t)))
	ada.connect(r)
	bob.connect(r)
	// So that the relay speaks of a later state: more than it lost, because both lives may begin above the clock.
	must[*message.Written](ada, ada.draft(bob.key.Public(), []byte("later"), []byte("later still"), []byte("last")))
	if _, _, err := bob.read(bob.request(p.digests[1], 1000)); code.Of(err) != code.NotFound {
		t.Errorf("nothing is shown: %v", err)
	}
	m := showing(bob.request(p.digests[1], 1000), header(t, w, 1).Statement)
	_, no, err := bob.read(m)
	if err != nil || no == nil {
		t.Fatalf("%v %v", no, err)
	}
	p.denial = *no
	open := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := identity.ParseBundle(m.Requests)
	open(err)
	requests, err := b.Split()
	open(err)
	p.request, err = usage.OpenReadRequest(requests[0])
	open(err)
	p.header, err = records.OpenHeader(header(t, w, 1))
	open(err)
	p.order, err = usage.OpenStoreOrder(header(t, w, -1)) // the order is before the records
	open(err)
	p.receipt, err = usage.OpenReceipt(receipt)
	open(err)
	if !p.proven() {
		t.Errorf("the loss is not proven: %+v", p.denial)
	}
	p.index = 0
	if p.proven() {
		t.Error("the loss of another record is proven")
	}
}

// copied is a relay that runs, with a copy of its disk from before anything was stored, and two persons of whom the
// first is connected.
func copied(t *testing.T) (r *running, before string, ada, bob *person) {
	t.Helper()
	dir := t.TempDir()
	r = start(t, dir, config(node(t)))
	ada, bob = newPerson(t, r), newPerson(t, r)
	r.stop()
	before = filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r = start(t, dir, config(node(t)))
	ada.connect(r)
	return r, before, ada, bob
}
