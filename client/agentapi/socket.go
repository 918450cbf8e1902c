package agentapi

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"relaymarket/client"
	"relaymarket/internal/code"
)

const (
	socketName = "agent.sock"
	// pathName is a file that holds the path of a socket that had to be made elsewhere.
	pathName = "agent.path"
	// maxSocketPath is the longest path that every system binds: sun_path has 104 bytes on BSD
	// and macOS, 108 on Linux, the last of them zero.
	maxSocketPath = 103
	// answerTime is how long a socket has to take a connection.
	answerTime = 2 * time.Second
)

// base is the directory of the agent's network below the directory that holds its client.toml.
func base(dir string) (string, error) {
	cfg, err := client.LoadConfig(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(filepath.Join(dir, cfg.Network))
}

// Listen makes the socket of the agent in dir: DIR/NETWORK/agent.sock, for its owner only. Where
// that path is too long for a socket, it lies in a fresh directory of the system's temporary
// directory, and DIR/NETWORK/agent.path says where. What an agent that died left behind is
// replaced; one that answers is not: code AlreadyRunning. Closing the listener removes the socket.
func Listen(dir string) (net.Listener, error) {
	b, err := base(dir)
	if err != nil {
		return nil, err
	}
	conn, err := connect(context.Background(), b)
	if err == nil {
		conn.Close()
	}
	if err == nil || !nobody(err) {
		return nil, code.New(code.AlreadyRunning, "there is an agent at %s", socketPath(b))
	}
	removeStale(b)
	path, err := place(b)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, code.Wrap(code.BadConfig, err, "the agent's socket")
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(code.Wrap(code.BadConfig, err, "the agent's socket"), l.Close())
	}
	return &socket{Listener: l, base: b}, nil
}

// socket is a listener that leaves nothing behind.
type socket struct {
	net.Listener
	base string
}

// Close stops listening and removes the socket.
func (s *socket) Close() error {
	err := s.Listener.Close()
	removeStale(s.base)
	return err
}

// place is where the socket goes: a path that fits, in a directory that only its owner enters.
func place(b string) (string, error) {
	if err := os.MkdirAll(b, 0o700); err != nil {
		return "", code.Wrap(code.BadConfig, err, "the agent's directory")
	}
	path := filepath.Join(b, socketName)
	if len(path) <= maxSocketPath {
		return path, nil
	}
	// A fresh name, made 0700 by the system: nobody can have put anything there before.
	dir, err := os.MkdirTemp("", "relay-agent-")
	if err != nil {
		return "", code.Wrap(code.BadConfig, err, "a directory for the agent's socket")
	}
	path = filepath.Join(dir, socketName)
	if len(path) > maxSocketPath {
		return "", errors.Join(code.New(code.BadConfig, "%s is too long for a socket; set TMPDIR", path), os.Remove(dir))
	}
	if err := os.WriteFile(filepath.Join(b, pathName), []byte(path+"\n"), 0o600); err != nil {
		return "", errors.Join(code.Wrap(code.BadConfig, err, "the agent's directory"), os.Remove(dir))
	}
	return path, nil
}

// socketPath is where the socket is, if there is one.
func socketPath(b string) string {
	raw, err := os.ReadFile(filepath.Join(b, pathName))
	if err != nil {
		return filepath.Join(b, socketName)
	}
	return strings.TrimSpace(string(raw))
}

// removeStale removes a socket at which nobody answers, and what was made for it. Its errors
// show when the new one is made.
func removeStale(b string) {
	path := socketPath(b)
	if filepath.Base(path) != socketName {
		return
	}
	_ = os.Remove(path)
	if filepath.Dir(path) != b {
		_ = os.Remove(filepath.Dir(path))
		_ = os.Remove(filepath.Join(b, pathName))
	}
}

// connect opens a connection to the agent in a directory. Code NoAgent.
func connect(ctx context.Context, b string) (net.Conn, error) {
	path := socketPath(b)
	if len(path) > maxSocketPath {
		return nil, code.Wrap(code.NoAgent, fs.ErrNotExist, "no agent runs in %s", b)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if nobody(err) {
		return nil, code.Wrap(code.NoAgent, err, "no agent runs in %s", b)
	}
	return conn, code.Wrap(code.NoAgent, err, "the agent in %s does not answer", b)
}

// nobody tells whether an error of connect means that no process holds the socket.
func nobody(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// Dial finds the agent that runs in dir. Codes NoAgent, NotInitialised, BadConfig.
func Dial(dir string) (*Client, error) {
	b, err := base(dir)
	if err != nil {
		return nil, err
	}
	conn, err := connect(context.Background(), b)
	if err != nil {
		return nil, err
	}
	conn.Close()
	return NewClient(func(ctx context.Context) (net.Conn, error) { return connect(ctx, b) }), nil
}
