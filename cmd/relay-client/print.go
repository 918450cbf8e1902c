package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"relaymarket/identity"
	"relaymarket/usage"
)

// clean takes out of somebody else's text what could forge lines, move the cursor or reverse the
// order of letters on a terminal. Line breaks become spaces.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		return visible(r)
	}, s)
}

// cleanLines is clean for text of several lines.
func cleanLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if r == '\r' {
			return -1
		}
		return visible(r)
	}, s)
}

func visible(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029 {
		return '\ufffd'
	}
	return r
}

// formatSize writes bytes: 300 B, 5.0 MiB.
func formatSize(n uint64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n) / 1024
	for i, u := range units {
		if v < 1024 || i == len(units)-1 {
			return fmt.Sprintf("%.1f %s", v, u)
		}
		v /= 1024
	}
	return ""
}

// formatSeconds writes a length of time in its two largest units: 30d, 1h 30m.
func formatSeconds(s uint64) string {
	units := []unit{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}
	var out []string
	for _, u := range units {
		if n := s / u.by; n > 0 && len(out) < 2 {
			out = append(out, fmt.Sprintf("%d%s", n, u.name))
			s -= n * u.by
		} else if len(out) > 0 {
			break
		}
	}
	if len(out) == 0 {
		return "0s"
	}
	return strings.Join(out, " ")
}

// formatTime writes a time for a person, in the zone of this machine.
func formatTime(t identity.UnixMilli) string {
	if t == 0 {
		return "—"
	}
	return time.UnixMilli(int64(t)).Format("2006-01-02 15:04")
}

// formatBlocks writes a number of blocks with the time that they take on average.
func formatBlocks(n usage.Height) string {
	return fmt.Sprintf("%d blocks (about %s)", n, formatSeconds(uint64(n)*600))
}

// table aligns columns; it must be flushed.
func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 2, 8, 2, ' ', 0) }

// short is the beginning of a digest or contract id, which commands accept in its place.
func short(s fmt.Stringer) string { return s.String()[:12] }

// or gives the first text that is not empty.
func or(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
