package btcdnode

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// stopPatience is how long a node may take to shut down by itself. A healthy
// one needs tens of milliseconds.
const stopPatience = 10 * time.Second

// process is one run of the executable.
type process struct {
	pid  int
	proc *os.Process
	out  string        // file with what it printed
	done chan struct{} // closed when it has exited
	err  error         // how it ended; read only after done
}

// launch starts the executable and a goroutine that waits for its end.
func launch(binary, dir string, args []string) (*process, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("btcdnode: %w", err)
	}
	out := filepath.Join(dir, "output.txt")
	file, err := os.Create(out)
	if err != nil {
		return nil, fmt.Errorf("btcdnode: %w", err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = file, file
	// btcd collects garbage ten times as often as other programs, for the sake of a chain of gigabytes.
	cmd.Env = append(os.Environ(), "GOGC=100")
	cmd.SysProcAttr = childAttributes()

	p := &process{out: out, done: make(chan struct{})}
	started := make(chan error)
	go p.babysit(cmd, file, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("btcdnode: cannot start %s: %w", binary, err)
	}
	return p, nil
}

// babysit starts the child and stays with it on one operating system thread.
// The kernel's "kill the child when the parent dies" means the thread that
// started the child, and the Go runtime ends idle threads: so this goroutine
// keeps its thread until the child has exited.
func (p *process) babysit(cmd *exec.Cmd, file *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer file.Close()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.proc, p.pid = cmd.Process, cmd.Process.Pid
	started <- nil
	p.err = cmd.Wait()
	close(p.done)
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop asks the child to end, waits, and kills it when it does not.
func (p *process) stop() error {
	if err := p.proc.Signal(interruptSignal); err != nil {
		return p.kill()
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopPatience):
		return p.kill()
	}
}

// kill ends the child at once, as a power cut would, and waits until it is gone.
func (p *process) kill() error {
	err := p.proc.Kill()
	if errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("btcdnode: cannot kill %d: %w", p.pid, err)
	}
	<-p.done
	return nil
}

// epitaph describes how the child ended, with the last lines it printed.
func (p *process) epitaph() error {
	if p.running() {
		return nil
	}
	text, err := os.ReadFile(p.out)
	if err != nil {
		text = []byte(err.Error())
	}
	return fmt.Errorf("btcdnode: node %d has ended (%s); it said: %s", p.pid, ending(p.err), lastLines(text))
}

func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// lastLines cuts long output to its end, where the reason is.
func lastLines(text []byte) []byte {
	const most = 1500
	text = bytes.TrimSpace(text)
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return text
}
