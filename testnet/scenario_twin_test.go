package testnet

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// twins is for long hunts: go test -run TestTwins -twins 200 ./testnet.
var twins = flag.Uint64("twins", 3, "how many disturbed lives TestTwins lives")

// TestTwins lives testdata/twin.txt with trouble that depends on a seed alone. What is told before the command
// `ending` may differ from the calm life, what is told after it may not.
func TestTwins(t *testing.T) {
	text, err := os.ReadFile("testdata/twin.txt")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range *twins {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s, ctx := testScenario(t)
			u := &trouble{s: s, dice: rand.New(rand.NewPCG(seed, 0))}
			datadriven.RunTestFromString(t, string(text), func(t *testing.T, d *datadriven.TestData) string {
				if d.Cmd == "ending" {
					u.over = true
				}
				if u.over {
					return play(t, ctx, s, d)
				}
				u.live(t, ctx, d)
				return d.Expected
			})
		})
	}
}

// trouble is what befalls a twin.
type trouble struct {
	s    *Scenario
	dice *rand.Rand
	over bool
	open bool // the contract is open: there is something to disturb
}

// mishaps come between two steps.
var mishaps = []string{
	"crash ada", "crash bob", "crash ada bob", "restart ada", "restart bob", "bounce amber", "bounce birch", "bounce amber birch", "",
	"reorg 1 2", "reorg 2 3", "reorg 3 4",
}

// shaky are steps during which cables are cut, for a moment and more than once: those that an agent goes on with by
// itself once the cable is whole.
var shaky = []string{"send", "inbox", "outbox", "online"}

// live does one step between mishaps. A person whose command fails repeats it.
func (u *trouble) live(t *testing.T, ctx context.Context, d *datadriven.TestData) {
	t.Helper()
	if u.open {
		u.befall(t, ctx, mishaps[u.dice.IntN(len(mishaps))])
	}
	var out string
	for range 20 {
		calm := func() {}
		if u.open && slices.Contains(shaky, d.Cmd) {
			calm = u.shake()
		}
		out = play(t, ctx, u.s, d)
		calm()
		if !strings.HasPrefix(out, "error") || strings.HasPrefix(d.Expected, "error") || d.Cmd == "close" && strings.HasSuffix(out, "bad_state") {
			break
		}
		t.Logf("%s: %s %v: %s; once more", d.Pos, d.Cmd, d.CmdArgs, out)
		time.Sleep(50 * time.Millisecond)
	}
	u.open = u.open || d.Cmd == "know"
}

// befall does one mishap. Whoever is offline stays so.
func (u *trouble) befall(t *testing.T, ctx context.Context, what string) {
	t.Helper()
	words := strings.Fields(what)
	if len(words) == 0 {
		return
	}
	t.Log("trouble:", what)
	c := Command{Name: words[0], Args: words[1:]}
	if c.Name == "crash" || c.Name == "restart" {
		c.Args = slices.DeleteFunc(c.Args, func(name string) bool { return u.s.w.clients[name].agent == nil })
	}
	todo := []Command{c}
	if c.Name == "bounce" {
		todo = []Command{{Name: "stop", Args: c.Args}, {Name: "start", Args: c.Args}}
	}
	for _, c := range todo {
		if out, err := u.s.Run(ctx, c); err != nil || strings.HasPrefix(out, "error") {
			t.Fatalf("%v: %s %v", c, out, err)
		}
	}
}

// shake cuts and heals the cables of both relays until it is told to stop; then all are whole.
func (u *trouble) shake() (stop func()) {
	seed := u.dice.Uint64()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		dice := rand.New(rand.NewPCG(seed, 1))
		for range 4 {
			name := []string{"amber", "birch"}[dice.IntN(2)]
			u.pause(done, time.Duration(dice.IntN(20))*time.Millisecond)
			_ = u.s.w.Cut(name)
			u.pause(done, time.Duration(dice.IntN(30))*time.Millisecond)
			_ = u.s.w.Heal(name)
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

func (u *trouble) pause(done chan struct{}, d time.Duration) {
	select {
	case <-time.After(d):
	case <-done:
	}
}
