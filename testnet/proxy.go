package testnet

import (
	"io"
	"net"
	"sync"
)

// proxy is the cable to one relay: a loopback port that stays the same while the relay behind
// it comes, goes and moves. Cutting it closes what is open and refuses what comes.
type proxy struct {
	ln net.Listener

	mu     sync.Mutex
	target string            // guarded by mu; empty: nobody there
	cut    bool              // guarded by mu
	after  int64             // guarded by mu; bytes from the relay until the cable is cut by itself; 0: never
	open   map[net.Conn]bool // guarded by mu
	wg     sync.WaitGroup
}

func newProxy() (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{ln: ln, open: make(map[net.Conn]bool)}
	p.wg.Go(p.serve)
	return p, nil
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

// point says where the relay is now; empty when it is gone.
func (p *proxy) point(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	if target == "" {
		p.drop()
	}
}

// setCut takes the cable out or puts it in; it tells whether it was out before.
func (p *proxy) setCut(cut bool) (was bool) {
	p.mu.Lock()
	was, p.cut = p.cut, cut
	p.mu.Unlock()
	if cut {
		p.drop()
	}
	return was
}

func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.Close()
	}
}

func (p *proxy) close() {
	p.ln.Close()
	p.setCut(true)
	p.wg.Wait()
}

func (p *proxy) serve() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.carry(in) })
	}
}

// carry moves bytes both ways until either side ends.
func (p *proxy) carry(in net.Conn) {
	defer in.Close()
	p.mu.Lock()
	target, cut := p.target, p.cut
	p.mu.Unlock()
	if target == "" || cut {
		return
	}
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer out.Close()
	if !p.track(in, true) {
		return
	}
	defer p.track(in, false)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, in)
		out.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(meter{p, in}, out)
	in.Close()
	<-done
}

// meter is a connection on which the cable counts what it carries from the relay.
type meter struct {
	cable *proxy
	to    net.Conn
}

// Write hides that to is a socket, so that io.Copy does not pass the meter by.
func (m meter) Write(b []byte) (int, error) {
	if m.cable.carried(int64(len(b))) {
		return m.to.Write(b)
	}
	m.cable.setCut(true)
	return 0, net.ErrClosed
}

// carried counts bytes; false when they are one too many.
func (p *proxy) carried(n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after == 0 {
		return true
	}
	if p.after <= n {
		p.after = 0
		return false
	}
	p.after -= n
	return true
}

// cutAfter cuts the cable by itself when it has carried so many bytes more from the relay.
func (p *proxy) cutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = n
}

// track notes an open connection; false if the cable was cut meanwhile.
func (p *proxy) track(c net.Conn, add bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !add {
		delete(p.open, c)
		return true
	}
	if p.cut || p.target == "" {
		return false
	}
	p.open[c] = true
	return true
}
