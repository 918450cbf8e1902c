package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/relay"
	"relaymarket/testnet/btcdnode"
	"relaymarket/usage"
)

const (
	// smallDiskEnv names, for the second run of TestFullDisk, where it mounts its small disk.
	smallDiskEnv = "RELAY_TEST_SMALL_DISK"
	// smallDisk is the size of that disk: the relay's reserve and 64 MiB.
	smallDisk = store.DiskReserve + 64<<20
	// noMount is the exit code of a second run that could not mount anything.
	noMount = 77
)

// TestFullDisk has a relay that runs as a process of its own on a small file system, which is
// filled for real: first by what the relay itself stores, up to the reserve, then by something else
// to the last byte. It runs itself again in a mount namespace of its own, for which it needs to be
// root or on a system that gives user namespaces to everybody.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if dir := os.Getenv(smallDiskEnv); dir != "" {
		fullDisk(t, dir)
		return
	}
	var said []string
	for _, attr := range namespaces() {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestFullDisk$", "-test.v", "-test.timeout=8m")
		cmd.Env = append(os.Environ(), smallDiskEnv+"="+t.TempDir())
		cmd.SysProcAttr = attr
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() == noMount {
			said = append(said, string(out), err.Error())
			continue
		}
		if t.Logf("%s", out); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Logf("no small disk can be mounted here, for which one must be root or have user namespaces (%s): files that must not grow stand in for it", strings.Join(said, "; "))
	fileLimit(t)
}

// TestFileLimit has the same end by another way: the relay's files must not grow, so that its log
// cannot be written.
func TestFileLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	fileLimit(t)
}

func fileLimit(t *testing.T) {
	f := newFull(t, t.TempDir(), relay.Disk{MemtableMiB: 1, CacheMiB: 8})
	for range 20 {
		if err := f.write(); err != nil {
			t.Fatal(err)
		}
	}
	f.goesOn()
	f.sess.Close()
	limit := syscall.Rlimit{Cur: 64 << 10, Max: 64 << 10} // room for the last words
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(f.v.cmd.Process.Pid), syscall.RLIMIT_FSIZE,
		uintptr(unsafe.Pointer(&limit)), 0, 0, 0); e != 0 {
		t.Fatal(e)
	}
	f.endsInOrder()
	f.v.start()
	f.keepsEverything()
}

// namespaces are the ways to a mount namespace: as root directly, else by being root in a user
// namespace.
func namespaces() []*syscall.SysProcAttr {
	mapped := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		return []*syscall.SysProcAttr{mapped}
	}
	return []*syscall.SysProcAttr{{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}, mapped}
}

// mountSmallDisk hides dir behind a small disk, which only this process and its children see.
func mountSmallDisk(dir string) {
	err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	if err == nil {
		err = syscall.Mount("small", dir, "tmpfs", 0, "mode=0700,size=128m")
	}
	if err != nil {
		os.Stdout.WriteString("mounting: " + err.Error() + "\n")
		os.Exit(noMount)
	}
}

// full is the relay with its small disk, and a payer.
type full struct {
	*writers
	dir    string
	payer  *payer
	sess   *session.Client
	orders []drafted                // with receipts
	gone   map[identity.Digest]bool // deleted: true when the relay has said so
	report identity.Digest          // the last one
	paid   usage.Sat                // the last sum that the relay has taken
}

// newFull starts the relay in a directory, and a payer with a contract.
func newFull(t *testing.T, dir string, disk relay.Disk) *full {
	t.Helper()
	node, err := btcdnode.Start(t.Context(), btcdnode.Options{Dir: t.TempDir(), Blocks: 101})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Stop() })
	v := newVictim(t, node, filepath.Join(dir, "relay"), disk)
	v.start()
	f := &full{writers: newWriters(t, v, 0), dir: dir, payer: newPayer(t, v, node), gone: make(map[identity.Digest]bool)}
	f.people = append(f.people, f.payer.writer)
	f.sess = f.payer.session()
	f.paid, f.payer.size = f.payer.c.Paid(), 400_000
	return f
}

