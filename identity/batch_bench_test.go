package identity

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkVerifyBatch measures verifyTriples beside single verifications by btcec of the same
// signatures, for keys × signatures of each. "poisoned" is the batch with one bad signature. "ratio"
// runs single and batch in turns, so that what else the machine does weighs on both, and reports
// medians: how many times faster the batch is, and the poisoned one (below 1: slower).
func BenchmarkVerifyBatch(b *testing.B) {
	for _, s := range [][2]int{{1, 1}, {2, 1}, {3, 1}, {4, 1}, {8, 1}, {64, 1}, {1, 8}, {4, 8}, {8, 8}, {64, 8}, {1, 64}} {
		all := signTriples(s[0], s[1])
		bad := append([]triple(nil), all...)
		addToS(&bad[len(bad)/2], 1)
		single := func() {
			for i := range all {
				all[i].verify()
			}
		}
		name := fmt.Sprintf("%dx%d/", s[0], s[1])
		perSignature(b, name+"single", len(all), single)
		perSignature(b, name+"batch", len(all), func() { verifyTriples(all) })
		perSignature(b, name+"poisoned", len(all), func() { verifyTriples(bad) })
		inTurns(b, name+"ratio", single, func() { verifyTriples(all) }, func() { verifyTriples(bad) })
	}
}

// BenchmarkEquation is what batchMin was chosen by: one equation over few signatures of as many
// keys, in turns with single verifications.
func BenchmarkEquation(b *testing.B) {
	for _, keys := range []int{2, 3, 4, 5, 6, 8, 12} {
		all := signTriples(keys, 1)
		inTurns(b, fmt.Sprint(keys), func() {
			for i := range all {
				all[i].verify()
			}
		}, func() { holds(terms(b, all)) })
	}
}

func perSignature(b *testing.B, name string, n int, f func()) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/sig")
	})
}

// inTurns reports the medians of base's time divided by that of each of the others.
func inTurns(b *testing.B, name string, base func(), others ...func()) {
	b.Run(name, func(b *testing.B) {
		ratios := make([][]float64, len(others))
		for b.Loop() {
			t := spent(base)
			for i, f := range others {
				ratios[i] = append(ratios[i], t/spent(f))
			}
		}
		for i, unit := range []string{"×", "poisoned-×"}[:len(others)] {
			slices.Sort(ratios[i])
			b.ReportMetric(ratios[i][len(ratios[i])/2], unit)
		}
		b.ReportMetric(0, "ns/op")
	})
}

func spent(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}
