//go:build !unix

package btcd

import "syscall"

// Signals that no process can be sent on these systems, so that the test skips.
const freeze, thaw = syscall.Signal(-1), syscall.Signal(-1)
