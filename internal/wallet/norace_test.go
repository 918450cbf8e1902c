//go:build !race

package wallet

// slowdown is what bounds of time are multiplied with.
const slowdown = 1
