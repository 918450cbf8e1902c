package relay_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"relaymarket/internal/code"
	"relaymarket/relay"
	"relaymarket/testnet/btcdnode"
)

// TestFault31RelayInDoubt: a relay whose two nodes show different chains says so in /readyz and
// in its status, with the code and a sentence, and is ready again when they agree.
func TestFault31RelayInDoubt(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	other, err := btcdnode.Start(ctx, btcdnode.Options{Blocks: 3}) // a chain of its own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := config(node(t))
	c.Second = relay.Bitcoin{RPC: other.RPCHost(), User: other.RPCUser(), Pass: other.RPCPass()}
	dir := t.TempDir()
	r := launch(t, dir, c)
	st := awaitStatus(t, r, func(st relay.Status) bool { return strings.HasPrefix(st.NotReady, "chain_disagrees: ") })
	if st.Ready || !strings.Contains(st.NotReady, "blocks apart") {
		t.Errorf("status: ready %t, %q", st.Ready, st.NotReady)
	}
	res, err := http.Get("http://" + r.AdminAddr() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz says %d", res.StatusCode)
	}
	r.stop()

	c.Second = relay.Bitcoin{} // what was in doubt was the second one
	start(t, dir, c)
}

func awaitStatus(t *testing.T, r *running, ok func(relay.Status) bool) relay.Status {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		st, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if ok(st) {
			return st
		}
		if time.Now().After(end) {
			t.Fatalf("status stays: ready %t, %q", st.Ready, st.NotReady)
		}
	}
}

// TestRelayNeedsAFullNode: a light client cannot see its clients' coins.
func TestRelayNeedsAFullNode(t *testing.T) {
	c := config(node(t))
	c.Bitcoin = relay.Bitcoin{Backend: "neutrino", Peers: []string{node(t).P2PAddr()}}
	dir := t.TempDir()
	if _, err := relay.Init(dir, relay.InitOptions{Config: c}); err != nil {
		t.Fatal(err)
	}
	if _, err := relay.New(relay.Options{Dir: dir, Config: c}); code.Of(err) != code.LightClient {
		t.Errorf("got %v", err)
	}
}
