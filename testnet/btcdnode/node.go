package btcdnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcd/txscript/v2"
)

const (
	rpcUser = "regtest"

	// launchAttempts bounds the retries after somebody took a chosen port.
	launchAttempts = 5

	// answerPatience is how long a node may take until its RPC answers. It is
	// a fifth of a second when idle; a loaded machine needs more.
	answerPatience = 30 * time.Second
)

var (
	// ErrForeignRewards is returned by Fund and MineWith when block rewards go
	// to an address of the caller's own.
	ErrForeignRewards = errors.New("btcdnode: the rewards belong to Options.MiningAddr, the harness has no coins")

	// ErrRunning is returned by Restart when the node has not ended.
	ErrRunning = errors.New("btcdnode: the node still runs")
)

// params is the network of every node of this package.
func params() *chaincfg.Params { return &chaincfg.RegressionNetParams }

// Node is a running (or stopped) btcd. Its methods may be called from several
// goroutines; those that make blocks or spend the harness's coins wait for each
// other.
type Node struct {
	binary, dir string
	temporary   bool // dir is ours to remove
	ep          endpoints
	miningAddr  string

	making  sync.Mutex // one maker of blocks or payments at a time; guards the two below
	archive archive
	faucet  *faucet // nil when rewards are the caller's

	mu     sync.Mutex // guards the fields below
	proc   *process
	client *rpcclient.Client
}

// Start starts a node, waits until its RPC answers and mines Options.Blocks.
// ctx bounds the starting only. The caller must Stop the node.
func Start(ctx context.Context, o Options) (*Node, error) {
	n, err := prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := n.launchOnFreePorts(ctx); err != nil {
		return nil, errors.Join(err, n.removeDir())
	}
	if _, err := n.Mine(o.Blocks); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return n, nil
}

// prepare does everything of Start that touches no process.
func prepare(ctx context.Context, o Options) (*Node, error) {
	n := &Node{binary: o.Binary, dir: o.Dir, miningAddr: o.MiningAddr}
	if err := n.chooseRewards(); err != nil {
		return nil, err
	}
	if n.binary == "" {
		path, err := FindBinary(ctx)
		if err != nil {
			return nil, err
		}
		n.binary = path
	}
	if n.dir == "" {
		dir, err := os.MkdirTemp("", "btcdnode-")
		if err != nil {
			return nil, fmt.Errorf("btcdnode: %w", err)
		}
		n.dir, n.temporary = dir, true
	}
	if o.TLS {
		n.ep.cert = filepath.Join(n.dir, "rpc.cert")
	}
	return n, nil
}

func (n *Node) chooseRewards() error {
	if n.miningAddr != "" {
		_, err := address.DecodeAddress(n.miningAddr, params())
		if err != nil {
			return fmt.Errorf("btcdnode: mining address: %w", err)
		}
		return nil
	}
	f, err := newFaucet()
	if err != nil {
		return err
	}
	n.faucet, n.miningAddr = f, f.address
	return nil
}

