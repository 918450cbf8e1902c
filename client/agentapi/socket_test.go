package agentapi_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relaymarket/client"
	"relaymarket/client/agentapi"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// newDir is a directory of an agent, of a length that the test chooses.
func newDir(t *testing.T, more string) string {
	t.Helper()
	top, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	dir := filepath.Join(top, more)
	if _, err := client.Init(dir, client.InitOptions{Config: client.DefaultConfig(identity.Regtest)}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSocket(t *testing.T) {
	for name, more := range map[string]string{"short path": "", "path longer than a socket's": strings.Repeat("long/", 30)} {
		t.Run(name, func(t *testing.T) { trySocket(t, newDir(t, more)) })
	}
}

func trySocket(t *testing.T, dir string) {
	_, err := agentapi.Dial(dir)
	wantCode(t, err, code.NoAgent)
	l, err := agentapi.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := l.Addr().String()
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("the socket: %v %v", st, err)
	}
	if st, err = os.Stat(filepath.Dir(path)); err != nil || st.Mode().Perm() != 0o700 {
		t.Fatalf("its directory: %v %v", st, err)
	}
	_, err = agentapi.Listen(dir)
	wantCode(t, err, code.AlreadyRunning)

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agentapi.Serve(ctx, named{}, l) }()
	c, err := agentapi.Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if i, err := c.Identity(t.Context()); err != nil || i.Label != "here" {
		t.Fatalf("identity: %+v %v", i, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("the socket is left behind: %v", err)
	}
	_, err = agentapi.Dial(dir)
	wantCode(t, err, code.NoAgent)
	_, err = c.Identity(t.Context())
	wantCode(t, err, code.NoAgent)
}

type named struct{ agentapi.API }

func (named) Identity(context.Context) (client.IdentityInfo, error) {
	return client.IdentityInfo{Label: "here"}, nil
}

// TestDeadSocketIsReplaced leaves a socket behind as an agent does that was killed.
func TestDeadSocketIsReplaced(t *testing.T) {
	for name, more := range map[string]string{"short": "", "long": strings.Repeat("long/", 30)} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t, more)
			l, err := agentapi.Listen(dir)
			if err != nil {
				t.Fatal(err)
			}
			path := l.Addr().String()
			kill(t, path)
			again, err := agentapi.Listen(dir)
			if err != nil {
				t.Fatalf("after a crash: %v", err)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
		})
	}
}

// kill puts a socket in place at which nobody listens any more.
func kill(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNoIdentityNoSocket(t *testing.T) {
	_, err := agentapi.Dial(t.TempDir())
	wantCode(t, err, code.NotInitialised)
	_, err = agentapi.Listen(t.TempDir())
	wantCode(t, err, code.NotInitialised)
}
