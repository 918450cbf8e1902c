package testnet

import (
	"context"
	"crypto/tls"
	"errors"

	"relaymarket/identity"
	"relaymarket/internal/home"
	"relaymarket/testnet/evil"
)

// Corrupt puts a dishonest face before a relay, which is restarted for it. The face tells the truth until
// it is given a lie. It must be there before the contracts about which it shall lie are opened.
func (w *World) Corrupt(ctx context.Context, name string) (*evil.Front, error) {
	r, err := w.relay(name)
	if err != nil || r.front != nil {
		return nil, err
	}
	if err := w.StopRelay(name); err != nil {
		return nil, err
	}
	h, err := home.Open(r.Dir, identity.Regtest, "")
	if err != nil {
		return nil, err
	}
	o := evil.Options{Key: h.Key(), Client: w.clientKey, Log: w.log.With("front", name)}
	o.Certificate, err = tls.LoadX509KeyPair(h.Path("tls.crt"), h.Path("tls.key"))
	if err := errors.Join(err, h.Close()); err != nil {
		return nil, err
	}
	r.front = evil.New(o)
	return r.front, w.StartRelay(ctx, name)
}

// Front is the dishonest face of a relay; nil for an honest one.
func (r *Relay) Front() *evil.Front { return r.front }

// connect plugs the cable into the relay, or into its dishonest face.
func (r *Relay) connect() error {
	if r.front == nil {
		r.cable.point(r.server.Addr())
		return nil
	}
	if err := r.front.Open(r.server); err != nil {
		return err
	}
	r.cable.point(r.front.Addr())
	return nil
}

// clientKey is the key of a client of this World.
func (w *World) clientKey(k identity.PublicKey) (identity.PrivateKey, bool) {
	key, ok := w.keys.Load(k)
	if !ok {
		return identity.PrivateKey{}, false
	}
	return key.(identity.PrivateKey), true
}
