package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoOwnNonces keeps the programs from making MuSig2 nonces by hand. A secret nonce that signs twice
// gives the private key away, and the library stops that only within one of its sessions, with the
// randomness that it draws itself. Tests may sign by hand, for vectors with known nonces, but not feed a
// session with a nonce of its own.
func TestNoOwnNonces(t *testing.T) {
	never := map[string]bool{"WithPreGeneratedNonce": true, "WithCustomRand": true}
	byHand := map[string]bool{"musig2.Sign": true, "musig2.GenNonces": true, "musig2.WithFastSign": true, "musig2.WithEarlyNonceGen": true}
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		files++
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, _ := s.X.(*ast.Ident)
			hand := x != nil && byHand[x.Name+"."+s.Sel.Name] && !strings.HasSuffix(path, "_test.go")
			if never[s.Sel.Name] || hand {
				t.Errorf("%s uses %s: nonces come from the library's sessions only", path, s.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("only %d files were looked at", files)
	}
}
