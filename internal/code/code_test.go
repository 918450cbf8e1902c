package code

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestRegistryIsSound(t *testing.T) {
	names := map[string]bool{}
	last := -1
	for _, e := range All() {
		if int(e.Code) <= last {
			t.Errorf("%s: number %d is not above %d", e.Name, e.Code, last)
		}
		last = int(e.Code)
		if names[e.Name] {
			t.Errorf("name %s is used twice", e.Name)
		}
		names[e.Name] = true
		if e.Hint == "" {
			t.Errorf("%s has no hint", e.Name)
		}
	}
}

func TestOfFindsTheOutermostCode(t *testing.T) {
	inner := New(Malformed, "byte %d", 7)
	outer := fmt.Errorf("reading: %w", Wrap(Internal, inner, "store"))
	if got := Of(outer); got != Internal {
		t.Fatalf("Of = %v", got)
	}
	if Of(nil) != OK || Of(io.EOF) != Internal {
		t.Fatal("nil is OK and foreign errors are Internal")
	}
	if !errors.Is(outer, &Error{Code: Malformed}) {
		t.Fatal("a wrapped code must be found by errors.Is")
	}
	if Wrap(Internal, nil, "x") != nil {
		t.Fatal("wrapping nil must give nil")
	}
}

func TestTextHidesTheCause(t *testing.T) {
	err := Wrap(BadState, errors.New("secret path"), "cannot pay")
	if Text(err) != "cannot pay" {
		t.Fatalf("Text = %q", Text(err))
	}
	if Text(io.EOF) != "" {
		t.Fatal("foreign errors have no text for peers")
	}
}

func TestExplainTellsAllWithoutNames(t *testing.T) {
	inner := Wrap(Malformed, errors.New("byte 7"), "header")
	for want, err := range map[string]error{
		"":                        nil,
		"EOF":                     io.EOF,
		"no pay: header: byte 7":  Wrap(BadState, inner, "no pay"),
		"header: byte 7":          Wrap(BadState, inner, ""),
		"sum":                     New(BadAmount, "sum"),
		"outside: malformed: sum": fmt.Errorf("outside: %w", New(Malformed, "sum")),
	} {
		if got := Explain(err); got != want {
			t.Errorf("%v: %q, not %q", err, got, want)
		}
	}
}
