package records

import (
	"strings"
	"testing"

	"relaymarket/internal/code"
)

func TestRecoveryContent(t *testing.T) {
	content, err := RecoveryContent("relaymarket-recovery:AbC_-9")
	if err != nil || SuiteOf(content) != SuiteRecovery {
		t.Fatalf("%x %v", content, err)
	}
	if text, err := ParseRecoveryContent(content); err != nil || text != "relaymarket-recovery:AbC_-9" {
		t.Fatalf("%q %v", text, err)
	}
	for text, want := range map[string]code.Code{
		"": code.Malformed, "two lines\n": code.Malformed, "\u00e9": code.Malformed, strings.Repeat("x", MaxRecoveryText+1): code.TooLarge,
	} {
		_, err := RecoveryContent(text)
		wantCode(t, err, want)
	}
	for _, content := range [][]byte{nil, {byte(SuiteMessage), 'x'}, {byte(SuiteChunk), 'x'}} {
		_, err := ParseRecoveryContent(content)
		wantCode(t, err, code.Unsupported)
	}
	_, err = ParseSealed(append(content, make([]byte, 100)...))
	wantCode(t, err, code.Unsupported) // no agent shows it as a message
}

func FuzzRecoveryContent(f *testing.F) {
	f.Add([]byte("\x03relaymarket-recovery:AbC"))
	f.Add([]byte{3})
	f.Fuzz(func(t *testing.T, content []byte) {
		text, err := ParseRecoveryContent(content)
		if err != nil {
			return
		}
		if again, err := RecoveryContent(text); err != nil || string(again) != string(content) {
			t.Fatalf("%q becomes %x, %v", text, again, err)
		}
	})
}
