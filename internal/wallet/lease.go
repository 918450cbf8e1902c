package wallet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/walletdb"
)

// LeaseID names what a coin is reserved for, usually a contract by its nonce.
type LeaseID [32]byte

// Lease is one reserved coin.
type Lease struct {
	ID       LeaseID
	OutPoint wire.OutPoint
	// Until is when the reservation ends by itself; zero: only by Release.
	Until time.Time
}

const (
	outPointLen = 36
	leaseLen    = 40
)

var errStored = errors.New("wallet: stored lease is damaged")

// Lease reserves coins under an id until a time (zero: until Release); it replaces an earlier
// reservation under the same id, and reserves all or none. The coins need not be known or
// unspent: a lease also holds for a coin that comes back in a reorganisation. ErrLeased when one
// is reserved under another id.
func (w *Wallet) Lease(id LeaseID, ops []wire.OutPoint, until time.Time) error {
	w.coinMu.Lock()
	defer w.coinMu.Unlock()
	return w.edit(func(e edit) error { return e.lease(id, ops, until, w.now()) })
}

// Release frees coins that are reserved under this id. With ops nil it frees all of them, and the
// addresses that are bound to the id. What is not reserved under the id is left alone.
func (w *Wallet) Release(id LeaseID, ops []wire.OutPoint) error {
	w.coinMu.Lock()
	defer w.coinMu.Unlock()
	return w.edit(func(e edit) error {
		err := e.release(func(l Lease) bool {
			return l.ID == id && (ops == nil || contains(ops, l.OutPoint))
		})
		if err != nil || ops != nil {
			return err
		}
		return e.unbind(func(x LeaseID) bool { return x == id })
	})
}

// Leases lists what is reserved now, in the order of outpoints.
func (w *Wallet) Leases() ([]Lease, error) {
	var out []Lease
	err := w.view(func(v view) error {
		return eachLease(v.leases, func(l Lease) error {
			if l.live(w.now()) {
				out = append(out, l)
			}
			return nil
		})
	})
	return out, err
}

// ReleaseAllExcept frees every coin that is not in keep, and the addresses bound to ids that lose
// their last coin by it. A program calls it at start with the coins of all its contracts that are not
// archived, after it has reserved those again with Lease.
func (w *Wallet) ReleaseAllExcept(keep map[wire.OutPoint]bool) error {
	w.coinMu.Lock()
	defer w.coinMu.Unlock()
	return w.edit(func(e edit) error {
		return e.release(func(l Lease) bool { return !keep[l.OutPoint] })
	})
}

func contains(ops []wire.OutPoint, op wire.OutPoint) bool {
	for _, o := range ops {
		if o == op {
			return true
		}
	}
	return false
}

func (l Lease) live(now time.Time) bool { return l.Until.IsZero() || l.Until.After(now) }

func (e edit) lease(id LeaseID, ops []wire.OutPoint, until, now time.Time) error {
	for _, op := range ops {
		held, ok, err := findLease(e.leases, op)
		if err != nil {
			return err
		}
		if ok && held.ID != id && held.live(now) {
			return fmt.Errorf("%w: %v", ErrLeased, op)
		}
		if err := e.leases.Put(outPointKey(op), leaseBytes(id, until)); err != nil {
			return err
		}
	}
	return nil
}

// release deletes the chosen leases, and frees the bound addresses of those ids that lost their
// last one.
func (e edit) release(drop func(Lease) bool) error {
	var gone []Lease
	left := map[LeaseID]bool{}
	err := eachLease(e.leases, func(l Lease) error {
		if drop(l) {
			gone = append(gone, l)
		} else {
			left[l.ID] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	empty := map[LeaseID]bool{}
	for _, l := range gone {
		if err := e.leases.Delete(outPointKey(l.OutPoint)); err != nil {
			return err
		}
		empty[l.ID] = !left[l.ID]
	}
	return e.unbind(func(id LeaseID) bool { return empty[id] })
}

// sweep drops leases whose time is over.
func (e edit) sweep(now time.Time) error {
	return e.release(func(l Lease) bool { return !l.live(now) })
}

func eachLease(b walletdb.ReadBucket, f func(Lease) error) error {
	return b.ForEach(func(k, v []byte) error {
		l, err := parseLease(k, v)
		if err != nil {
			return err
		}
		return f(l)
	})
}

func findLease(b walletdb.ReadBucket, op wire.OutPoint) (Lease, bool, error) {
	key := outPointKey(op)
	value := b.Get(key)
	if value == nil {
		return Lease{}, false, nil
	}
	l, err := parseLease(key, value)
	return l, err == nil, err
}

// outPointKey is txid (32 bytes, as hashed) ‖ index (u32, big-endian).
func outPointKey(op wire.OutPoint) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(nil), op.Hash[:]...), op.Index)
}

