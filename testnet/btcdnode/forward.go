package btcdnode

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// forward listens on addr and passes every connection on to target until done
// is closed. A restarted node has to be given its chain before anybody else may
// look at it, so it listens elsewhere and gets its old address back by this.
func forward(addr, target string, done <-chan struct{}) error {
	l, err := listenAgain(addr)
	if err != nil {
		return fmt.Errorf("btcdnode: the old RPC address: %w", err)
	}
	go func() {
		<-done
		l.Close()
	}()
	go acceptAll(l, target)
	return nil
}

// listenAgain waits a moment for the last run's listener to close.
func listenAgain(addr string) (net.Listener, error) {
	for attempt := 1; ; attempt++ {
		l, err := net.Listen("tcp", addr)
		if err == nil || attempt == 100 {
			return l, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// acceptAll ends when the listener is closed.
func acceptAll(l net.Listener, target string) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go splice(conn, target)
		}
	}
}

// splice ends when either side closes, which a dead node does for every
// connection.
func splice(conn net.Conn, target string) {
	defer conn.Close()
	node, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer node.Close()
	var closing sync.Once
	both := func() {
		closing.Do(func() { conn.Close(); node.Close() })
	}
	go func() {
		defer both()
		_, _ = io.Copy(node, conn) // an end of either stream ends both
	}()
	_, _ = io.Copy(conn, node)
	both()
}
