// Package chaintest says what every chain.Backend promises, as one suite of tests
// that runs on real nodes.
//
//	func TestConformance(t *testing.T) {
//		chaintest.Run(t, chaintest.Subject{Open: open})
//	}
//
// A full node answers everything. Of a light client the suite wants the same about
// blocks, reorgs, watching and broadcasting, and a plain refusal with LightClient
// of what it cannot know. Only tests import this package.
package chaintest
