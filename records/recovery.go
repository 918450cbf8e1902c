package records

import (
	"relaymarket/internal/code"
)

// SuiteRecovery: a text that is sealed by the phrase of its owner, in a record from the owner to the owner. Nothing but
// the phrase opens it, because the owner's sealing keys may be lost with everything else.
const SuiteRecovery Suite = 3

// MaxRecoveryText bounds the text in a content of SuiteRecovery, in bytes.
const MaxRecoveryText = 4096

// RecoveryContent is the content of a record that keeps a sealed text: suite u8 = 3 ‖ the text in printable ASCII.
// Code TooLarge or Malformed for what is no such text.
func RecoveryContent(text string) ([]byte, error) {
	content := append([]byte{byte(SuiteRecovery)}, text...)
	_, err := ParseRecoveryContent(content)
	return content, err
}

// ParseRecoveryContent reads the sealed text from a content. Codes Unsupported (another suite), TooLarge and Malformed.
func ParseRecoveryContent(content []byte) (string, error) {
	if SuiteOf(content) != SuiteRecovery {
		return "", code.New(code.Unsupported, "not a recovery")
	}
	text := content[1:]
	if len(text) == 0 {
		return "", code.New(code.Malformed, "an empty recovery")
	}
	if len(text) > MaxRecoveryText {
		return "", code.New(code.TooLarge, "a recovery of %d bytes", len(text))
	}
	for _, b := range text {
		if b <= ' ' || b > '~' {
			return "", code.New(code.Malformed, "a recovery is printable text in one line")
		}
	}
	return string(text), nil
}
