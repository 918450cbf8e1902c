package agentapi

import (
	"errors"
	"net/http"
	"strings"

	"relaymarket/internal/code"
)

// Fault is an error as it travels, and as the commands print it with --json.
type Fault struct {
	Code code.Code `json:"code"`
	Name string    `json:"name"`
	Text string    `json:"text"`
	Hint string    `json:"hint,omitempty"`
}

// FaultOf describes an error with its causes: whoever asks an agent is its owner, to whom
// nothing is hidden.
func FaultOf(err error) Fault {
	c := code.Of(err)
	return Fault{Code: c, Name: c.String(), Text: strings.TrimPrefix(code.Explain(err), c.String()+": "), Hint: c.Hint()}
}

// Err is the coded error that the fault describes.
func (f Fault) Err() error { return code.New(f.Code, "%s", f.Text) }

// status is the HTTP status of a fault, for people with curl; programs look at the code.
func (f Fault) status() int {
	switch f.Code {
	case code.NotFound, code.ContractUnknown, code.UnknownContact:
		return http.StatusNotFound
	case code.BadArgument, code.Malformed, code.BadPath, code.TooLarge:
		return http.StatusBadRequest
	case code.Internal:
		return http.StatusInternalServerError
	}
	if f.Code.Retryable() {
		return http.StatusServiceUnavailable
	}
	return http.StatusConflict
}

// tooLarge tells whether an error is that of a body beyond its bound.
func tooLarge(err error) bool {
	var e *http.MaxBytesError
	return errors.As(err, &e)
}
