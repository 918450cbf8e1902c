package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"pgregory.net/rapid"
	"rsc.io/qr"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

func TestSizesTimesAndSums(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "300": 300, "300B": 300, "5MiB": 5 << 20, "5 mib": 5 << 20, "1.5GiB": 3 << 29, "20MB": 20_000_000,
		"1kb": 1000, "2TiB": 2 << 40, "18446744073709551615": 1<<64 - 1,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d %v, not %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1e99", "NaN", "Inf", "5 apples", "99999999999TiB", "0x10", "1_000"} {
		if got, err := parseSize(text); code.Of(err) != code.BadArgument {
			t.Errorf("size %q: %d %v", text, got, err)
		}
	}
	for text, want := range map[string]uint32{"90": 90, "90s": 90, "30m": 1800, "12h": 43200, "30d": 2592000, "2w": 1209600} {
		if got, err := parseSeconds(text); err != nil || got != want {
			t.Errorf("%q: %d %v, not %d", text, got, err, want)
		}
	}
	for text, want := range map[string]uint32{"": 0, "4320": 4320, "30d": 4320, "4w": 4032, "1y": 52560} {
		if got, err := parseBlocks(text); err != nil || uint32(got) != want {
			t.Errorf("%q: %d %v, not %d", text, got, err, want)
		}
	}
	if got, err := parseSat("1,234,567"); err != nil || got != 1234567 {
		t.Errorf("sat: %d %v", got, err)
	}
	for _, text := range []string{"", "1.5", "-3", "2100000000000001", "x"} {
		if _, err := parseSat(text); code.Of(err) != code.BadArgument {
			t.Errorf("sat %q: %v", text, err)
		}
	}
}

// FuzzSize: no text makes a panic, and what is printed is read back within its precision.
func FuzzSize(f *testing.F) {
	f.Add("5MiB")
	f.Add("1.5")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseSize(text)
		if err != nil {
			return
		}
		again, err := parseSize(strings.ReplaceAll(formatSize(n), " ", ""))
		if err != nil || n < 1024 && again != n {
			t.Fatalf("%q is %d, printed %q, read back %d %v", text, n, formatSize(n), again, err)
		}
	})
}

func TestSeconds(t *testing.T) {
	for s, want := range map[uint64]string{0: "0s", 59: "59s", 90: "1m 30s", 3600: "1h", 86400: "1d", 90061: "1d 1h", 86460: "1d"} {
		if got := formatSeconds(s); got != want {
			t.Errorf("%d: %q, not %q", s, got, want)
		}
	}
}

func TestForeignTextCannotPlayWithTheTerminal(t *testing.T) {
	evil := "a\x1b[2Jb\rc\u202ed\x07e\u2028f\u009bg\nh"
	if got := clean(evil); strings.ContainsAny(got, "\x1b\r\u202e\x07\u2028\u009b\n") || !strings.Contains(got, "a") {
		t.Errorf("clean: %q", got)
	}
	if got := cleanLines(evil); strings.ContainsAny(got, "\x1b\r\u202e\x07\u2028\u009b") || !strings.Contains(got, "\n") {
		t.Errorf("cleanLines: %q", got)
	}
	if got := clean("grüße, 世界 ✓"); got != "grüße, 世界 ✓" {
		t.Errorf("honest text became %q", got)
	}
	var out bytes.Buffer
	m := client.Message{PeerLabel: evil, Preview: evil, Body: []byte(evil), State: "new", Attachments: []client.Attachment{{Name: evil, MediaType: evil}}}
	printMessage(&out, m)
	printMessages(&out, []client.Message{m}, "from")
	printContacts(&out, []client.Contact{{Label: evil, Warning: evil}})
	if strings.ContainsAny(out.String(), "\x1b\u202e\x07\u2028\u009b") {
		t.Errorf("printed: %q", out.String())
	}
}

// TestAttachmentsStayInTheirDirectory: a sender chooses names, but not places.
func TestAttachmentsStayInTheirDirectory(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"../../etc/passwd", "/etc/passwd", `..\..\x`, ".", "..", "", ".bashrc", "a/b", strings.Repeat("x", 300), "C:\\x", "a\x00b",
		})).Draw(t, "name")
		safe := safeName(name, 0)
		if safe == "" || safe != filepath.Base(safe) || strings.HasPrefix(safe, ".") || filepath.Dir(filepath.Join(dir, safe)) != dir {
			t.Fatalf("%q became %q", name, safe)
		}
	})
	for range 3 {
		if _, err := saveAttachments(dir, []client.Attachment{{Name: "../a.txt", Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("files: %v %v", files, err)
	}
}

// TestQRIsDrawnTrue reads the drawing back.
func TestQRIsDrawnTrue(t *testing.T) {
	c, err := qr.Encode("relayid:rk1example?d=abc", qr.L)
	if err != nil {
		t.Fatal(err)
	}
	for _, invert := range []bool{false, true} {
		var out bytes.Buffer
		drawQR(&out, c.Size, c.Black, invert)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		for y := range c.Size + 2*quiet {
			row := []rune(lines[y/2])
			if len(row) != c.Size+2*quiet {
				t.Fatalf("line %d has %d modules", y/2, len(row))
			}
			for x, r := range row {
				lit := r == '█' || r == '▀' && y%2 == 0 || r == '▄' && y%2 == 1
				if lit != (c.Black(x-quiet, y-quiet) == invert) {
					t.Fatalf("module %d,%d", x, y)
				}
			}
		}
	}
}

// TestEveryCommandExplainsItself: a person can work from --help alone.
func TestEveryCommandExplainsItself(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || len(c.Short) > 90 {
			t.Errorf("%s: its short help has %d letters", c.CommandPath(), len(c.Short))
		}
		if strings.Contains(c.Use, " ") && c.Example == "" && len(c.Commands()) == 0 && !strings.Contains("show drop", c.Name()) {
			t.Errorf("%s takes arguments and shows no example", c.CommandPath())
		}
		for _, line := range strings.Split(c.Example, "\n") {
			if line != "" && !strings.Contains(line, "relay-client") {
				t.Errorf("%s: example %q", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root(&options{}))
}

func TestExitCodes(t *testing.T) {
	for c, want := range map[code.Code]int{
		code.Internal: 1, code.Malformed: 1, code.BadArgument: 2, code.UnknownContact: 2, code.NotInitialised: 3, code.BadConfig: 3,
		code.ChainUnavailable: 4, code.Disconnected: 4, code.AlreadyRunning: 4, code.Declined: 5, code.NotEnoughCoins: 6, code.PriceTooHigh: 6,
	} {
		if got := exitCode(code.New(c, "x")); got != want {
			t.Errorf("%s: %d, not %d", c, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	if formatTime(0) != "—" || formatTime(identity.UnixMilli(time.Now().UnixMilli())) == "—" {
		t.Error("a time that is not known is a dash")
	}
}
