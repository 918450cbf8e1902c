package wallet

import (
	"context"
	"testing"

	"github.com/btcsuite/btcd/txscript/v2"
)

// TestFreshSeedIsNotSearchedFor: a wallet of a fresh seed sees what is paid to its first addresses before it was ever
// connected, and does not look for more; a wallet made from the same seed later does.
func TestFreshSeedIsNotSearchedFor(t *testing.T) {
	const early, late = 10_000, 2_000
	cfg := config(t)
	cfg.Fresh = true
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, first, err := w.NewAddress()
	if err != nil {
		t.Fatal(err)
	}
	var far []byte
	err = w.edit(func(e edit) error {
		addr, err := e.at(external, watchAhead+50)
		if err != nil {
			return err
		}
		far, err = txscript.PayToAddrScript(addr.Address())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for script, sat := range map[string]int64{string(first): early, string(far): late} {
		if _, err := node.Fund(context.Background(), []byte(script), sat); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := node.Mine(1); err != nil {
		t.Fatal(err)
	}
	fresh := start(t, cfg)
	want(t, "a fresh seed", fresh.balance().ConfirmedSat, int64(early))
	fresh.stop()
	cfg.Dir, cfg.Fresh = t.TempDir(), false
	want(t, "the same seed later", start(t, cfg).balance().ConfirmedSat, int64(early+late))
}
