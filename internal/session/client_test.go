package session

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"relaymarket/internal/code"
	"relaymarket/internal/message"
)

// evil answers every request with whatever bytes f makes of its id.
func evil(t *testing.T, f func(id uint64) [][]byte) ServerConfig {
	return serverConfig(t, func(_ context.Context, s *Server, r Request) {
		for _, frame := range f(r.ID) {
			s.out.put(frame, false, nil)
		}
	})
}

func frameOf(t *testing.T, id uint64, m message.Message) []byte {
	t.Helper()
	f, err := message.Encode(id, m)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestClientAgainstABadRelay(t *testing.T) {
	enc := func(id uint64, m message.Message) []byte { return frameOf(t, id, m) }
	pong := enc(1, &message.Pong{Time: 1})
	for name, c := range map[string]struct {
		frames func(id uint64) [][]byte
		call   code.Code // how the call ends
		over   bool      // whether the session ends with it
	}{
		"wrong answer":   {func(id uint64) [][]byte { return [][]byte{enc(id, &message.OK{})} }, code.Malformed, true},
		"short frame":    {func(uint64) [][]byte { return [][]byte{{1}} }, code.Malformed, true},
		"garbage":        {func(uint64) [][]byte { return [][]byte{bytes.Repeat([]byte{0}, 100)} }, code.Unsupported, true},
		"unasked ok":     {func(uint64) [][]byte { return [][]byte{enc(0, &message.OK{})} }, code.Malformed, true},
		"over the limit": {func(id uint64) [][]byte { return [][]byte{make([]byte, 2<<20+1)} }, code.TooLarge, true},
		"unknown answer": {func(id uint64) [][]byte { return [][]byte{append([]byte{9, 9}, enc(id, &message.OK{})[2:]...)} }, code.Unsupported, false},
		"broken answer": {func(id uint64) [][]byte {
			f := enc(id, &message.AccountInfo{FreeUsed: 7})
			return [][]byte{f[:len(f)-1]}
		}, code.Malformed, false},
		"answers to nobody": {func(id uint64) [][]byte {
			return [][]byte{enc(id+1000, &message.OK{}), pong, enc(id, &message.AccountInfo{}), enc(id, &message.AccountInfo{})}
		}, code.OK, false},
		"unknown error code": {func(id uint64) [][]byte { return [][]byte{enc(id, &message.Error{Code: 60000, Text: "new"})} }, 60000, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				client, _ := connect(t, evil(t, c.frames), clientConfig(t))
				if _, err := client.Call(t.Context(), &message.Account{}); code.Of(err) != c.call {
					t.Errorf("the call ends with %v, want %v", err, c.call)
				}
				synctest.Wait()
				if over := client.Err() != nil; over != c.over {
					t.Errorf("the session: %v", client.Err())
				}
				if !c.over {
					if _, err := client.Call(t.Context(), &message.Ping{}); err != nil {
						t.Errorf("and then: %v", err)
					}
				}
			})
		})
	}
}

func TestRequestOverTheRelaysLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, _ := connect(t, serverConfig(t, answer), clientConfig(t))
		big := make([]byte, message.MaxContent)
		m := &message.Write{Bundles: [][]byte{{1}}, Contents: [][]byte{big, big}}
		if _, err := c.Call(t.Context(), m); code.Of(err) != code.TooLarge {
			t.Error(err)
		}
		if len(c.slots) != 0 || len(c.open) != 0 {
			t.Errorf("%d slots and %d requests are taken by what was never sent", len(c.slots), len(c.open))
		}
		if _, err := c.Call(t.Context(), &message.Contract{}); code.Of(err) != code.Malformed {
			t.Error(err)
		}
	})
}

func TestPushesKeepTheNewest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var s *Server
		sc := serverConfig(t, answer)
		sc.Opened = func(x *Server) { s = x }
		c, _ := connect(t, sc, clientConfig(t))
		synctest.Wait() // until Opened has returned
		for i := range byte(50) {
			if !s.Push(&message.Contract{Statement: []byte{i}}) {
				t.Fatal("push refused")
			}
		}
		synctest.Wait()
		for i := 50 - maxPushes; i < 50; i++ {
			if m := <-c.Pushes(); m.(*message.Contract).Statement[0] != byte(i) {
				t.Fatalf("push %d is %v", i, m)
			}
		}
	})
}

