package testnet

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/home"
	"relaymarket/internal/message"
	"relaymarket/internal/runner"
	"relaymarket/internal/session"
	"relaymarket/internal/transport"
	"relaymarket/usage"
)

// JoinRelay is AddRelay for a relay that Options did not name: clients added from then on know
// its board.
func (w *World) JoinRelay(ctx context.Context, spec RelaySpec) (*Relay, error) {
	w.opts.Relays = append(w.opts.Relays, spec)
	return w.AddRelay(ctx, spec)
}

// CrashClient ends an agent that has no time to say farewell: every cable is out while it stops.
// What it had not written down is lost. StartClient brings it back.
func (w *World) CrashClient(name string) error {
	for _, r := range w.relays {
		if was := r.cable.setCut(true); !was {
			defer r.cable.setCut(false)
		}
	}
	return w.StopClient(name)
}

// CutAfter cuts the cable of a relay when so many bytes more have come from it: in the middle of something. Heal puts it
// in again.
func (w *World) CutAfter(name string, n int64) error {
	r, err := w.relay(name)
	if err == nil {
		r.cable.cutAfter(n)
	}
	return err
}

// ReorgEmpty replaces the last depth blocks by length blocks that hold nothing: what the old ones
// held waits in the mempool again.
func (w *World) ReorgEmpty(ctx context.Context, depth, length int) error {
	if err := w.Node.Fork(depth, make([][]*wire.MsgTx, length)...); err != nil {
		return err
	}
	return w.Follow(ctx)
}

// MineTo makes blocks until the chain has a height.
func (w *World) MineTo(ctx context.Context, height usage.Height) error {
	_, at, err := w.Node.Tip()
	if err != nil {
		return err
	}
	return w.Mine(ctx, max(0, int(height)-int(at)))
}

// SyncClients makes everybody who runs meet their relays now instead of a little later. Relays that
// cannot be reached are no error: nobody is told of them in life either.
func (w *World) SyncClients(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience/4)
	defer cancel()
	for name, c := range w.clients {
		if c.agent == nil {
			continue
		}
		if err := c.agent.Sync(ctx); err != nil {
			w.log.Debug("a round was not complete", "client", name, "err", err)
		}
	}
}

// Pulled is what a relay answered to one read request: bytes of content, or a reason for none.
type Pulled struct {
	Bytes  int
	Denied usage.Reason
}

// Pull reads a record from a relay with the key of a client whose agent is stopped, as another device
// or a curious program of that person would: with a new signed request each time.
func (w *World) Pull(ctx context.Context, clientName, relayName string, record identity.Digest) (Pulled, error) {
	c, err := w.client(clientName)
	if err != nil {
		return Pulled{}, err
	}
	h, err := home.Open(c.Dir, identity.Regtest, "")
	if err != nil {
		return Pulled{}, err
	}
	defer h.Close()
	s, err := w.dial(ctx, relayName, h.Key())
	if err != nil {
		return Pulled{}, err
	}
	defer s.Close()
	request, err := readRequest(h.Key(), s.Info().Key, record)
	if err != nil {
		return Pulled{}, err
	}
	stream, err := s.Stream(ctx, &message.Read{Requests: request, Homes: message.NewHomes(0)})
	if err != nil {
		return Pulled{}, err
	}
	defer stream.Close()
	return drain(ctx, stream)
}

func (w *World) dial(ctx context.Context, relayName string, key identity.PrivateKey) (*session.Client, error) {
	r, err := w.relay(relayName)
	if err != nil {
		return nil, err
	}
	if r.server == nil {
		return nil, code.New(code.Disconnected, "relay %s is stopped", relayName)
	}
	params, err := runner.Params(identity.Regtest)
	if err != nil {
		return nil, err
	}
	at := r.server.OfferAddresses()[0]
	return session.Dial(ctx, transport.DialOptions{URL: at.URL, Pins: at.Pins}, session.Config{
		Key: key, Relay: r.server.Key(), Genesis: *params.GenesisHash,
	})
}

// readRequest is a bundle of one request that is valid for a minute.
func readRequest(key identity.PrivateKey, relay identity.PublicKey, record identity.Digest) ([]byte, error) {
	now := identity.UnixMilli(time.Now().UnixMilli())
	h := identity.Header{Network: identity.Regtest, From: key.Public(), To: relay, Time: now}
	if _, err := rand.Read(h.Serial[:]); err != nil {
		return nil, err
	}
	raw, err := usage.ReadRequest{Header: h, Record: record, MaxBytes: 2 << 20, NotAfter: now + 60_000}.Encode()
	if err != nil {
		return nil, err
	}
	b, err := identity.SignBundle(key, raw)
	return b.Bytes(), err
}

func drain(ctx context.Context, s *session.Stream) (Pulled, error) {
	var p Pulled
	for {
		m, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return p, nil
		} else if err != nil {
			return p, err
		}
		d, ok := m.(*message.ReadData)
		if !ok {
			return p, code.New(code.Malformed, "a read is answered by %s", m.Type())
		}
		p.Bytes += len(d.Data)
		if len(d.Denial) == 0 {
			continue
		}
		signed, err := identity.ParseSigned(d.Denial)
		if err != nil {
			return p, err
		}
		no, err := usage.OpenDenial(signed)
		if err != nil {
			return p, err
		}
		p.Denied = no.Reason
	}
}