func fullDisk(t *testing.T, dir string) {
	mountSmallDisk(dir)
	if free := diskFree(t, dir); free > smallDisk {
		t.Fatalf("the small disk has %d bytes", free)
	}
	f := newFull(t, dir, relay.Disk{MemtableMiB: 1, CacheMiB: 8})
	f.writeToTheReserve()
	f.goesOn()
	f.writeToTheReserve() // what was freed in between can be used, and no more
	f.sess.Close()
	rest := f.fillUp()
	f.endsInOrder()
	f.startsNot()
	if err := os.Remove(rest); err != nil {
		t.Fatal(err)
	}
	f.v.start()
	f.keepsEverything()
}

func diskFree(t *testing.T, dir string) uint64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Bavail * uint64(st.Bsize)
}

// write sends an order and remembers it if there is a receipt.
func (f *full) write() error {
	d, err := f.payer.draft(f.v.key, 1)
	if err != nil {
		f.t.Fatal(err)
	}
	a, err := f.sess.Call(f.t.Context(), d.write)
	if err != nil {
		return err
	}
	if d.held.Receipt, err = identity.ParseSigned(a.(*message.Written).Receipt); err != nil {
		f.t.Fatal(err)
	}
	f.orders = append(f.orders, d)
	return nil
}

// writeToTheReserve lets the relay fill its disk by itself.
func (f *full) writeToTheReserve() {
	for range 1000 {
		err := f.write()
		if err == nil {
			continue
		}
		if code.Of(err) != code.DiskReserve {
			f.t.Fatal(err)
		}
		free := diskFree(f.t, f.dir)
		if f.t.Logf("%d records are stored, %d MiB are free", len(f.orders), free>>20); len(f.orders) < 20 || free > store.DiskReserve+16<<20 {
			f.t.Fatalf("refused after %d records, with %d bytes free", len(f.orders), free)
		}
		return
	}
	f.t.Fatal("the disk does not become full")
}

// goesOn does everything that must be possible on the reserve.
func (f *full) goesOn() {
	t := f.t
	t.Helper()
	f.delete(f.orders[0])
	f.delete(f.orders[1])
	report, _ := f.payer.log(f.sess) // a fresh report is a commit
	f.report = report.Digest()
	f.pay(10)
	if m, _, err := f.payer.request(f.v.key, f.orders[2].held.Records[0].Digest); err != nil {
		t.Fatal(err)
	} else if err := f.fetch(f.payer.to, m); err != nil {
		t.Fatalf("reading: %v", err)
	}
	f.payer.mine(1) // every block is a commit
}

// delete has the only record of an order deleted, and is heard.
func (f *full) delete(d drafted) {
	f.t.Helper()
	if err := f.tryDelete(d); err != nil {
		f.t.Fatalf("deleting: %v", err)
	}
}

func (f *full) tryDelete(d drafted) error {
	record := d.held.Records[0].Digest
	f.gone[record] = false
	at := identity.UnixMilli(time.Now().UnixMilli())
	raw, err := usage.Delete{
		Header: identity.Header{Network: identity.Regtest, From: f.payer.key.Public(), To: f.v.key, Time: at, Serial: serial()}, Record: record,
	}.Encode()
	if err != nil {
		f.t.Fatal(err)
	}
	b, err := identity.SignBundle(f.payer.key, raw)
	if err != nil {
		f.t.Fatal(err)
	}
	a, err := f.sess.Call(f.t.Context(), &message.Delete{Deletes: b.Bytes()})
	if err != nil {
		return err
	}
	m := a.(*message.Deleted)
	if len(m.Receipts) != 1 || len(m.Receipts[0]) == 0 {
		return m.Results[0].Err()
	}
	f.gone[record] = true
	return nil
}

// pay raises what is paid on the contract.
func (f *full) pay(more usage.Sat) {
	f.t.Helper()
	if err := f.tryPay(more); err != nil {
		f.t.Fatalf("paying: %v", err)
	}
}

func (f *full) tryPay(more usage.Sat) error {
	c, err := f.payer.runner.Pay(f.t.Context(), f.payer.contract, f.paid+more, f.report, exchange(f.sess))
	if err == nil {
		f.paid = c.Paid()
	}
	return err
}

