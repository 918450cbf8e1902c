package contract

import (
	"errors"
	"testing"
)

// TestMemoIsBounded: what is in use stays, the rest is forgotten in time, and errors are asked for again.
func TestMemoIsBounded(t *testing.T) {
	var m memo[int, int]
	made := 0
	get := func(k int) {
		t.Helper()
		if v, err := m.get(k, func() (int, error) { made++; return 2 * k, nil }); v != 2*k || err != nil {
			t.Fatalf("%d gives %d, %v", k, v, err)
		}
	}
	for k := range 10 * memoSize {
		get(k)
		get(0)
		if n := len(m.young) + len(m.old); n > 2*memoSize {
			t.Fatalf("%d results are kept", n)
		}
	}
	if made != 10*memoSize {
		t.Errorf("%d results were made for %d arguments, of which one was in use all the time", made, 10*memoSize)
	}
	for range 2 {
		if _, err := m.get(-1, func() (int, error) { made++; return 0, errors.New("no") }); err == nil {
			t.Error("no error")
		}
	}
	if made != 10*memoSize+2 {
		t.Error("an error was kept")
	}
}

// TestScriptsAreTheCallers: changing a script that was given out changes no other.
func TestScriptsAreTheCallers(t *testing.T) {
	w := active(t)
	for _, refund := range []bool{false, true} {
		a, err := w.client.c.terms.escrow(refund)
		if err != nil {
			t.Fatal(err)
		}
		before := string(a.script) + string(a.control) + string(a.leaf.Script)
		a.script[0]++
		a.control[0]++
		a.leaf.Script[0]++
		b, err := w.client.c.terms.escrow(refund)
		if err != nil || string(b.script)+string(b.control)+string(b.leaf.Script) != before {
			t.Errorf("a script that was given out is another's too (%v)", err)
		}
	}
}
