package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBadInputTableNamesRealTests fails when docs/bad-input.md names a test that does not exist.
func TestBadInputTableNamesRealTests(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "docs", "bad-input.md"))
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