// fillUp lets something else take the rest of the disk, to the last byte.
func (f *full) fillUp() string {
	path := filepath.Join(f.dir, "rest")
	w, err := os.Create(path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer w.Close()
	for n := 1 << 20; n > 0; {
		if _, err := w.Write(make([]byte, n)); errors.Is(err, syscall.ENOSPC) {
			n /= 2
		} else if err != nil {
			f.t.Fatal(err)
		}
	}
	if free := diskFree(f.t, f.dir); free != 0 {
		f.t.Fatalf("%d bytes are still free", free)
	}
	return path
}

// endsInOrder asks for what may still be done until the relay, which cannot keep it any more, ends by
// itself, with a sentence.
func (f *full) endsInOrder() {
	t := f.t
	ended := make(chan error, 1)
	go func() { ended <- f.v.cmd.Wait() }()
	sess, err := f.v.dial(f.payer.key)
	if err != nil { // what it wrote of its own accord was enough to end it
		t.Logf("it ended before anybody asked: %v", <-ended)
		f.saysWhatToDo()
		return
	}
	f.sess = sess
	if err := f.write(); err == nil {
		t.Error("there is a receipt for what found no room")
	}
	begin := f.paid
	for end, i := time.Now().Add(4*time.Minute), 3; time.Now().Before(end); i++ {
		select {
		case err := <-ended:
			t.Logf("it took %d sat in payments before it ended: %v", f.paid-begin, err)
			f.saysWhatToDo()
			return
		default:
		}
		if f.sess.Err() != nil {
			time.Sleep(10 * time.Millisecond) // it is ending
			continue
		}
		if i < len(f.orders)/2 {
			_ = f.tryDelete(f.orders[i])
		}
		_ = f.tryPay(1)
	}
	t.Fatal("the relay goes on as if there were room")
}

// saysWhatToDo looks at the end of the process and at its last words.
func (f *full) saysWhatToDo() {
	t := f.t
	t.Helper()
	text, err := os.ReadFile(f.v.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	if s := string(text); f.v.cmd.ProcessState.ExitCode() != 1 || strings.Contains(s, "goroutine ") ||
		!strings.Contains(s, "is full") || !strings.Contains(s, "Make room and start again") {
		t.Errorf("%s; it said: %s", f.v.cmd.ProcessState, s)
	} else {
		t.Logf("its last words: %s", s)
	}
	if err := os.Truncate(f.v.log.Name(), 0); err != nil {
		t.Fatal(err)
	}
}

// startsNot starts the relay on the full disk: it either serves or says what is wrong.
func (f *full) startsNot() {
	f.v.launch()
	ended := make(chan error, 1)
	go func() { ended <- f.v.cmd.Wait() }()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(25 * time.Millisecond) {
		select {
		case <-ended:
			f.saysWhatToDo()
			return
		default:
		}
		if f.v.ready() {
			f.t.Log("it starts on a full disk")
			_ = f.v.cmd.Process.Kill()
			<-ended
			return
		}
	}
	f.t.Fatal("on a full disk the relay neither serves nor ends")
}

// keepsEverything compares what the relay has with what it gave answers for.
func (f *full) keepsEverything() {
	t := f.t
	f.sess = f.payer.session()
	defer f.sess.Close()
	have := outbox(t, f.sess)
	for i, d := range f.orders {
		record := d.held.Records[0].Digest
		deleted, asked := f.gone[record]
		_, kept := have[record]
		switch {
		case deleted && kept:
			t.Errorf("record %d is there although its deletion was receipted", i)
		case !asked && !kept:
			t.Errorf("record %d has a receipt and is lost", i)
		case !asked:
			if m, _, err := f.payer.request(f.v.key, record); err != nil {
				t.Fatal(err)
			} else if err := f.fetch(f.payer.to, m); err != nil {
				t.Errorf("reading record %d: %v", i, err)
			}
		}
	}
	a, err := f.payer.account(f.sess)
	if err != nil || usage.Sat(a.PaidSat) < f.paid {
		t.Errorf("%d sat are paid, the relay has said %d: %v", a.PaidSat, f.paid, err)
	}
	t.Logf("%d of %d records are kept, %d sat are paid", len(have), len(f.orders), a.PaidSat)
}
