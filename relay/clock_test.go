package relay_test

import (
	"testing"
	"time"

	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/relay"
)

// TestClockFarOffIsRefusedUntilConfirmed: a relay whose clock is more than a day ahead of its last
// commit, or behind it, takes no order and says so to its operator, whose word ends that.
func TestClockFarOffIsRefusedUntilConfirmed(t *testing.T) {
	dir, c := t.TempDir(), config(node(t))
	r := start(t, dir, c)
	ada, bob := newPerson(t, r), newPerson(t, r)
	must[*message.Written](ada, ada.draft(bob.key.Public(), []byte("on time")))
	for _, off := range []time.Duration{30 * time.Hour, -40 * time.Hour} {
		r.stop()
		shift(t, off)
		r = launch(t, dir, c)
		ada.connect(r)
		if _, err := call[*message.Written](ada, ada.draft(bob.key.Public(), []byte("when?"))); code.Of(err) != code.ClockWrong {
			t.Errorf("%v off: %v", off, err)
		}
		if st, err := r.Status(t.Context()); err != nil || st.Ready {
			t.Errorf("%v off, and the relay is ready: %v", off, err)
		}
		if s, err := r.ConfirmClock(t.Context()); err != nil || s.Now > now() {
			t.Fatal(s, err)
		}
		r.waitReady(t)
		must[*message.Written](ada, ada.draft(bob.key.Public(), []byte("now")))
	}
}

// TestRecoverGivesANewEpoch: after a restore clients can see that the store is another one; a relay
// that runs is not recovered under its feet.
func TestRecoverGivesANewEpoch(t *testing.T) {
	dir, c := t.TempDir(), config(node(t))
	r := start(t, dir, c)
	ada, bob := newPerson(t, r), newPerson(t, r)
	w := ada.draft(bob.key.Public(), []byte("kept"))
	must[*message.Written](ada, w)
	before := ada.sess.Info().StoreEpoch
	if err := relay.Recover(relay.Options{Dir: dir, Config: c}); code.Of(err) != code.AlreadyRunning {
		t.Errorf("recovery of a running relay: %v", err)
	}
	r.stop()
	if err := relay.Recover(relay.Options{Dir: dir, Config: c}); err != nil {
		t.Fatal(err)
	}
	r = start(t, dir, c)
	bob.connect(r)
	if bob.sess.Info().StoreEpoch == before {
		t.Error("the store's epoch is the old one")
	}
	if got, _, err := bob.read(bob.request(digestOf(t, w, 0), 1<<20)); err != nil || string(got) != "kept" {
		t.Errorf("%q %v", got, err)
	}
}
