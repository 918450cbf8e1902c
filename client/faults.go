package client

import (
	"context"
	"errors"

	"relaymarket/internal/code"
)

// ownFault is a failure on this side, of the disk for example, while something was received: no
// relay is to blame, and nothing may be taken for received.
type ownFault struct{ error }

// Unwrap gives the failure itself.
func (f ownFault) Unwrap() error { return f.error }

// over tells whether an error means that the session has ended or never was, so that nothing more
// can be tried with it.
func over(err error) bool {
	var own ownFault
	if errors.As(err, &own) {
		return true
	}
	switch code.Of(err) {
	case code.Disconnected, code.ShuttingDown, code.Timeout, code.PinMismatch, code.WrongRelay, code.NoRelay, code.Unauthorized:
		return true
	}
	return errors.Is(err, context.Canceled)
}