// launchOnFreePorts retries with other ports when the node ends by itself,
// which is what it does when a port is taken.
func (n *Node) launchOnFreePorts(ctx context.Context) error {
	var failures []error
	for range launchAttempts {
		ep, err := newEndpoints(n.ep.cert)
		if err != nil {
			return err
		}
		n.ep = ep
		err = n.launch(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// launch starts the executable with the current endpoints and connects to it.
func (n *Node) launch(ctx context.Context) error {
	p, client, err := n.run(ctx, n.ep)
	if err != nil {
		return err
	}
	n.replace(p, client)
	return nil
}

// run starts the executable and returns it with a connection that answers.
func (n *Node) run(ctx context.Context, ep endpoints) (*process, *rpcclient.Client, error) {
	p, err := launch(n.binary, n.dir, arguments(n.dir, ep, n.miningAddr))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	client, err := awaitAnswer(ctx, p, ep)
	if err != nil {
		return nil, nil, errors.Join(err, p.kill())
	}
	return p, client, nil
}

func (n *Node) replace(p *process, client *rpcclient.Client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proc, n.client = p, client
}

// awaitAnswer dials until the node answers, the node ends, or ctx does.
func awaitAnswer(ctx context.Context, p *process, ep endpoints) (*rpcclient.Client, error) {
	for {
		client, err := dial(ep)
		if err == nil {
			return client, nil
		}
		select {
		case <-p.done:
			return nil, p.epitaph()
		case <-ctx.Done():
			return nil, fmt.Errorf("btcdnode: no answer: %w (last: %w)", ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// dial makes a connection that answers. It does not reconnect by itself: the
// library then waits seconds between attempts, and Restart makes a new one.
func dial(ep endpoints) (*rpcclient.Client, error) {
	config := rpcclient.ConnConfig{
		Host: ep.rpc, Endpoint: "ws", User: rpcUser, Pass: ep.pass,
		DisableTLS: ep.cert == "", DisableAutoReconnect: true,
	}
	if ep.cert != "" {
		pem, err := os.ReadFile(ep.cert)
		if err != nil {
			return nil, err
		}
		config.Certificates = pem
	}
	client, err := rpcclient.New(&config, nil)
	if err != nil {
		return nil, err
	}
	if _, err := client.GetBlockCount(); err != nil {
		client.Shutdown()
		return nil, err
	}
	return client, nil
}

// Restart starts a node that was stopped, killed, or died. It has the same
// chain, addresses and password as before; nobody sees it before the chain is
// complete. The mempool is empty, as btcd's always is after a start, and blocks
// off the best chain are forgotten, as are blocks that were made by others than
// this Node if it was not Halt that ended it. ctx bounds the starting only.
func (n *Node) Restart(ctx context.Context) error {
	n.making.Lock()
	defer n.making.Unlock()
	if p, _ := n.current(); p.running() {
		return ErrRunning
	}
	if err := n.revive(ctx); err != nil {
		return fmt.Errorf("btcdnode: restart: %w", err)
	}
	return nil
}

// revive runs the node with a private RPC address, restores its chain, and then
// opens the public one.
func (n *Node) revive(ctx context.Context) error {
	rpc, err := freeAddr()
	if err != nil {
		return err
	}
	p, client, err := n.run(ctx, endpoints{p2p: n.ep.p2p, rpc: rpc, pass: n.ep.pass, cert: n.ep.cert})
	if err != nil {
		return err
	}
	err = n.archive.restore(client)
	if err == nil {
		err = forward(n.ep.rpc, rpc, p.done)
	}
	if err != nil {
		client.Shutdown()
		return errors.Join(err, p.kill())
	}
	n.replace(p, client)
	if n.faucet != nil {
		n.faucet.reread(n.archive.blocks)
	}
	return nil
}

// Stop shuts the node down, kills it if it does not end within ten seconds, and
// removes a temporary directory. It may be called again.
func (n *Node) Stop() error {
	return errors.Join(n.Halt(), n.removeDir())
}

// Halt shuts the node down as Stop does but keeps its directory, for Restart.
func (n *Node) Halt() error {
	n.making.Lock()
	defer n.making.Unlock()
	p, client := n.current()
	if p.running() {
		// A node that cannot answer any more is stopped all the same, with
		// the blocks that are known.
		_ = n.follow()
	}
	client.Shutdown()
	return p.stop()
}

// Kill ends the node without warning, as a power cut would, and keeps its
// directory for Restart. Only Stop removes a temporary directory.
func (n *Node) Kill() error {
	p, client := n.current()
	client.Shutdown()
	return p.kill()
}

func (n *Node) removeDir() error {
	if !n.temporary {
		return nil
	}
	return os.RemoveAll(n.dir)
}

func (n *Node) current() (*process, *rpcclient.Client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc, n.client
}

// Done is closed when the node's present process has ended, asked to or not.
// After Restart call it again.
func (n *Node) Done() <-chan struct{} {
	p, _ := n.current()
	return p.done
}

// Err is nil while the node runs; afterwards it says how it ended and what it
// printed last, also after a wanted Stop.
func (n *Node) Err() error {
	p, _ := n.current()
	return p.epitaph()
}

// RPCHost is the node's RPC address, host:port, on loopback.
func (n *Node) RPCHost() string { return n.ep.rpc }

// RPCUser is the user name for RPCHost.
func (n *Node) RPCUser() string { return rpcUser }

// RPCPass is the random password for RPCHost.
func (n *Node) RPCPass() string { return n.ep.pass }

// CertFile is the certificate of the RPC, or empty when it is plain text.
func (n *Node) CertFile() string { return n.ep.cert }

// P2PAddr is the address at which the node speaks Bitcoin's peer protocol.
func (n *Node) P2PAddr() string { return n.ep.p2p }

// Params describes the node's network, always regtest.
func (n *Node) Params() *chaincfg.Params { return params() }

// Dir holds the node's data, its logs, and output.txt with what it printed.
func (n *Node) Dir() string { return n.dir }

// PID is the process id of the present run.
func (n *Node) PID() int {
	p, _ := n.current()
	return p.pid
}

// Client is a connection to the node, shared with the harness: do not shut it
// down, and ask for it again after Restart.
func (n *Node) Client() *rpcclient.Client {
	_, client := n.current()
	return client
}

// Tip returns the hash and height of the node's best block.
func (n *Node) Tip() (chainhash.Hash, int32, error) {
	hash, height, err := n.Client().GetBestBlock()
	if err != nil {
		return chainhash.Hash{}, 0, fmt.Errorf("btcdnode: tip: %w", err)
	}
	return *hash, height, nil
}

// rewardScript is the output script of the mining address.
func (n *Node) rewardScript() ([]byte, error) {
	addr, err := address.DecodeAddress(n.miningAddr, params())
	if err != nil {
		return nil, fmt.Errorf("btcdnode: mining address: %w", err)
	}
	return txscript.PayToAddrScript(addr)
}
