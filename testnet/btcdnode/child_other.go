//go:build !linux

package btcdnode

import (
	"os"
	"syscall"
)

var interruptSignal os.Signal = os.Interrupt

// childAttributes is empty: only Linux can tie a child's life to its parent's,
// so elsewhere a killed parent leaves its node behind.
func childAttributes() *syscall.SysProcAttr { return nil }
