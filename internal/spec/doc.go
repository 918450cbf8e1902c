// Package spec keeps PROTOCOL.md and the code from drifting apart. It has tests only.
//
// Tables of PROTOCOL.md that stand below a comment <!-- spec:NAME --> are read by these tests
// and compared with the code: registries by number and name, structures field by field (type,
// size, optional or required), limits and margins by value. A row that is missing, extra or
// different fails.
//
// The same package makes and checks the test vectors under testdata/vectors, with which a
// program in another language can be tested:
//
//	go test ./internal/spec                              compare and check
//	go test ./internal/spec -run TestVectors -update     make the vectors again
package spec
