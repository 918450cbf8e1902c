package contract

import (
	"strings"
	"testing"

	"relaymarket/internal/code"
)

var testSeed = []byte(strings.Repeat("seed", 16))

func sealed(t *testing.T, c Contract) string {
	t.Helper()
	r, ok := c.Recovery()
	if !ok {
		t.Fatal("no recovery")
	}
	text, err := r.Seal(testSeed, [12]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// recover loses everything of the client but its keys and the text.
func (w *world) recover(t *testing.T, text string) {
	t.Helper()
	r, err := OpenRecovery(testSeed, text)
	if err != nil {
		t.Fatal(err)
	}
	w.client.c, w.client.inbox, w.relay.inbox = Contract{}, nil, nil
	w.wantCode(w.client, Recover{r, w.relay.key, startHeight}, code.BadKey)
	w.do(w.client, Recover{r, w.client.key, startHeight})
	w.restore(w.client, w.copyOf(w.client)) // catches up with the chain
	w.wantCode(w.client, Recover{r, w.client.key, startHeight}, code.BadState)
}

func TestRecoveryIsEnoughForTheRefund(t *testing.T) {
	w := active(t)
	id := w.client.c.ID()
	text := sealed(t, w.client.c)
	w.payments(3_000, 9_000)
	w.recover(t, text)
	if w.client.c.ID() != id || w.client.c.State() != StateActive || w.client.c.Paid() != 1_600 {
		t.Fatalf("%+v", w.client.c.Summary())
	}
	w.wantCode(w.client, PublishFunding{}, code.BadState)
	w.wantCode(w.client, CancelFunding{9_000}, code.BadState)
	w.relay.c = Contract{} // gone for good
	w.mineTo(w.client.c.Terms().Expiry)
	w.mine(1)
	if got := w.paidTo(w.client); got != 100_000-FeeFor(2_000, refundWeight) {
		t.Fatalf("refunded %d", got)
	}
}

func TestRecoveryAndTheRelayBringBackEverything(t *testing.T) {
	w := active(t)
	text := sealed(t, w.client.c)
	w.payments(3_000, 9_000)
	w.recover(t, text)
	w.reconnect()
	w.wantUpdate(3, 9_000)
	w.goesOn(t, 3, 9_000)
}

func TestRecoveryAfterTheRelaySettled(t *testing.T) {
	w := active(t)
	text := sealed(t, w.client.c)
	w.pay(40_000)
	w.do(w.relay, Settle{Key: w.relay.key})
	w.client.deaf = true
	old := w.client.c
	w.client.c = Contract{} // away while the relay settles
	w.mine(1)
	w.client.c = old
	w.recover(t, text)
	w.mine(2)
	if got := w.paidTo(w.client); got != 60_000-FeeFor(2_000, sweepWeight) {
		t.Fatalf("swept %d", got)
	}
}

func TestRecoveryText(t *testing.T) {
	w := active(t)
	text := sealed(t, w.client.c)
	if len(text) > 800 {
		t.Errorf("%d letters are too many to be printed", len(text))
	}
	want, _ := w.client.c.Recovery()
	spaced := " " + text[:30] + "\n  " + text[30:99] + "\r\n" + text[99:] + "\n"
	if got, err := OpenRecovery(testSeed, spaced); err != nil || got.Funding != want.Funding || got.Terms.Digest() != want.Terms.Digest() {
		t.Fatal(err)
	}
	other := "A"
	if text[60] == 'A' {
		other = "B"
	}
	for name, x := range map[string]struct {
		seed []byte
		text string
		want code.Code
	}{
		"another phrase": {[]byte("another"), text, code.WalletWrongPhrase},
		"a wrong letter": {testSeed, text[:60] + other + text[61:], code.WalletWrongPhrase},
		"cut":            {testSeed, text[:71], code.WalletWrongPhrase},
		"nothing":        {testSeed, "", code.Malformed},
		"something else": {testSeed, "abandon ability able", code.Malformed},
		"not base64":     {testSeed, text[:40] + "!" + text[41:], code.Malformed},
		"too long":       {testSeed, text + strings.Repeat("A", MaxRecovery), code.Malformed},
	} {
		if _, err := OpenRecovery(x.seed, x.text); code.Of(err) != x.want {
			t.Errorf("%s: %v, wanted %s", name, err, x.want)
		}
	}
	if _, ok := w.relay.c.Recovery(); ok {
		t.Error("a relay recovers from its own store")
	}
}

func FuzzRecovery(f *testing.F) {
	w := newWorld(failerF{f})
	r := Recovery{Terms: Terms{Network: w.offer.Network}}
	if text, err := r.Seal(testSeed, [12]byte{}); err == nil {
		f.Add(text)
	}
	f.Add(recoveryPrefix + "AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := OpenRecovery(testSeed, text); err == nil && r.Terms.Check() != nil {
			t.Fatal("terms that do not check")
		}
		if r, err := decodeRecovery([]byte(text)); err == nil && r.Terms.Check() != nil {
			t.Fatal("terms that do not check")
		}
	})
}

// failerF is a fuzz target as a failer.
type failerF struct{ *testing.F }
