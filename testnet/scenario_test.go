package testnet

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// fileTime bounds one scenario file, so that a hang is told with the command that hangs.
const fileTime = 2 * time.Minute

// logVariable makes everybody's log go to standard error when it is set: with -v, between the commands.
const logVariable = "SCENARIO_LOG"

// testScenario gives a test a world of its own, and a scenario in it.
func testScenario(t *testing.T) (*Scenario, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fileTime)
	t.Cleanup(cancel)
	log := slog.New(slog.DiscardHandler)
	if os.Getenv(logVariable) != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w, err := New(ctx, Options{Dir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return NewScenario(w), ctx
}

// commandOf translates what the file's reader gives: words are arguments, word=value an option, and
// so is delete_on_ack.
func commandOf(d *datadriven.TestData) Command {
	c := Command{Name: d.Cmd, Options: make(map[string]string), Text: d.Input}
	for _, a := range d.CmdArgs {
		switch {
		case len(a.Vals) > 0:
			c.Options[a.Key] = a.Vals[0]
		case a.Key == "delete_on_ack":
			c.Options[a.Key] = ""
		default:
			c.Args = append(c.Args, a.Key)
		}
	}
	return c
}

// play runs one command; a mistake in the file ends the test.
func play(t *testing.T, ctx context.Context, s *Scenario, d *datadriven.TestData) string {
	t.Helper()
	if d.Cmd == "ending" { // see TestTwins
		return "ok"
	}
	start := time.Now()
	out, err := s.Run(ctx, commandOf(d))
	if err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	if took := time.Since(start); took > time.Second {
		t.Logf("%s: %s %v took %s", d.Pos, d.Cmd, d.CmdArgs, took.Round(time.Millisecond))
	}
	if out == "" {
		out = "ok"
	}
	return out
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenario files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel() // a market mostly waits
			s, ctx := testScenario(t)
			datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string { return play(t, ctx, s, d) })
		})
	}
}