// TestSlowReaderOfAStream is cut off, told so, and can begin again where it was.
func TestSlowReaderOfAStream(t *testing.T) {
	for name, c := range map[string]struct {
		request func(after uint32) message.Message
		piece   func(n uint32) message.Message
		number  func(message.Message) uint32
		most    uint32
	}{
		"many": {
			func(after uint32) message.Message { return &message.Listen{After: uint64(after)} },
			func(n uint32) message.Message { return &message.ListenEvent{Through: uint64(n)} },
			func(m message.Message) uint32 { return uint32(m.(*message.ListenEvent).Through) }, maxStreamItems,
		},
		"much": {
			func(after uint32) message.Message { return &message.Read{Requests: []byte{1}, Offset: after * 4096} },
			func(n uint32) message.Message {
				return &message.ReadData{Offset: n * 4096, Data: make([]byte, message.MaxPiece)}
			},
			func(m message.Message) uint32 { return m.(*message.ReadData).Offset / 4096 }, MaxStreamBytes / message.MaxPiece,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cutOff := make(chan struct{})
				client, _ := connect(t, serverConfig(t, func(ctx context.Context, s *Server, r Request) {
					go func() {
						var after uint32
						switch m := r.Message.(type) {
						case *message.Listen:
							after = uint32(m.After)
						case *message.Read:
							after = m.Offset / 4096
						}
						for n := after + 1; s.Send(ctx, r.ID, c.piece(n)) == nil; n++ {
						}
						s.Fail(r.ID, ctx.Err())
						cutOff <- struct{}{}
					}()
				}), clientConfig(t))
				var last uint32
				for range 2 {
					stream, err := client.Stream(t.Context(), c.request(last))
					if err != nil {
						t.Fatal(err)
					}
					<-cutOff // the client cancels when its queue is full
					last = drainStream(t, stream, c.number, last, c.most)
				}
				synctest.Wait()
				if len(client.open) != 0 || len(client.slots) != 0 {
					t.Errorf("%d requests are open, %d slots taken", len(client.open), len(client.slots))
				}
			})
		})
	}
}

// drainStream reads what a stream that was cut off has kept, which follows on last.
func drainStream(t *testing.T, s *Stream, number func(message.Message) uint32, last, most uint32) uint32 {
	t.Helper()
	defer s.Close()
	first := last
	for {
		m, err := s.Next(t.Context())
		if err != nil {
			if code.Of(err) != code.Busy || last == first || last-first > most {
				t.Errorf("%d answers were kept, then %v", last-first, err)
			}
			return last
		}
		if last++; number(m) != last {
			t.Fatalf("answer %d after %d", number(m), last-1)
		}
	}
}

func TestNextGivesUpWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, _ := connect(t, serverConfig(t, func(ctx context.Context, s *Server, r Request) {
			time.AfterFunc(time.Minute, func() { s.Reply(r.ID, &message.ReadData{End: true}) })
		}), clientConfig(t))
		r, err := c.Stream(t.Context(), &message.Read{Requests: []byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Next(ctx); code.Of(err) != code.Timeout {
			t.Error(err)
		}
		if m, err := r.Next(t.Context()); err != nil || !message.Final(m) {
			t.Errorf("the stream still lives: %v %v", m, err)
		}
	})
}

// TestHandlerFaults: a handler that answers wrongly hurts one request and says so in the log.
func TestHandlerFaults(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, _ := connect(t, serverConfig(t, func(ctx context.Context, s *Server, r Request) {
			switch r.Message.(type) {
			case *message.Account:
				s.Reply(r.ID, &message.OK{}) // not an answer to account
			case *message.Contract:
				s.Reply(r.ID, &message.OK{})
				s.Reply(r.ID, &message.OK{}) // twice
				s.Fail(r.ID+1000, context.Canceled)
			case *message.GetIdentity:
				s.Reply(r.ID, &message.Identity{}) // cannot be encoded
			case *message.Read:
				if s.Send(ctx, r.ID, &message.ReadData{End: true}) == nil || s.Send(ctx, r.ID, &message.OK{}) == nil {
					t.Error("a final message was sent as one of several")
				}
				s.Reply(r.ID, &message.ReadData{}) // not final
			}
		}), clientConfig(t))
		for _, m := range []message.Message{&message.Account{}, &message.GetIdentity{}} {
			if _, err := c.Call(t.Context(), m); code.Of(err) != code.Internal {
				t.Errorf("%s: %v", m.Type(), err)
			}
		}
		if _, err := c.Call(t.Context(), &message.Contract{Statement: []byte{1}}); err != nil {
			t.Error(err)
		}
		r, err := c.Stream(t.Context(), &message.Read{Requests: []byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(t.Context()); code.Of(err) != code.Internal {
			t.Error(err)
		}
		if _, err := c.Call(t.Context(), &message.Ping{}); err != nil {
			t.Errorf("the session: %v", err)
		}
	})
}
