package usage

import (
	"testing"

	"relaymarket/internal/code"
)

func TestLimitsRoundTrip(t *testing.T) {
	want := DefaultLimits()
	raw := want.Encode()
	got, err := DecodeLimits(raw)
	if err != nil || got != want {
		t.Fatalf("%+v %v", got, err)
	}
	if len(raw) != 42 {
		t.Errorf("limits have %d bytes; the 1 KiB of the handshake counts on 42", len(raw))
	}
}

func TestLimitsRefuse(t *testing.T) {
	for name, spoil := range map[string]func(*Limits){
		"frame of nothing":     func(l *Limits) { l.MaxFrame = 0 },
		"frame of everything":  func(l *Limits) { l.MaxFrame = 1 << 31 },
		"content over a frame": func(l *Limits) { l.MaxFrame = LimitMinFrame },
		"no content":           func(l *Limits) { l.MaxContent = 0 },
		"nothing in flight":    func(l *Limits) { l.MaxInFlight = 0 },
		"no page":              func(l *Limits) { l.MaxPage = 0 },
		"endless page":         func(l *Limits) { l.MaxPage = 65535 },
		"no bundle":            func(l *Limits) { l.MaxBundle = 0 },
		"no pulls":             func(l *Limits) { l.MaxPulls = 0 },
		"no session per key":   func(l *Limits) { l.SessionsPerKey = 0 },
		"no session per addr":  func(l *Limits) { l.SessionsPerAddress = 0 },
		"a minute of life":     func(l *Limits) { l.MaxTTL = 60 },
	} {
		l := DefaultLimits()
		spoil(&l)
		if _, err := DecodeLimits(l.Encode()); code.Of(err) != code.BadAmount {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeLimits([]byte{0, 1, 1}); code.Of(err) != code.Malformed {
		t.Errorf("garbage: %v", err)
	}
}

func FuzzDecodeLimits(f *testing.F) {
	f.Add(DefaultLimits().Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if l, err := DecodeLimits(raw); err == nil && string(l.Encode()) != string(raw) {
			t.Fatalf("%x reads as %+v", raw, l)
		}
	})
}
