package btcdnode

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Options says how to start a node. The zero value is usable: a temporary
// directory, an own mining key, no blocks.
type Options struct {
	// Dir holds the node's data and logs. Empty: a temporary directory that
	// Stop removes.
	Dir string

	// MiningAddr is the regtest address that receives block rewards, in its
	// text form (bcrt1…). Empty: a throwaway taproot key made by Start, whose
	// coins Fund can spend. With an address of the caller's own, Fund returns
	// ErrForeignRewards.
	MiningAddr string

	// Binary is the path of the btcd executable. Empty: see FindBinary.
	Binary string

	// TLS makes the RPC speak TLS with a certificate that the node makes for
	// itself; see Node.CertFile. Otherwise it is plain text on loopback.
	TLS bool

	// Blocks is how many blocks Start mines before it returns. A reward can be
	// spent from the hundredth block after it on, so 150 leaves 50 usable coins.
	Blocks int
}

// FindBinary returns the path of a btcd executable: the module's own pinned
// tool, built by the go command when needed (about half a minute from an empty
// cache), else one from PATH. The go command works only inside the module's
// directory tree.
func FindBinary(ctx context.Context) (string, error) {
	found.Lock()
	defer found.Unlock()
	if isFile(found.path) {
		return found.path, nil
	}
	path, err := findBinary(ctx)
	if err == nil {
		found.path = path
	}
	return path, err
}

// found is the last answer of FindBinary: the go command needs more time for it than a node for its start.
var found struct {
	sync.Mutex
	path string
}

func findBinary(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "tool", "-n", "btcd").Output()
	if path := strings.TrimSpace(string(out)); err == nil && isFile(path) {
		return path, nil
	}
	path, lookErr := exec.LookPath("btcd")
	if lookErr == nil {
		return path, nil
	}
	return "", fmt.Errorf("btcdnode: no btcd: go tool: %w; PATH: %w", toolError(err), lookErr)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// toolError adds what the go command printed, which alone explains a failure.
func toolError(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err == nil {
		return errors.New("it printed no path of an executable")
	}
	return err
}

// endpoints are the two loopback addresses of a node and its password.
type endpoints struct {
	p2p, rpc, pass string
	cert           string // file; empty without TLS
}

func newEndpoints(cert string) (endpoints, error) {
	p2p, err := freeAddr()
	if err != nil {
		return endpoints{}, err
	}
	rpc, err := freeAddr()
	if err != nil {
		return endpoints{}, err
	}
	var secret [16]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return endpoints{}, err
	}
	return endpoints{p2p: p2p, rpc: rpc, pass: hex.EncodeToString(secret[:]), cert: cert}, nil
}

// freeAddr returns a loopback address that was free a moment ago. Somebody may
// take it before the node does; Start then tries again with others.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("btcdnode: no free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// arguments are the node's flags. The caches are small because nothing on a test
// chain needs the defaults (250 MiB, and room for 100,000 signatures, which takes
// longer to make than the rest of a start), and the client limits are large because
// a whole market of processes shares one node.
func arguments(dir string, ep endpoints, miningAddr string) []string {
	args := []string{
		"--regtest",
		"--configfile=" + os.DevNull,
		"--datadir=" + filepath.Join(dir, "data"),
		"--logdir=" + filepath.Join(dir, "logs"),
		"--listen=" + ep.p2p,
		"--rpclisten=" + ep.rpc,
		"--rpcuser=" + rpcUser,
		"--rpcpass=" + ep.pass,
		"--nodnsseed",
		"--txindex",
		"--rejectnonstd",
		"--limitfreerelay=0",
		"--nostalldetect",
		"--utxocachemaxsize=8",
		"--sigcachemaxsize=1000",
		"--rpcmaxclients=500",
		"--rpcmaxwebsockets=500",
		"--miningaddr=" + miningAddr,
	}
	if ep.cert == "" {
		return append(args, "--notls")
	}
	return append(args, "--rpccert="+ep.cert, "--rpckey="+filepath.Join(dir, "rpc.key"))
}
