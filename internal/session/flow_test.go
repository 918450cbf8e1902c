package session

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/transport"
)

func TestBadRequestsAreAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := known(t, serverConfig(t, answer))
		whole, _ := message.Encode(5, &message.RequestUsage{})
		for name, c := range map[string]struct {
			frame []byte
			want  code.Code
		}{
			"truncated":    {whole[:20], code.Malformed},
			"trailing":     {append(whole[:len(whole):len(whole)], 1), code.Malformed},
			"unknown type": {append([]byte{9, 9}, whole[2:]...), code.Unsupported},
			"relay's type": {append([]byte{0, byte(message.TypePong)}, whole[2:]...), code.Unsupported},
		} {
			x.send(c.frame)
			if got := x.refused(5); got != c.want {
				t.Errorf("%s: %v", name, got)
			}
		}
		x.say(6, &message.Account{})
		if id, m, _ := x.hear(); id != 6 || m.Type() != message.TypeAccountInfo {
			t.Errorf("after bad requests: %d %v", id, m)
		}
		x.conn.Close(code.OK, "")
		<-x.done
	})
}

func TestWhatEndsASession(t *testing.T) {
	never := func(context.Context, *Server, Request) {}
	for name, c := range map[string]struct {
		do   func(*stranger)
		want code.Code
	}{
		"short frame":    {func(x *stranger) { x.send([]byte{1}) }, code.Malformed},
		"id zero":        {func(x *stranger) { x.say(0, &message.Account{}) }, code.Malformed},
		"id in use":      {func(x *stranger) { x.say(7, &message.Account{}); x.say(7, &message.Account{}) }, code.Malformed},
		"second hello":   {func(x *stranger) { x.say(7, &message.Hello{}) }, code.Malformed},
		"second proof":   {func(x *stranger) { x.say(7, &message.Auth{}) }, code.Forbidden},
		"over the limit": {func(x *stranger) { x.send(make([]byte, 2<<20+1)) }, code.TooLarge},
		"going away":     {func(x *stranger) { x.conn.Close(code.OK, "") }, code.Disconnected},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				x := known(t, serverConfig(t, never))
				c.do(x)
				closed := code.OK
				for closed == code.OK {
					_, _, closed = x.hear()
				}
				if closed != c.want || x.ended() != c.want {
					t.Errorf("closed %v, ended %v, want %v", closed, x.err, c.want)
				}
			})
		})
	}
}

func TestEightBadSignaturesEndASession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := known(t, serverConfig(t, func(_ context.Context, s *Server, r Request) {
			if r.ID%2 == 0 {
				s.Strike()
				s.Reply(r.ID, &message.AccountInfo{})
				return
			}
			s.Fail(r.ID, code.New(code.BadSignature, "no"))
		}))
		for i := range uint64(maxStrikes) {
			x.say(i+10, &message.Account{})
			if id, _, closed := x.hear(); id != i+10 {
				t.Fatalf("request %d: answer %d, closed %v", i, id, closed)
			}
		}
		if _, _, closed := x.hear(); closed != code.BadSignature || x.ended() != code.BadSignature {
			t.Errorf("closed %v, ended %v", closed, x.err)
		}
	})
}

// held collects requests and lets the test answer them.
type held struct {
	mu  sync.Mutex
	got []Request
	s   *Server
}

func (h *held) Handle(_ context.Context, s *Server, r Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.s, h.got = s, append(h.got, r)
}

// session is where the requests come from.
func (h *held) session() *Server {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.s
}

// take waits until nothing moves and gives what has come.
func (h *held) take() []Request {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.got
	h.got = nil
	return got
}

func TestFloodStopsAtTheLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &held{}
		sc := serverConfig(t, h.Handle)
		sc.Limits.MaxInFlight = 5
		x := known(t, sc)
		const all = 23
		go func() {
			for i := range uint64(all) {
				x.say(i+10, &message.Account{})
			}
		}()
		seen := 0
		for seen < all {
			got := h.take()
			if len(got) == 0 || len(got) > 5 {
				t.Fatalf("%d requests are open, %d answered", len(got), seen)
			}
			seen += len(got)
			for _, r := range got {
				h.session().Reply(r.ID, &message.AccountInfo{})
			}
			for range got {
				if _, m, closed := x.hear(); m == nil {
					t.Fatalf("closed: %v", closed)
				}
			}
		}
		x.conn.Close(code.OK, "")
		<-x.done
	})
}

func TestClientKeepsToTheLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &held{}
		sc := serverConfig(t, h.Handle)
		sc.Limits.MaxInFlight = 5
		c, _ := connect(t, sc, clientConfig(t))
		var wg sync.WaitGroup
		for range 23 {
			wg.Go(func() {
				if _, err := c.Call(t.Context(), &message.Account{}); err != nil {
					t.Error(err)
				}
			})
		}
		if _, err := c.Call(t.Context(), &message.Ping{}); err != nil {
			t.Errorf("a ping takes no slot: %v", err)
		}
		for seen := 0; seen < 23; {
			got := h.take()
			if len(got) == 0 || len(got) > 5 {
				t.Fatalf("%d requests are open, %d answered", len(got), seen)
			}
			seen += len(got)
			for _, r := range got {
				h.session().Reply(r.ID, &message.AccountInfo{})
			}
		}
		wg.Wait()
	})
}

func TestAnswersInAnyOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &held{}
		c, _ := connect(t, serverConfig(t, h.Handle), clientConfig(t))
		var wg sync.WaitGroup
		for i := range byte(20) {
			wg.Go(func() {
				m, err := c.Call(t.Context(), &message.Write{Bundles: [][]byte{{1}}, Contents: [][]byte{{i}}})
				if err != nil || m.(*message.Written).Receipt[0] != i {
					t.Errorf("%d: %v %v", i, m, err)
				}
			})
		}
		got := h.take()
		for i := range got {
			r := got[len(got)-1-i]
			h.session().Reply(r.ID, &message.Written{Receipt: r.Message.(*message.Write).Contents[0]})
		}
		wg.Wait()
	})
}

func TestCallGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &held{}
		sc := serverConfig(t, h.Handle)
		sc.Limits.MaxInFlight = 1
		c, _ := connect(t, sc, clientConfig(t))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Call(ctx, &message.Account{})
		if code.Of(err) != code.Timeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("given up: %v", err)
		}
		// The relay still works on it, so there is no slot until its late answer.
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Call(ctx, &message.Account{}); code.Of(err) != code.Timeout {
			t.Errorf("a second one: %v", err)
		}
		for _, r := range h.take() {
			h.session().Reply(r.ID, &message.AccountInfo{FreeUsed: 1})
		}
		synctest.Wait()
		go func() {
			for _, r := range h.take() {
				h.session().Reply(r.ID, &message.AccountInfo{FreeUsed: 2})
			}
		}()
		m, err := c.Call(t.Context(), &message.Account{})
		if err != nil || m.(*message.AccountInfo).FreeUsed != 2 {
			t.Errorf("a third one: %v %v", m, err)
		}
	})
}

func TestListenUntilCancelled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var over sync.WaitGroup
		over.Add(1)
		c, _ := connect(t, serverConfig(t, func(ctx context.Context, s *Server, r Request) {
			go func() {
				defer over.Done()
				for i := uint64(1); ; i++ {
					if err := s.Send(ctx, r.ID, &message.ListenEvent{Through: i}); err != nil {
						s.Fail(r.ID, err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			}()
		}), clientConfig(t))
		l, err := c.Stream(t.Context(), &message.Listen{})
		if err != nil {
			t.Fatal(err)
		}
		for i := uint64(1); i <= 10; i++ {
			m, err := l.Next(t.Context())
			if err != nil || m.(*message.ListenEvent).Through != i {
				t.Fatalf("event %d: %v %v", i, m, err)
			}
		}
		l.Close()
		over.Wait()
		if _, err := l.Next(t.Context()); err == nil {
			t.Error("a closed stream goes on")
		}
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.open) != 0 {
			t.Errorf("%d requests are still open", len(c.open))
		}
	})
}

