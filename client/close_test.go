package client

import (
	"strings"
	"testing"

	"relaymarket/contract"
	"relaymarket/internal/code"
)

// TestLeafAfterTheKeyPath: the leaf is used where the key path fails for a reason of its own, never where
// the close itself is refused, and never when the user asked for the key path only.
func TestLeafAfterTheKeyPath(t *testing.T) {
	for name, x := range map[string]struct {
		how       string
		key       code.Code
		key1st    bool // the key path is tried
		leaf      bool // then the leaf
		want      code.Code
		explained bool
	}{
		"all is well":            {"", code.OK, true, false, code.OK, false},
		"a bad share":            {"", code.BadPartial, true, true, code.OK, true},
		"a bad nonce":            {"", code.BadNonce, true, true, code.OK, true},
		"an older relay":         {"", code.Malformed, true, true, code.OK, true},
		"no answer":              {"", code.Timeout, true, true, code.OK, true},
		"too little":             {"", code.PaymentTooLow, true, false, code.PaymentTooLow, false},
		"too late":               {"", code.BadDeadline, true, false, code.BadDeadline, false},
		"refused by the node":    {"", code.ChainRejected, true, false, code.ChainRejected, false},
		"only the key path":      {CloseKeyPath, code.BadPartial, true, false, code.BadPartial, false},
		"only by refund payment": {CloseRefundPayment, code.OK, false, true, code.OK, false},
	} {
		t.Run(name, func(t *testing.T) {
			var key, leaf bool
			_, note, err := closeBy(x.how, func() (contract.Contract, error) {
				key = true
				if x.key == code.OK {
					return contract.Contract{}, nil
				}
				return contract.Contract{}, code.New(x.key, "as the test wants")
			}, func() (contract.Contract, error) { leaf = true; return contract.Contract{}, nil })
			if key != x.key1st || leaf != x.leaf || code.Of(err) != x.want || strings.Contains(note, x.key.String()) != x.explained {
				t.Fatalf("key path %v, leaf %v, %q, %v", key, leaf, note, err)
			}
		})
	}
}
