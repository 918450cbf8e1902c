package session

import (
	"context"
	"testing"

	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/transport"
)

// FuzzRelayReceives gives the relay's side frames that it did not expect, before and after a
// proof: it answers or ends the session with a coded error, and never panics.
func FuzzRelayReceives(f *testing.F) {
	for _, info := range message.Types() {
		if frame, err := message.Encode(1, sample(info.Type)); err == nil {
			f.Add(frame, frame, true)
			f.Add(frame[:len(frame)-1], frame, false)
		}
	}
	hello, err := message.Encode(1, &message.Hello{MinVersion: 1, MaxVersion: 1, Genesis: testGenesis})
	if err != nil {
		f.Fatal(err)
	}
	auth, err := message.Encode(2, &message.Auth{Key: [32]byte{31: 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hello, auth, false)
	f.Fuzz(func(t *testing.T, first, second []byte, proven bool) {
		near, far := transport.Pipe([32]byte{}, clientAddr, relayAddr)
		go func() {
			for {
				if _, err := near.Read(context.Background()); err != nil {
					return
				}
			}
		}()
		s := newServer(t.Context(), far, serverConfig(t, answer))
		s.timer = newStoppedTimer()
		if proven {
			s.identity = testKey(t, "client").Public()
		}
		for _, frame := range [][]byte{first, second} {
			if err := s.receive(frame); err != nil {
				if c := code.Of(err); c == code.OK || c == code.Internal {
					t.Fatalf("%x ends the session with %v", frame, err)
				}
				break
			}
		}
		s.end(errEnded)
		s.closer.Wait()
		s.out.writers.Wait()
	})
}

// FuzzClientReceives gives the client's side frames that it did not expect.
func FuzzClientReceives(f *testing.F) {
	for _, info := range message.Types() {
		if frame, err := message.Encode(3, sample(info.Type)); err == nil {
			f.Add(frame, frame)
		}
	}
	for _, m := range []message.Message{&message.ListenEvent{}, &message.AccountInfo{}, &message.Error{Code: 2}, &message.OK{}} {
		for id := range uint64(6) {
			if frame, err := message.Encode(id, m); err == nil {
				f.Add(frame, frame)
			}
		}
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		_, far := transport.Pipe([32]byte{}, clientAddr, relayAddr)
		c := newClient(far, clientConfig(t))
		c.info.Limits.MaxFrame = 1 << 20
		c.slots = make(chan struct{}, 8)
		account := &call{typ: message.TypeAccount, slot: true, answer: make(chan message.Message, 1)}
		listen := &call{typ: message.TypeListen, stream: &Stream{client: c, ready: make(chan struct{}, 1)}}
		cancel := &call{typ: message.TypeCancel, cancels: 4}
		for _, k := range []*call{account, listen, cancel} { // ids 3, 4, 5
			if k.slot {
				c.slots <- struct{}{}
			}
			if _, err := c.register(k); err != nil {
				t.Fatal(err)
			}
		}
		for _, frame := range [][]byte{first, second} {
			if err := c.receive(frame); err != nil && code.Of(err) == code.Internal {
				t.Fatalf("%x ends the session with %v", frame, err)
			}
		}
		c.Close()
	})
}