// TestNothingFollowsACancel has the relay send at full speed while the client cancels.
func TestNothingFollowsACancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := known(t, serverConfig(t, func(ctx context.Context, s *Server, r Request) {
			for range 3 {
				go func() {
					for s.Send(ctx, r.ID, &message.ListenEvent{}) == nil {
						continue
					}
				}()
			}
			go func() {
				<-ctx.Done()
				s.Reply(r.ID, &message.ListenEvent{Through: 99})
			}()
		}))
		x.say(10, &message.Listen{})
		for range 100 {
			x.hear()
		}
		cancel := frameOf(t, 11, &message.Cancel{ID: 10})
		go x.send(cancel)
		id, m, _ := x.hear()
		for id == 10 {
			id, m, _ = x.hear()
		}
		if _, ok := m.(*message.OK); !ok || id != 11 {
			t.Fatalf("answer %d %v", id, m)
		}
		x.say(12, &message.Ping{})
		if id, m, closed := x.hear(); id != 12 {
			t.Errorf("after the cancel: %d %v %v", id, m, closed)
		}
		x.conn.Close(code.OK, "")
		<-x.done
	})
}

func TestListensAreFew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := known(t, serverConfig(t, func(ctx context.Context, s *Server, r Request) {
			context.AfterFunc(ctx, func() { s.Fail(r.ID, ctx.Err()) })
		}))
		for i := range uint64(maxListens) {
			x.say(10+i, &message.Listen{})
		}
		x.say(100, &message.Listen{})
		if got := x.refused(100); got != code.Busy {
			t.Errorf("one listen too many: %v", got)
		}
		x.say(101, &message.Cancel{ID: 10})
		x.hear()
		synctest.Wait()
		x.say(102, &message.Listen{})
		x.say(103, &message.Ping{})
		if id, m, _ := x.hear(); id != 103 {
			t.Errorf("a listen in the place of a cancelled one: %d %v", id, m)
		}
		x.conn.Close(code.OK, "")
		<-x.done
	})
}

func TestReadStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, _ := connect(t, serverConfig(t, func(ctx context.Context, s *Server, r Request) {
			go func() {
				for i := range byte(10) {
					if err := s.Send(ctx, r.ID, &message.ReadData{Data: []byte{i}}); err != nil {
						t.Error(err)
					}
				}
				s.Reply(r.ID, &message.ReadData{Last: true, End: true})
			}()
		}), clientConfig(t))
		r, err := c.Stream(t.Context(), &message.Read{Requests: []byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			_, err := r.Next(t.Context())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 11 || len(c.slots) != 0 {
			t.Errorf("%d pieces, %d slots taken", n, len(c.slots))
		}
		r.Close()
	})
}

func TestStreamRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, _ := connect(t, serverConfig(t, answer), clientConfig(t))
		r, err := c.Stream(t.Context(), &message.Read{Requests: []byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(t.Context()); code.Of(err) != code.NotFound {
			t.Error(err)
		}
		for _, m := range []message.Message{&message.Listen{}, &message.OK{}} {
			if _, err := c.Call(t.Context(), m); code.Of(err) != code.BadArgument {
				t.Errorf("call of %s: %v", m.Type(), err)
			}
		}
		if _, err := c.Stream(t.Context(), &message.Account{}); code.Of(err) != code.BadArgument {
			t.Errorf("stream of account: %v", err)
		}
	})
}