// leaseBytes is id (32 bytes) ‖ end (u64, unix seconds, 0 = none).
func leaseBytes(id LeaseID, until time.Time) []byte {
	end := uint64(0)
	if !until.IsZero() {
		end = uint64(max(until.Unix(), 1))
	}
	return binary.BigEndian.AppendUint64(append([]byte(nil), id[:]...), end)
}

func parseLease(k, v []byte) (Lease, error) {
	if len(k) != outPointLen || len(v) != leaseLen {
		return Lease{}, errStored
	}
	l := Lease{OutPoint: wire.OutPoint{
		Hash: chainhash.Hash(k[:32]), Index: binary.BigEndian.Uint32(k[32:]),
	}}
	copy(l.ID[:], v)
	if end := binary.BigEndian.Uint64(v[32:]); end > math.MaxInt64 {
		return Lease{}, errStored
	} else if end > 0 {
		l.Until = time.Unix(int64(end), 0)
	}
	return l, nil
}

// bind finds the address that is bound to id on this branch, or binds one: a freed address that
// was never paid, or else the next.
func (e edit) bind(branch byte, id LeaseID, params *chaincfg.Params) (address.Address, error) {
	held, free, err := e.bound(branch, id)
	if err != nil {
		return nil, err
	}
	if held != nil {
		return addressOf(held, params)
	}
	for _, script := range free {
		addr, err := addressOf(script, params)
		if err != nil {
			return nil, err
		}
		if e.paid(addr) {
			if err := e.boundB.Delete(boundKey(branch, script)); err != nil {
				return nil, err
			}
			continue
		}
		return addr, e.boundB.Put(boundKey(branch, script), id[:])
	}
	addr, err := e.derive(branch)
	if err != nil {
		return nil, err
	}
	script, err := txscript.PayToAddrScript(addr)
	if err != nil {
		return nil, err
	}
	return addr, e.boundB.Put(boundKey(branch, script), id[:])
}

// bound reads one branch: the script bound to id, if any, and the free ones.
func (e edit) bound(branch byte, id LeaseID) (held []byte, free [][]byte, err error) {
	var none LeaseID
	err = e.boundB.ForEach(func(k, v []byte) error {
		switch {
		case len(k) < 2 || len(v) != len(id):
			return errStored
		case k[0] != branch:
		case bytes.Equal(v, id[:]):
			held = bytes.Clone(k[1:])
		case bytes.Equal(v, none[:]):
			free = append(free, bytes.Clone(k[1:]))
		}
		return nil
	})
	return held, free, err
}

// unbind frees the addresses of the chosen ids.
func (e edit) unbind(drop func(LeaseID) bool) error {
	var keys [][]byte
	err := e.boundB.ForEach(func(k, v []byte) error {
		if len(v) != len(LeaseID{}) {
			return errStored
		}
		if drop(LeaseID(v)) {
			keys = append(keys, bytes.Clone(k))
		}
		return nil
	})
	if err != nil {
		return err
	}
	var none LeaseID
	for _, k := range keys {
		if err := e.boundB.Put(k, none[:]); err != nil {
			return err
		}
	}
	return nil
}

// paid tells whether the chain has ever shown a payment to the address.
func (e edit) paid(addr address.Address) bool {
	found, err := e.in.Manager.Address(e.addrs, addr)
	return err != nil || found.Used(e.addrs)
}

func boundKey(branch byte, script []byte) []byte { return append([]byte{branch}, script...) }

func addressOf(script []byte, params *chaincfg.Params) (address.Address, error) {
	_, addrs, _, err := txscript.ExtractPkScriptAddrs(script, params)
	if err != nil || len(addrs) != 1 {
		return nil, errStored
	}
	return addrs[0], nil
}
