// Package archtest holds the tests that keep the house in order: the import table and the
// doors of ARCHITECTURE.md, the purity of ring 0, package docs and sizes. It has no code of
// its own.
package archtest
