package runner_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// onDisk moves the side's store, still empty, from memory to a directory that can be copied.
func (s *side) onDisk() {
	s.t.Helper()
	s.stop()
	s.fs = nil
	s.startUp()
}

// startUp starts and waits until the side has seen the whole chain.
func (s *side) startUp() {
	s.t.Helper()
	s.start()
	_, height, err := s.node.Tip()
	if err != nil {
		s.t.Fatal(err)
	}
	for range 1000 {
		if s.r.Tip() == usage.Height(height) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("%v: still at height %d of %d", s.role, s.r.Tip(), height)
}

// backup copies the side's store while it stands still.
func (s *side) backup() string {
	s.t.Helper()
	s.stop()
	dir := filepath.Join(s.t.TempDir(), "backup")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(s.dir, "store"))); err != nil {
		s.t.Fatal(err)
	}
	s.startUp()
	return dir
}

// restore puts a backup in the place of the store.
func (s *side) restore(backup string) {
	s.t.Helper()
	s.stop()
	dir := filepath.Join(s.dir, "store")
	if err := os.RemoveAll(dir); err != nil {
		s.t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
		s.t.Fatal(err)
	}
	s.startUp()
}

func (p *pair) pay(id usage.ContractID, sums ...usage.Sat) {
	p.t.Helper()
	for _, sum := range sums {
		if c, err := p.client.r.Pay(p.t.Context(), id, sum, identity.Digest{}, p.exchange); err != nil || c.Paid() != sum {
			p.t.Fatalf("pay %d: %v", sum, err)
		}
	}
}

func (p *pair) resume() {
	p.t.Helper()
	if err := p.client.r.Resume(p.t.Context(), p.relay.key.Public(), p.exchange); err != nil {
		p.t.Fatal(err)
	}
}

// closesFor checks that both hold the same payment, and closes for it.
func (p *pair) closesFor(id usage.ContractID, sum usage.Sat) {
	p.t.Helper()
	for _, s := range []*side{p.client, p.relay} {
		if c, err := s.r.Contract(id); err != nil || c.Paid() != sum {
			p.t.Fatalf("the %v holds %d of %d sat, %v", s.role, c.Paid(), sum, err)
		}
	}
	if _, err := p.client.r.Close(p.t.Context(), id, sum, 2000, p.exchange); err != nil {
		p.t.Fatal(err)
	}
	p.mine(4)
	for _, s := range []*side{p.client, p.relay} {
		sp, _, _ := s.wait(id, contract.StateClosed).Spend()
		if sp.Kind != contract.SpendClose || sp.Client != 100_000-sum || sp.Client+sp.Relay+sp.Fee != 100_000 {
			p.t.Fatalf("%v: %+v", s.role, sp)
		}
	}
}

// TestRestoredStores puts old copies back on a real chain: first the client's, then the relay's, then one
// of the relay's from before the contract.
func TestRestoredStores(t *testing.T) {
	p := newPair(t)
	p.client.onDisk()
	p.relay.onDisk()
	empty := p.relay.backup()
	id := p.openActive().ID()
	p.resume()
	for _, s := range []*side{p.client, p.relay} {
		if c, _ := s.r.Contract(id); !c.PeerReady() {
			t.Fatalf("the %v has not heard that the other side is ready", s.role)
		}
	}
	p.pay(id, 4000)
	client, relay := p.client.backup(), p.relay.backup()
	p.pay(id, 5000, 6000, 7000)

	p.client.restore(client)
	p.pay(id, 8000) // looks at the relay's record first
	p.relay.restore(relay)
	p.resume()
	p.pay(id, 9000)
	p.relay.restore(empty)
	p.resume()
	p.relay.wait(id, contract.StateActive)
	p.pay(id, 10_000)
	p.closesFor(id, 10_000)
}

// TestRelayThatForgetsAnUnfundedOpening is told nothing that it could take up.
func TestRelayThatForgetsAnUnfundedOpening(t *testing.T) {
	p := newPair(t)
	p.relay.onDisk()
	empty := p.relay.backup()
	c := p.open()
	p.relay.restore(empty)
	p.down = false
	err := p.client.r.Resume(t.Context(), p.relay.key.Public(), p.exchange)
	if code.Of(err) != code.OK && code.Of(err) != code.ContractUnknown {
		t.Fatal(err)
	}
	if _, err := p.relay.r.Contract(c.ID()); code.Of(err) != code.ContractUnknown {
		t.Fatalf("the relay took up a contract without escrow: %v", err)
	}
	p.mine(2)
	p.client.wait(c.ID(), contract.StateActive)
	p.resume() // now there is an escrow
	p.relay.wait(c.ID(), contract.StateActive)
}
