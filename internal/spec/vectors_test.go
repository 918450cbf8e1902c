package spec

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"relaymarket/internal/code"
)

var update = flag.Bool("update", false, "write testdata/vectors again")

var vectorDir = filepath.Join(root, "testdata", "vectors")

// lists are vector files of other packages, with forms of their own.
var lists = map[string]bool{"cost.json": true, "offer.json": true}

// values are the named inputs or outputs of a vector.
type values map[string]any

// vector is one file: what is to be done with which input, and what must come of it.
type vector struct {
	What   string `json:"what"`
	Kind   string `json:"kind"`
	Expect string `json:"expect"`
	In     values `json:"in"`
	Out    values `json:"out,omitempty"`

	path string // below testdata/vectors, without .json
}

// verdict is the name of an error's code; "refused" for errors that never travel.
func verdict(err error) string {
	var coded *code.Error
	if err == nil || errors.As(err, &coded) {
		return code.Of(err).String()
	}
	return "refused"
}

// decide does what a vector says, by the public functions alone.
func (v vector) decide(t *testing.T) (string, values) {
	t.Helper()
	f, ok := deciders[v.Kind]
	if !ok {
		t.Fatalf("%s: kind %q is unknown", v.path, v.Kind)
	}
	out, err := f(input{t, v.In})
	if err != nil {
		return verdict(err), nil
	}
	return "ok", out
}

func (v vector) encode(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readVector(t *testing.T, path string) vector {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(vectorDir, path+".json"))
	if err != nil {
		t.Fatalf("%v; make it with -update", err)
	}
	v := vector{path: path}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

// TestVectors makes every vector, checks that it is decided as its maker says, and compares it
// with the file. With -update it writes the files.
func TestVectors(t *testing.T) {
	made := map[string]bool{}
	for _, v := range allVectors(t) {
		if made[v.path] {
			t.Fatalf("%s is made twice", v.path)
		}
		made[v.path] = true
		got, out := v.decide(t)
		if got != v.Expect {
			t.Errorf("%s (%s): %s, expected %s", v.path, v.What, got, v.Expect)
			continue
		}
		v.Out = out
		keepOrCompare(t, v)
	}
	for _, path := range onDisk(t) {
		if !made[path] && *update {
			if err := os.Remove(filepath.Join(vectorDir, path+".json")); err != nil {
				t.Fatal(err)
			}
		} else if !made[path] {
			t.Errorf("%s is a file that nothing makes", path)
		}
	}
}

// keepOrCompare writes a vector, or compares it with its file. A sealed one is never the same
// twice: its file is kept as long as it is decided as it says.
func keepOrCompare(t *testing.T, v vector) {
	t.Helper()
	file := filepath.Join(vectorDir, v.path+".json")
	raw, err := os.ReadFile(file)
	if v.Kind == "sealed" && err == nil {
		old := readVector(t, v.path)
		if got, out := old.decide(t); got == v.Expect && old.Expect == v.Expect && same(t, out, old.Out) {
			return
		}
	}
	want := v.encode(t)
	switch {
	case *update:
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	case err != nil:
		t.Errorf("%v; make it with -update", err)
	case !bytes.Equal(raw, want):
		t.Errorf("%s: this version makes another vector; a change of the wire form needs -update and a word in PROTOCOL.md", v.path)
	}
}

func same(t *testing.T, a, b values) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}

// TestVectorFiles decides every file as a stranger would, from nothing but the file.
func TestVectorFiles(t *testing.T) {
	kinds := map[string]bool{}
	for _, path := range onDisk(t) {
		v := readVector(t, path)
		kinds[v.Kind] = true
		got, out := v.decide(t)
		if got != v.Expect || !same(t, out, v.Out) {
			t.Errorf("%s: decided as %s %v, the file says %s %v", path, got, out, v.Expect, v.Out)
		}
	}
	for _, row := range take(t, "vectors").rows {
		if !kinds[row[0]] {
			t.Errorf("no vector of kind %q", row[0])
		}
		delete(kinds, row[0])
	}
	for k := range kinds {
		t.Errorf("kind %q is not in PROTOCOL.md", k)
	}
}

// onDisk lists the vector files by their path without suffix.
func onDisk(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(vectorDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(vectorDir, path)
		if err == nil && !lists[name] {
			out = append(out, strings.TrimSuffix(filepath.ToSlash(name), ".json"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return out
}

// input reads named inputs; one that is missing or of another form fails the test.
type input struct {
	t *testing.T
	v values
}

func (in input) text(name string) string {
	in.t.Helper()
	s, ok := in.v[name].(string)
	if !ok {
		in.t.Fatalf("input %q is no string", name)
	}
	return s
}

func (in input) bytes(name string) []byte {
	in.t.Helper()
	return in.hex(in.text(name))
}

func (in input) hex(s string) []byte {
	in.t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		in.t.Fatal(err)
	}
	return b
}

func (in input) fixed(name string) (out [32]byte) {
	in.t.Helper()
	if copy(out[:], in.bytes(name)) != 32 {
		in.t.Fatalf("input %q has not 32 bytes", name)
	}
	return out
}

func (in input) number(name string) uint64 {
	in.t.Helper()
	switch n := in.v[name].(type) {
	case uint64:
		return n
	case json.Number:
		return parse(in.t, n.String())
	}
	in.t.Fatalf("input %q is no number", name)
	return 0
}

func (in input) list(name string) []any {
	in.t.Helper()
	switch l := in.v[name].(type) {
	case []any:
		return l
	case []string:
		out := make([]any, len(l))
		for i := range l {
			out[i] = l[i]
		}
		return out
	}
	in.t.Fatalf("input %q is no list", name)
	return nil
}

func (in input) hexList(name string) [][]byte {
	in.t.Helper()
	var out [][]byte
	for _, x := range in.list(name) {
		s, ok := x.(string)
		if !ok {
			in.t.Fatalf("input %q is no list of strings", name)
		}
		out = append(out, in.hex(s))
	}
	return out
}

func hexAll[T ~[32]byte](ds []T) []string {
	out := make([]string, len(ds))
	for i, d := range ds {
		out[i] = hex.EncodeToString(d[:])
	}
	return out
}
