//go:build race

package store

import "flag"

// Under the race detector pebble notes the stack at every iterator, which makes a history ten times as dear, and each
// history is lived by one goroutine: a fifth of them is lived. The command line can ask for more.
func init() {
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
}