// TestSlowClientCostsNoMemory: a client that reads nothing holds up its own answers and
// nobody else.
func TestSlowClientCostsNoMemory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var session *Server
		sent := 0
		x := known(t, serverConfig(t, func(ctx context.Context, s *Server, r Request) {
			session = s
			go func() {
				for s.Send(ctx, r.ID, &message.ReadData{Data: make([]byte, 64<<10)}) == nil {
					sent++
				}
			}()
		}))
		x.say(10, &message.Read{Requests: []byte{1}})
		synctest.Wait()
		if sent*64<<10 > 2*highWater {
			t.Errorf("%d KiB wait for a client that reads nothing", sent*64)
		}
		if session.Push(&message.Contract{Statement: []byte{1}}) {
			t.Error("a push to a client that is behind")
		}
		for range sent {
			x.hear()
		}
		synctest.Wait()
		begin := time.Now()
		if x.ended() == code.OK || time.Since(begin) < 20*time.Second {
			t.Errorf("a client that takes nothing was given up after %v: %v", time.Since(begin), x.err)
		}
	})
}

// TestUnreadAnswersStopTheReader: requests whose answers are not taken are not taken either.
func TestUnreadAnswersStopTheReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		handled := 0
		x := known(t, serverConfig(t, func(_ context.Context, s *Server, r Request) {
			handled++
			s.Reply(r.ID, &message.Identity{Document: make([]byte, 60<<10)})
		}))
		go func() {
			for i := range uint64(1000) {
				if f, _ := message.Encode(10+i, &message.GetIdentity{}); x.conn.Write(context.Background(), f) != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if handled > 2*highWater/(60<<10) {
			t.Errorf("%d requests were taken from a client that reads nothing", handled)
		}
		x.conn.Close(code.OK, "")
		<-x.done
	})
}

func TestShutdownIsSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, s := connect(t, serverConfig(t, func(context.Context, *Server, Request) {}), clientConfig(t))
		failed := make(chan error)
		go func() {
			_, err := c.Call(t.Context(), &message.Account{})
			failed <- err
		}()
		l, err := c.Stream(t.Context(), &message.Listen{})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.stop()
		if err := <-failed; code.Of(err) != code.ShuttingDown {
			t.Errorf("an open call: %v", err)
		}
		if _, err := l.Next(t.Context()); code.Of(err) != code.ShuttingDown {
			t.Errorf("an open stream: %v", err)
		}
		if s.ended() != code.ShuttingDown {
			t.Error(s.err)
		}
		<-c.Done()
		if _, err := c.Call(t.Context(), &message.Account{}); code.Of(err) != code.ShuttingDown {
			t.Errorf("a call after the end: %v", err)
		}
		if _, open := <-c.Pushes(); open {
			t.Error("pushes are still open")
		}
	})
}

func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cc := clientConfig(t)
		cc.KeepAlive = 0
		c, s := connect(t, serverConfig(t, answer), cc)
		time.Sleep(3 * time.Hour)
		if err := c.Err(); err != nil {
			t.Fatalf("a quiet session ended: %v", err)
		}
		c.Close()
		<-s.done

		mute, s := connect(t, serverConfig(t, answer), clientConfig(t))
		begin := time.Now()
		if s.ended() != code.Timeout || time.Since(begin) != idleTime {
			t.Errorf("a mute client: %v after %v", s.err, time.Since(begin))
		}
		<-mute.Done()
	})
}

// TestDeadRelayIsNoticed cuts the way back: all that the client says is still taken.
func TestDeadRelayIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, left := transport.Pipe([32]byte{7}, clientAddr, relayAddr)
		right, far := transport.Pipe([32]byte{7}, clientAddr, relayAddr)
		s := serveOn(far, serverConfig(t, answer))
		var cut atomic.Bool
		go copyFrames(left, right)
		go func() {
			for {
				f, err := right.Read(context.Background())
				if err != nil {
					return
				}
				if !cut.Load() {
					_ = left.Write(context.Background(), f)
				}
			}
		}()
		cc := clientConfig(t)
		cc.KeepAlive = time.Minute
		c, err := Connect(t.Context(), near, cc)
		if err != nil {
			t.Fatal(err)
		}
		cut.Store(true)
		begin := time.Now()
		<-c.Done()
		if d := time.Since(begin); code.Of(c.Err()) != code.Timeout || d > 3*time.Minute {
			t.Errorf("%v after %v", c.Err(), d)
		}
		right.Close(code.OK, "")
		<-s.done
	})
}
