// Package archtest holds the tests that keep the house in order: the import table and the
// doors of ARCHITECTURE.md, the purity of ring 0, package docs and sizes.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	module = "relaymarket"
	root   = "../.."
)

type row struct {
	ring string
	may  map[string]bool
	all  bool
}

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Doc        string
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func document(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// table reads the rows of the import table: | `package` | ring | may import | owns |.
func table(t *testing.T) map[string]row {
	t.Helper()
	re := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([0-3]) \\|([^|]*)\\|")
	rows := map[string]row{}
	for _, m := range re.FindAllStringSubmatch(document(t), -1) {
		r := row{ring: m[2], may: map[string]bool{}, all: strings.TrimSpace(m[3]) == "*"}
		for _, p := range strings.Fields(m[3]) {
			r.may[p] = true
		}
		rows[m[1]] = r
	}
	if len(rows) < 10 {
		t.Fatalf("only %d rows were found in the import table", len(rows))
	}
	return rows
}

// doors reads the table of foreign packages with one door each.
func doors(t *testing.T) map[string]string {
	t.Helper()
	re := regexp.MustCompile("(?m)^\\| `([a-z.]+\\.[a-z]+/[^`]+)` \\| ([^|]+) \\|$")
	out := map[string]string{}
	for _, m := range re.FindAllStringSubmatch(document(t), -1) {
		out[m[1]] = m[2]
	}
	if len(out) < 5 {
		t.Fatalf("only %d doors were found", len(out))
	}
	return out
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Doc", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportTable(t *testing.T) {
	rows := table(t)
	for _, p := range packages(t) {
		r, ok := rows[p.name()]
		if !ok {
			t.Errorf("%s has no row in the import table of ARCHITECTURE.md", p.name())
			continue
		}
		for _, imp := range p.Imports {
			own, ok := strings.CutPrefix(imp, module+"/")
			if ok && !r.all && !r.may[own] {
				t.Errorf("%s imports %s, which its row does not allow", p.name(), own)
			}
		}
	}
}

func TestDoors(t *testing.T) {
	ds := doors(t)
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for foreign, only := range ds {
				if (imp == foreign || strings.HasPrefix(imp, foreign+"/")) && !contains(strings.Fields(only), p.name()) {
					t.Errorf("%s imports %s; only %s may", p.name(), imp, only)
				}
			}
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// TestPureRing looks into the source of ring 0 for what would make it impure.
func TestPureRing(t *testing.T) {
	forbidden := strings.Fields("net net/http os log log/slog crypto/rand math/rand math/rand/v2")
	rows := table(t)
	for _, p := range packages(t) {
		if rows[p.name()].ring != "0" {
			continue
		}
		for _, imp := range p.Imports {
			if contains(forbidden, imp) {
				t.Errorf("%s is pure and imports %s", p.name(), imp)
			}
		}
		for _, f := range p.GoFiles {
			checkPure(t, filepath.Join(p.Dir, f))
		}
	}
}

func checkPure(t *testing.T, path string) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: ring 0 starts no goroutine", fset.Position(n.Pos()))
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name == "Now" {
				t.Errorf("%s: ring 0 reads no clock", fset.Position(n.Pos()))
			}
		}
		return true
	})
}

func TestPackageDocsAndSizes(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package doc", p.name())
		}
		for _, f := range p.GoFiles {
			checkSizes(t, filepath.Join(p.Dir, f))
		}
	}
}

func checkSizes(t *testing.T, path string) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if n := fset.Position(file.End()).Line; n > 400 && !ast.IsGenerated(file) {
		t.Errorf("%s has %d lines, allowed are 400", path, n)
	}
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > 80 {
			t.Errorf("%s: %s has %d lines, allowed are 80", path, fn.Name.Name, n)
		}
		if fn.Name.IsExported() && fn.Doc == nil && exportedReceiver(fn) {
			t.Errorf("%s: %s has no doc comment", path, fn.Name.Name)
		}
	}
}

// exportedReceiver tells whether a function or method can be seen from outside its package.
func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}
