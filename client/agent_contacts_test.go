package client_test

import (
	"os"
	"path/filepath"
	"testing"

	"relaymarket/client"
	"relaymarket/internal/code"
)

func TestWhoCanBeSentTo(t *testing.T) {
	r := newRelay(t)
	ada, bob, other := newPerson(t, "ada"), newPerson(t, "bob"), newPerson(t, "bob")
	_, err := ada.Send(t.Context(), client.SendRequest{To: "bob", Body: []byte("?")})
	wantCode(t, err, code.UnknownContact)
	c := ada.knows(bob)
	_, err = ada.Send(t.Context(), client.SendRequest{To: "bob", Body: []byte("?")})
	wantCode(t, err, code.NoRelay)
	ada.use(r)
	for _, who := range []string{"bob", c.Name, c.Key.String()} {
		ada.send(who, "to "+who)
	}
	ada.knows(other)
	_, err = ada.Send(t.Context(), client.SendRequest{To: "bob", Body: []byte("?")})
	wantCode(t, err, code.UnknownContact) // which one?
	file, err := ada.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = ada.PutContact(t.Context(), file, "")
	wantCode(t, err, code.BadArgument)
	_, err = ada.PutContact(t.Context(), []byte("{}"), "")
	wantCode(t, err, code.Unsupported)

	_, err = ada.Send(t.Context(), client.SendRequest{To: c.Name, Body: []byte("?"), TTLSeconds: 60})
	wantCode(t, err, code.BadArgument)
	_, err = ada.Send(t.Context(), client.SendRequest{To: c.Name, Body: []byte{0xff}})
	wantCode(t, err, code.BadArgument)
	_, err = ada.Send(t.Context(), client.SendRequest{To: c.Name, Attachments: []client.Attachment{{Name: "../x", Data: []byte("x")}}})
	wantCode(t, err, code.BadArgument)
	_, err = ada.Send(t.Context(), client.SendRequest{To: c.Name, Attachments: []client.Attachment{{Name: "x", Data: make([]byte, 40<<20)}}})
	wantCode(t, err, code.AllowanceUsed)
	if err := ada.DropContact(t.Context(), c.Name); err != nil {
		t.Fatal(err)
	}
	_, err = ada.Send(t.Context(), client.SendRequest{To: c.Name, Body: []byte("?")})
	wantCode(t, err, code.UnknownContact)
}

func TestStrangersAreIgnoredUntilTheyAreContacts(t *testing.T) {
	r := newRelay(t)
	ada, bob, eve := newPerson(t, "ada"), newPerson(t, "bob"), newPerson(t, "eve")
	for _, p := range []*person{ada, bob, eve} {
		p.use(r)
	}
	ada.meets(bob)
	eve.knows(bob)
	early := eve.send("bob", "you do not know me")
	ada.send("bob", "hello")
	bob.sync()
	if in := bob.inbox(); len(in) != 1 || in[0].PeerLabel != "ada" {
		t.Fatalf("inbox: %+v", in)
	}
	bob.knows(eve) // the general cursor has passed her message
	late := eve.send("bob", "now you do")
	bob.sync()
	in := bob.inbox()
	if len(in) != 3 || in[1].Digest != early.Digest || in[2].Digest != late.Digest || in[2].Gap {
		t.Fatalf("inbox: %+v", in)
	}
}

// TestRelaysAreLearned: contacts that knew nothing of each other's relays find out without
// another exchange of files.
func TestRelaysAreLearned(t *testing.T) {
	r, s := newRelay(t), newRelay(t)
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	ada.use(r)
	ada.meets(bob) // bob has no relay yet
	sent := ada.send("bob", "are you there?")
	bob.sync()
	if in := bob.inbox(); len(in) != 1 {
		t.Fatalf("inbox: %+v", in)
	}
	ada.sync()
	ada.wants(sent.Digest, client.StateStored) // bob has no way to acknowledge but to the relay

	bob.use(s)
	answer := bob.send("ada", "yes, elsewhere")
	bob.sync() // leaves his document with ada's relay, and sends what waited
	ada.sync() // finds the document
	ada.sync() // and the relay in it
	if in := ada.inbox(); len(in) != 1 || in[0].Digest != answer.Digest || in[0].Relay != s.Key() {
		t.Fatalf("inbox: %+v", in)
	}
	ada.wants(sent.Digest, client.StateAcknowledged)

	// ada moves: bob is told by a record on a relay that he already listens to.
	ada.use(s)
	if err := ada.DropRelay(t.Context(), r.Key()); err != nil {
		t.Fatal(err)
	}
	ada.sync()
	bob.sync()
	all, err := bob.Contacts(t.Context())
	if err != nil || len(all) != 1 || len(all[0].Relays) != 1 || all[0].Relays[0].Key != s.Key() {
		t.Fatalf("contacts: %+v %v", all, err)
	}
}

func TestCard(t *testing.T) {
	r := newRelay(t)
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	i, err := ada.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = bob.PutContact(t.Context(), []byte(i.Card), "")
	wantCode(t, err, code.NoRelay)
	ada.use(r)
	if i, err = ada.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := bob.PutContact(t.Context(), []byte(i.Card+"\n"), "my ada")
	if err != nil || c.Key != i.Key || c.Label != "my ada" || c.Warning != "" || len(c.Relays) != 1 {
		t.Fatalf("contact: %+v %v", c, err)
	}
	// The card of an earlier document still finds her, with a warning.
	ada.cfg.Label = "ada lovelace"
	ada.reopen()
	ada.sync()
	if c, err = bob.PutContact(t.Context(), []byte(i.Card), ""); err != nil || c.Warning == "" || c.Label != "my ada" {
		t.Fatalf("contact: %+v %v", c, err)
	}
}

func TestDeleteOnAcknowledgement(t *testing.T) {
	r := newRelay(t)
	ada, bob, eve := newPerson(t, "ada"), newPerson(t, "bob"), newPerson(t, "eve")
	ada.use(r)
	ada.meets(bob)
	sent := ada.sendRequest(client.SendRequest{To: "bob", Body: []byte("read and burn"), DeleteOnAck: true, Tag: "t"})
	bob.sync()
	if m := bob.read(sent.Digest); string(m.Body) != "read and burn" {
		t.Fatalf("%+v", m)
	}
	_ = eve
	// The relay has let it go: the sender's delete is answered with the receipt of that.
	if m, err := ada.Delete(t.Context(), sent.Digest.String()); err != nil || m.State != client.StateDeleted {
		t.Fatalf("%+v %v", m, err)
	}
}

// TestRestoredRelay: a relay that came back from a backup has another store epoch and may have
// lost what came last; it is listed again from the beginning, and nothing is shown twice.
func TestRestoredRelay(t *testing.T) {
	r := newRelay(t)
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	ada.use(r)
	bob.use(r)
	ada.meets(bob)
	first := ada.send("bob", "first")
	bob.sync()

	r.stop()
	if err := os.RemoveAll(filepath.Join(r.dir, "regtest", "store")); err != nil {
		t.Fatal(err)
	}
	r.start()
	second := ada.send("bob", "second")
	bob.sync()
	in := bob.inbox()
	if len(in) != 2 || in[0].Digest != first.Digest || in[1].Digest != second.Digest {
		t.Fatalf("inbox: %+v", in)
	}
	// The document was lost with the store; it is put there again.
	eve := newPerson(t, "eve")
	i, err := ada.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ada.sync()
	if _, err := eve.PutContact(t.Context(), []byte(i.Card), ""); err != nil {
		t.Fatal(err)
	}
}
