package spec

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// table is one marked table of PROTOCOL.md.
type table struct {
	name string
	rows [][]string // cells without the header line, trimmed and without backquotes
}

var marker = regexp.MustCompile(`^<!-- spec:(.+) -->$`)

// tables reads every marked table.
func tables(t *testing.T) map[string]table {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]table{}
	lines := strings.Split(string(raw), "\n")
	for i, line := range lines {
		m := marker.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if _, twice := out[m[1]]; twice {
			t.Fatalf("PROTOCOL.md:%d: a second table %q", i+1, m[1])
		}
		out[m[1]] = parseTable(t, m[1], lines[i+1:])
	}
	if len(out) < 60 {
		t.Fatalf("only %d marked tables were found", len(out))
	}
	return out
}

func parseTable(t *testing.T, name string, lines []string) table {
	t.Helper()
	tab := table{name: name}
	for i, line := range lines {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if i < 2 { // head and rule
			continue
		}
		var cells []string
		for _, c := range strings.Split(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.ReplaceAll(strings.TrimSpace(c), "`", ""))
		}
		tab.rows = append(tab.rows, cells)
	}
	if len(tab.rows) == 0 {
		t.Fatalf("table %q is empty", name)
	}
	return tab
}

// take gives one table and fails if it is not there.
func take(t *testing.T, name string) table {
	t.Helper()
	tab, ok := tables(t)[name]
	if !ok {
		t.Fatalf("PROTOCOL.md has no table %q", name)
	}
	return tab
}

// compare holds the first len(want[i]) cells of a table's rows against what the code says, in
// order.
func compare(t *testing.T, name string, want [][]string) {
	t.Helper()
	rows := take(t, name).rows
	for i := 0; i < max(len(rows), len(want)); i++ {
		switch {
		case i >= len(rows):
			t.Errorf("%s: PROTOCOL.md lacks %v", name, want[i])
		case i >= len(want):
			t.Errorf("%s: the code has no %v", name, rows[i])
		case len(rows[i]) < len(want[i]):
			t.Errorf("%s: the row %v is too short", name, rows[i])
		default:
			for j, w := range want[i] {
				if rows[i][j] != w {
					t.Errorf("%s: PROTOCOL.md says %q, the code %q, in %v", name, rows[i][j], w, rows[i])
				}
			}
		}
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
