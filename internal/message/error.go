package message

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Error answers any request that failed. Only code and sentence travel, never the cause.
type Error struct {
	Code       code.Code // not OK; may be a number that this version does not know
	Text       string    // UTF-8 without control characters, at most MaxText bytes
	RetryAfter uint32    // milliseconds to wait before trying again; 0 says nothing
}

// Type is the message's number.
func (*Error) Type() Type { return TypeError }

func (m *Error) fields() []codec.Field {
	return []codec.Field{
		codec.U16(0, &m.Code), codec.Optional(codec.String(2, &m.Text, 1, MaxText)),
		codec.Optional(codec.U32(4, &m.RetryAfter)),
	}
}

func (m *Error) pack() error { return m.unpack() }

func (m *Error) unpack() error {
	if m.Code == code.OK {
		return errors.New("an error with code ok")
	}
	return checkText(m.Text)
}

// checkText refuses sentences that could play tricks on a terminal or in a log.
func checkText(s string) error {
	if len(s) > MaxText || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("the text is not a plain sentence")
	}
	return nil
}

// plainText makes any string fit checkText.
func plainText(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	for len(s) > MaxText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// NewError is the message for an error: number and sentence of its coded error. An error
// without a code, or with code Internal, becomes Internal without a word, so that nothing of
// the inside is told to a peer.
func NewError(err error) *Error {
	r := NewResult(err)
	m := &Error{Code: r.Code, Text: r.Text}
	if m.Code == code.OK {
		m.Code = code.Internal
	}
	var retry *retryError
	if errors.As(err, &retry) {
		m.RetryAfter = retry.after
	}
	return m
}

// Err is the received error as a Go error: a coded error, around which WithRetry stands if
// the peer said when to try again.
func (m *Error) Err() error {
	return WithRetry(code.New(m.Code, "%s", m.Text), m.RetryAfter)
}

type retryError struct {
	error
	after uint32
}

// Unwrap gives the error without the wait.
func (e *retryError) Unwrap() error { return e.error }

// WithRetry adds to an error how many milliseconds to wait before trying again. Nil stays
// nil, and 0 adds nothing.
func WithRetry(err error, afterMs uint32) error {
	if err == nil || afterMs == 0 {
		return err
	}
	return &retryError{err, afterMs}
}

// RetryAfter is what WithRetry added, in milliseconds; 0 if nothing.
func RetryAfter(err error) uint32 {
	var retry *retryError
	if errors.As(err, &retry) {
		return retry.after
	}
	return 0
}

// Result is the outcome of one statement of a request that carries many. The zero value is
// success.
type Result struct {
	Code code.Code
	Text string
}

// NewResult is the outcome for an error; nil is success. The rules of NewError hold.
func NewResult(err error) Result {
	c := code.Of(err)
	if c == code.OK || c == code.Internal {
		return Result{Code: c}
	}
	return Result{c, plainText(code.Text(err))}
}

// Err is the outcome as a Go error, nil for success.
func (r Result) Err() error {
	if r.Code == code.OK {
		return nil
	}
	return code.New(r.Code, "%s", r.Text)
}

// packResults writes outcomes as u16 code ‖ text each; success is empty.
func packResults(rs []Result) ([][]byte, error) {
	out := make([][]byte, len(rs))
	for i, r := range rs {
		if r.Code == code.OK {
			if r.Text != "" {
				return nil, errors.New("a success with a text")
			}
			continue
		}
		if err := checkText(r.Text); err != nil {
			return nil, err
		}
		out[i] = append([]byte{byte(r.Code >> 8), byte(r.Code)}, r.Text...)
	}
	return out, nil
}

func unpackResults(raw [][]byte) ([]Result, error) {
	out := make([]Result, len(raw))
	for i, b := range raw {
		if len(b) == 0 {
			continue
		}
		if len(b) < 2 {
			return nil, errors.New("an outcome of one byte")
		}
		r := Result{code.Code(b[0])<<8 | code.Code(b[1]), string(b[2:])}
		if r.Code == code.OK {
			return nil, errors.New("an outcome with code ok is empty")
		}
		if err := checkText(r.Text); err != nil {
			return nil, err
		}
		out[i] = r
	}
	return out, nil
}
