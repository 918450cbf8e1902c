package btcdnode

import (
	"os"
	"syscall"
)

var interruptSignal os.Signal = syscall.SIGINT

// childAttributes makes the kernel kill the node when this process is gone, and
// keeps a Ctrl-C at the terminal from reaching the node before its owner.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
