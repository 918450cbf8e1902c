package evidence

import (
	"bytes"
	"flag"
	"runtime"
	"sync"
	"testing"

	"relaymarket/internal/code"
)

// classAt is where the class stands in a file: behind the magic, type and length.
const classAt = versionAt + 3

// every makes TestEveryByteMatters flip every byte of every story's file; without it, it flips a fifth of
// the bytes of one file of each class, others with each class.
var every = flag.Bool("every", false, "flip every byte of every proof")

// TestEveryByteMatters flips a bit of each byte of one proof of every class: none of these is proven any more. The one byte that may lead to another proof is the class: what
// shows two reports with one number can show two roots as well. Whatever it shows, it shows of the same
// culprit.
func TestEveryByteMatters(t *testing.T) {
	work := make(chan story)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := range work {
				flipAll(t, s)
			}
		})
	}
	done := map[Class]bool{}
	for _, s := range allStories() {
		if !done[s.class] || *every {
			done[s.class] = true
			work <- s
		}
	}
	close(work)
	wg.Wait()
}

func flipAll(t *testing.T, s story) {
	raw := must(s.tell(newWorld(t), true).Encode())(t)
	want := must(VerifyFile(raw))(t)
	for i := range raw {
		if !*every && i > 32 && (i+int(s.class))%5 != 0 {
			continue
		}
		bad := bytes.Clone(raw)
		bad[i] ^= 1 << (i % 8)
		f, err := VerifyFile(bad)
		switch c := code.Of(err); {
		case err == nil && i == classAt && f.Culprit == want.Culprit && f.Class != want.Class:
		case err == nil:
			t.Errorf("%s: byte %d of %d can be changed: %+v", s.name, i, len(raw), f)
		case c != code.NotProven && c != code.Malformed && c != code.Unsupported && c != code.TooLarge && c != code.WrongNetwork:
			t.Errorf("%s: byte %d gives %v", s.name, i, err)
		}
	}
}

// FuzzVerifyFile: no bytes make the verifier panic, and what it proves it proves again from the bytes that
// the proof itself writes.
func FuzzVerifyFile(f *testing.F) {
	done := map[Class]bool{}
	for _, s := range allStories() {
		if !done[s.class] {
			done[s.class] = true
			f.Add(must(s.tell(newWorld(f), true).Encode())(f))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Decode(raw)
		if err != nil {
			return
		}
		again, err := p.Encode()
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("a file has two forms: %v", err)
		}
		if f, err := Verify(p); err == nil && (f.Culprit.IsZero() || f.What == "") {
			t.Fatalf("proven of nobody: %+v", f)
		}
	})
}
