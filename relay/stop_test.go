package relay_test

import (
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"relaymarket/internal/code"
	"relaymarket/internal/message"
)

// TestStopUnderLoadAnswersWhatItAccepted stops a relay while four people write to it, each with
// many requests in flight. Every record that is stored must have been receipted to its sender, and
// the stop takes less than the ten seconds that the command promises.
func TestStopUnderLoadAnswersWhatItAccepted(t *testing.T) {
	dir, c := t.TempDir(), config(node(t))
	c.Offer.FreeBytesDay = 1 << 34
	r := start(t, dir, c)
	to := newPerson(t, r).key.Public()
	var people []*person
	var writing sync.WaitGroup
	receipts := make([]int, 4)
	var mu sync.Mutex
	begun := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Min(receipts) >= 5
	}
	for i := range receipts {
		p := newPerson(t, r)
		people = append(people, p)
		for range 6 {
			writing.Go(func() {
				content := make([]byte, 20_000)
				_, _ = rand.Read(content)
				for {
					_, err := call[*message.Written](p, p.draft(to, content))
					if err != nil {
						if got := code.Of(err); got != code.ShuttingDown && got != code.Disconnected {
							t.Errorf("a write during the stop: %v", err)
						}
						return
					}
					mu.Lock()
					receipts[i]++
					mu.Unlock()
				}
			})
		}
	}
	for !begun() {
		time.Sleep(20 * time.Millisecond)
	}
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the stop took %v", took)
	}
	writing.Wait()
	r = start(t, dir, c)
	for i, p := range people {
		p.connect(r)
		if stored := p.outbox(); stored != receipts[i] {
			t.Errorf("%d records are stored, %d receipts were given", stored, receipts[i])
		}
	}
}

// outbox counts what is stored of a sender.
func (p *person) outbox() int {
	p.t.Helper()
	n, after := 0, uint64(0)
	for {
		page := must[*message.InventoryPage](p, &message.Inventory{Role: message.RoleSender, After: after})
		if n += len(page.Rows); !page.More {
			return n
		}
		after = page.Through
	}
}
