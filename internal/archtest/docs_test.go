package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBadInputTableNamesRealTests fails when docs/bad-input.md names a test that does not exist.
func TestBadInputTableNamesRealTests(t *testing.T) { namesRealTests(t, "bad-input.md") }

// TestContractFaultsTableIsComplete fails when docs/contract-faults.md leaves out one of the 45 faults or 41
// checks, or names a test that does not exist.
func TestContractFaultsTableIsComplete(t *testing.T) {
	namesRealTests(t, "contract-faults.md")
	raw, err := os.ReadFile(filepath.Join(root, "docs", "contract-faults.md"))
	if err != nil {
		t.Fatal(err)
	}
	faults, checks, _ := strings.Cut(string(raw), "## Checks")
	for _, part := range []struct {
		name, text string
		rows       int
	}{{"fault", faults, 45}, {"check", checks, 41}} {
		for n := 1; n <= part.rows; n++ {
			if strings.Count(part.text, fmt.Sprintf("\n| %d |", n)) != 1 {
				t.Errorf("%s %d does not have one row", part.name, n)
			}
		}
	}
}

func namesRealTests(t *testing.T, file string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "docs", file))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z/-]+) (Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(raw), -1)
	if len(named) < 30 {
		t.Fatalf("only %d tests are named", len(named))
	}
	source := map[string]string{}
	for _, m := range named {
		if _, ok := source[m[1]]; !ok {
			source[m[1]] = testsOf(t, m[1])
		}
		if !strings.Contains(source[m[1]], "func "+m[2]+"(t *testing.T)") {
			t.Errorf("%s has no %s", m[1], m[2])
		}
	}
}

func testsOf(t *testing.T, pkg string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(raw)
	}
	return b.String()
}
