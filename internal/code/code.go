// Package code owns the registry of error codes: every failure that a person or a peer can
// meet has a name, a number that is never reused, a word on whether trying again can help,
// and a hint that says what to do next.
//
// Inside the program an error is an ordinary Go error that wraps an *Error; on the wire only
// number and text travel. Two errors are "the same" when their codes are, so callers write
//
//	if code.Of(err) == code.NoFunds { … }
//
// The table below is the only place with numbers. PROTOCOL.md prints it and a test compares
// the two.
package code

import (
	"errors"
	"fmt"
)

// Code is the number of an error as it travels on the wire. Zero is no error.
type Code uint16

// Error is a coded error: what failed (Code), a sentence about this instance (Text) and the
// underlying cause, which never leaves the process.
type Error struct {
	Code  Code
	Text  string
	cause error
}

// New makes a coded error with a formatted text.
func New(c Code, format string, args ...any) error {
	return &Error{Code: c, Text: fmt.Sprintf(format, args...)}
}

// Wrap makes a coded error around a cause. A nil cause gives nil, so that a call can be
// wrapped in one line.
func Wrap(c Code, cause error, format string, args ...any) error {
	if cause == nil {
		return nil
	}
	return &Error{Code: c, Text: fmt.Sprintf(format, args...), cause: cause}
}

// Error gives the text with the name of the code before it and the cause behind it.
func (e *Error) Error() string {
	s := e.Code.String()
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is compares codes only, so that errors.Is works with a bare code as target.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Of finds the code of an error; errors without one are Internal, nil is OK.
func Of(err error) Code {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}

// Text is the sentence of the outermost coded error, without code name and cause: what may
// be shown to a peer.
func Text(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Text
	}
	return ""
}

// Explain is the whole story of an error for its owner: texts and causes, outermost first, without
// the names of codes in between, which a person does not want to read.
func Explain(err error) string {
	e, ok := err.(*Error) // this layer only: what lies below is explained in turn
	switch {
	case err == nil:
		return ""
	case !ok:
		return err.Error()
	case e.cause == nil:
		return e.Text
	case e.Text == "":
		return Explain(e.cause)
	}
	return e.Text + ": " + Explain(e.cause)
}

// String is the code's registered name, or code(N) for a number this version does not know.
func (c Code) String() string {
	if r, ok := registry[c]; ok {
		return r.Name
	}
	return fmt.Sprintf("code(%d)", uint16(c))
}

// Retryable tells whether the same request can succeed later without being changed.
func (c Code) Retryable() bool { return registry[c].Retryable }

// Hint says what to do next, as a sentence for a person; empty for an unknown code.
func (c Code) Hint() string { return registry[c].Hint }

// Entry is one row of the registry.
type Entry struct {
	Code      Code
	Name      string
	Retryable bool
	Hint      string
}

// All lists the registry in ascending order of number.
func All() []Entry {
	out := make([]Entry, len(table))
	copy(out, table)
	return out
}

var registry = index(table)

func index(rows []Entry) map[Code]Entry {
	m := make(map[Code]Entry, len(rows))
	for _, r := range rows {
		m[r.Code] = r
	}
	return m
}
