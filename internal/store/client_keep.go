package store

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// Plain reads what was kept of a sent or received record for the user. Code NotFound.
func (c *Client) Plain(ctx context.Context, record identity.Digest) ([]byte, error) {
	return c.large(ctx, clientPlain, record)
}

// Sealed reads a record's content as it was stored at the relay, if it is kept: of own records
// while they wait for a receipt, of received ones if the user wants that. Code NotFound.
func (c *Client) Sealed(ctx context.Context, record identity.Digest) ([]byte, error) {
	return c.large(ctx, clientSealed, record)
}

// Forget deletes what was kept of a record for the user, and takes a received one off the
// list. What audits need stays, and it is not read a second time. Code NotFound.
func (c *Client) Forget(ctx context.Context, record identity.Digest) error {
	return c.update(ctx, func(t *clientTx) error {
		sent, err := t.forgetSent(record)
		if err != nil {
			return err
		}
		received, err := t.forgetReceived(record)
		if err == nil && !sent && !received {
			err = code.New(code.NotFound, "no such record")
		}
		return err
	})
}

func (t *clientTx) forgetSent(record identity.Digest) (bool, error) {
	s, known, err := t.sent(record)
	if err != nil || !known {
		return false, err
	}
	s.HasPlain = false
	t.putSent(s)
	t.deletePlain(record)
	return true, nil
}

func (t *clientTx) forgetReceived(record identity.Digest) (bool, error) {
	v, err := t.get(key32(clientReceived, record))
	if err != nil || v == nil {
		return false, err
	}
	old, err := decodeReceived(record, v)
	if err != nil {
		return false, err
	}
	t.delete(key32(clientReceived, record))
	t.delete(key8(clientInbox, old.Seq))
	t.deletePlain(record)
	if old.HasSealed {
		t.deleteLarge(clientSealed, record, records.MaxContent)
	}
	return true, nil
}

// SaveSealingKey keeps a key; do that before the document that names it is published.
func (c *Client) SaveSealingKey(ctx context.Context, k records.SealingKey) error {
	raw, err := k.Encode()
	if err != nil {
		return err
	}
	return c.update(ctx, func(t *clientTx) error {
		t.put(sealingKeyKey(k.ID()), raw)
		return nil
	})
}

// SealingKeys lists all keys that are kept.
func (c *Client) SealingKeys(ctx context.Context) ([]records.SealingKey, error) {
	var out []records.SealingKey
	err := c.each(ctx, []byte{clientSealing}, nil, func(p Pair) (bool, error) {
		k, err := records.DecodeSealingKey(p.Value)
		out = append(out, k)
		return true, code.Wrap(code.StoreCorrupt, err, "a sealing key")
	})
	return out, err
}

// DeleteSealingKeys forgets keys for good: what was sealed to them can be read by nobody.
func (c *Client) DeleteSealingKeys(ctx context.Context, ids []records.KeyID) error {
	return c.update(ctx, func(t *clientTx) error {
		for _, id := range ids {
			t.delete(sealingKeyKey(id))
		}
		return nil
	})
}

// SendEpoch is the state of the running epoch to a receiver, zero if there is none.
func (c *Client) SendEpoch(ctx context.Context, to identity.PublicKey) (records.SendEpoch, error) {
	v, err := c.getOne(ctx, key32(clientSendEpoch, to))
	if err != nil {
		return records.SendEpoch{}, err
	}
	return decodeSendEpoch(v)
}

// RecvEpoch is the state of an epoch of a sender, zero if it was never seen.
func (c *Client) RecvEpoch(ctx context.Context, from identity.PublicKey, id records.EpochID) (records.RecvEpoch, error) {
	v, err := c.getOne(ctx, recvEpochKey(from, id))
	if err != nil {
		return records.RecvEpoch{}, err
	}
	return decodeRecvEpoch(v)
}

// SendThread is the conversation to somebody, as sent: its Next numbers the next message.
func (c *Client) SendThread(ctx context.Context, to identity.PublicKey) (records.Thread, error) {
	return c.thread(ctx, clientSendTalk, to)
}

// RecvThread is the conversation from somebody, as received.
func (c *Client) RecvThread(ctx context.Context, from identity.PublicKey) (records.Thread, error) {
	return c.thread(ctx, clientRecvTalk, from)
}

func (c *Client) thread(ctx context.Context, kind byte, peer identity.PublicKey) (records.Thread, error) {
	v, err := c.getOne(ctx, key32(kind, peer))
	if err != nil {
		return records.Thread{}, err
	}
	return decodeThread(v)
}

// SetValue keeps a named value; empty deletes it.
func (c *Client) SetValue(ctx context.Context, name string, value []byte) error {
	return c.update(ctx, func(t *clientTx) error {
		if len(value) == 0 {
			t.delete(valueKey(name))
		} else {
			t.put(valueKey(name), value)
		}
		return nil
	})
}

// Value reads a named value; nil if there is none.
func (c *Client) Value(ctx context.Context, name string) ([]byte, error) {
	return c.getOne(ctx, valueKey(name))
}

// requestGrace is how long, in milliseconds, a request is kept after its end.
const requestGrace = 24 * hourMs

// CleanUp deletes what can be of no use any more: replaced sealing keys and states of epochs
// under which nothing can still be alive, known digests of records whose life is over, old
// requests. maxTTL is the longest life in milliseconds that any of the user's relays grants.
// It gives the number of things deleted.
func (c *Client) CleanUp(ctx context.Context, now, maxTTL identity.UnixMilli) (int, error) {
	keys, err := c.SealingKeys(ctx)
	if err != nil {
		return 0, err
	}
	var old [][]byte
	for _, id := range records.Retired(keys, now, maxTTL) {
		old = append(old, sealingKeyKey(id))
	}
	for kind, over := range map[byte]func([]byte) (bool, error){
		clientRecvEpoch: func(v []byte) (bool, error) {
			e, err := decodeRecvEpoch(v)
			return err == nil && e.Dead(now, maxTTL), err
		},
		clientKnown: func(v []byte) (bool, error) {
			end, err := decodeNumber(v)
			return err == nil && uint64(now) > end && uint64(now)-end > requestGrace, err
		},
		clientRequest: func(v []byte) (bool, error) { return requestOver(v, now) },
	} {
		err := c.each(ctx, []byte{kind}, nil, func(p Pair) (bool, error) {
			gone, err := over(p.Value)
			if gone {
				old = append(old, p.Key)
			}
			return true, err
		})
		if err != nil {
			return 0, err
		}
	}
	return len(old), c.update(ctx, func(t *clientTx) error {
		for _, k := range old {
			t.delete(k)
		}
		return nil
	})
}

func requestOver(v []byte, now identity.UnixMilli) (bool, error) {
	q, err := decodeRequest(v)
	if err != nil {
		return false, err
	}
	body, err := usage.DecodeReadRequest(q.Signed.Statement)
	return err == nil && now > body.NotAfter && now-body.NotAfter > requestGrace, code.Wrap(code.StoreCorrupt, err, "a read request")
}
