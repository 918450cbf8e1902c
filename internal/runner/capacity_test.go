package runner_test

import (
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/wallet"
	"relaymarket/usage"
)

// stranger proposes contracts that it never signs, on a coin that need not be its own.
type stranger struct {
	*pair
	coin   contract.Coin
	change contract.Change
	payout []byte
}

func (p *pair) stranger() stranger {
	p.t.Helper()
	_, payout, err := p.client.wallet.NewAddress()
	if err != nil {
		p.t.Fatal(err)
	}
	share, err := p.client.wallet.Fund(wallet.FundRequest{
		Outputs: []*wire.TxOut{wire.NewTxOut(100_000, payout)}, FeeRate: 2000, Lease: wallet.LeaseID{1}, MinConf: 1,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	in := share.Inputs[0]
	return stranger{
		p, contract.Coin{OutPoint: in.OutPoint, Value: usage.Sat(in.Value), Script: in.PkScript},
		contract.Change{Value: usage.Sat(share.ChangeSat), Script: share.ChangeScript}, payout,
	}
}

// propose sends a proposal under an identity, and gives the relay's answer.
func (s stranger) propose(as identity.PrivateKey) (contract.Nonce, error) {
	s.t.Helper()
	key, err := btcec.NewPrivateKey()
	if err != nil {
		s.t.Fatal(err)
	}
	p := contract.Propose{
		Offer: s.relay.offer, Client: as.Public(), Key: contract.KeyOf(key), Value: 100_000, Duration: 60,
		FundFeeRate: 2000, Coins: []contract.Coin{s.coin}, Change: s.change, Payout: s.payout, Tip: s.relay.r.Tip(),
		Stamp: contract.Stamp{Time: identity.UnixMilli(time.Now().UnixMilli())},
	}
	_, _ = rand.Read(p.Nonce[:])
	_, effects, err := contract.Contract{}.Apply(p)
	if err != nil {
		s.t.Fatal(err)
	}
	signed, err := identity.SignOne(as, effects[0].(contract.Send).Statement)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = s.relay.r.Receive(s.t.Context(), as.Public(), signed)
	return p.Nonce, err
}

func newKey(t *testing.T) identity.PrivateKey {
	t.Helper()
	k, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestStrangersCannotTakeAllPlaces fills a relay with proposals that nobody signs: one identity gets
// few, even all at once; the places are free again after a minute; and what was given up leaves
// neither a row nor a used address.
func TestStrangersCannotTakeAllPlaces(t *testing.T) {
	p := newPair(t)
	s := p.stranger()
	one := newKey(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	got := make(map[code.Code]int)
	for range 12 {
		all.Go(func() {
			_, err := s.propose(one)
			mu.Lock()
			defer mu.Unlock()
			got[code.Of(err)]++
		})
	}
	all.Wait()
	if got[code.OK] != 4 || got[code.Busy] != 8 {
		t.Fatalf("twelve proposals of one identity: %v", got)
	}
	for len(p.relay.r.Contracts()) < 10 {
		if _, err := s.propose(newKey(t)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.propose(newKey(t)); code.Of(err) != code.NoCapacity {
		t.Fatalf("a proposal to a full relay: %v", err)
	}

	p.relay.ahead.Store(int64(2 * time.Minute))
	for range 3 {
		if _, err := s.propose(newKey(t)); err != nil {
			t.Fatal(err)
		}
	}
	used := make(map[string]bool)
	for _, c := range p.relay.r.Contracts() {
		used[string(c.Terms().RelayScript)] = true
	}
	if n := len(p.relay.r.Contracts()); n != 10 || len(used) != 10 {
		t.Fatalf("%d contracts with %d addresses", n, len(used))
	}
	rows, err := p.relay.store.Contracts(t.Context())
	if err != nil || len(rows) != 10 {
		t.Fatalf("%d rows are stored: %v", len(rows), err)
	}

	// Those of before a restart are old, and an honest client gets its place.
	p.relay.restart()
	if err := p.client.wallet.Release(wallet.LeaseID{1}, nil); err != nil {
		t.Fatal(err)
	}
	c := p.openActive()
	if rows, err = p.relay.store.Contracts(t.Context()); err != nil || len(rows) > 10 {
		t.Fatalf("%d rows are stored: %v", len(rows), err)
	}
	// Six blocks end the others.
	p.mine(6)
	left := p.relay.r.Contracts()
	if len(left) != 1 || left[0].ID() != c.ID() {
		t.Fatalf("%d contracts are left", len(left))
	}
	if rows, err = p.relay.store.Contracts(t.Context()); err != nil || len(rows) != 1 {
		t.Fatalf("%d rows are stored: %v", len(rows), err)
	}
}

// TestFirstProposalIsHeldForAPerson: on a full relay newcomers push out one another after a minute, but not the first,
// whose client may be a person who signs on another machine; after half an hour it goes too.
func TestFirstProposalIsHeldForAPerson(t *testing.T) {
	p := newPair(t)
	s := p.stranger()
	first, err := s.propose(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	for len(p.relay.r.Contracts()) < 10 {
		if _, err := s.propose(newKey(t)); err != nil {
			t.Fatal(err)
		}
	}
	for minutes := 2; minutes < 30; minutes += 2 {
		p.relay.ahead.Store(int64(time.Duration(minutes) * time.Minute))
		for range 3 {
			if _, err := s.propose(newKey(t)); err != nil {
				t.Fatal(err)
			}
		}
		if _, held := p.relay.r.ByNonce(first); !held {
			t.Fatalf("the first proposal was dropped after %d minutes", minutes)
		}
	}
	p.relay.ahead.Store(int64(31 * time.Minute))
	for range 11 {
		_, _ = s.propose(newKey(t))
	}
	if _, held := p.relay.r.ByNonce(first); held {
		t.Fatal("the first proposal is held for ever")
	}
}
