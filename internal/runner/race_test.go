//go:build race

package runner_test

// raced tells whether the race detector, which makes arithmetic ten times as slow, watches.
const raced = true
