package contract

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/mempool"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/usage"
)

// failer is what testing.T and rapid.T share.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// seedKey is a private key that a name stands for.
func seedKey(name string) *btcec.PrivateKey {
	h := sha256.Sum256([]byte(name))
	k, _ := btcec.PrivKeyFromBytes(h[:])
	return k
}

func seedIdentity(name string) identity.PrivateKey {
	k, err := identity.NewPrivateKey(seedKey("id " + name).Serialize())
	if err != nil {
		panic(err)
	}
	return k
}

// p2tr is the key-path-only output script of a key (BIP86).
func p2tr(k *btcec.PrivateKey) []byte {
	s, err := txscript.PayToTaprootScript(txscript.ComputeTaprootKeyNoScript(k.PubKey()))
	if err != nil {
		panic(err)
	}
	return s
}

func p2wpkh(k *btcec.PrivateKey) []byte {
	s, err := txscript.NewScriptBuilder().AddOp(txscript.OP_0).
		AddData(address.Hash160(k.PubKey().SerializeCompressed())).Script()
	if err != nil {
		panic(err)
	}
	return s
}

// block is a block of the model chain.
type block struct{ txs []*wire.MsgTx }

// hash stands for the hash of the header: it depends on what is in the block.
func (b block) hash() chainhash.Hash {
	var all []byte
	for _, tx := range b.txs {
		id := tx.TxHash()
		all = append(all, id[:]...)
	}
	return chainhash.HashH(all)
}

// ledger is a small model of a node: it runs every script of every transaction with the rules of
// relay policy, enforces lock times and replacement, and keeps every satoshi.
type ledger struct {
	base   map[wire.OutPoint]*wire.TxOut // coins from before the test, at height 1
	start  usage.Height
	blocks []block // blocks[i] is at height start+1+i
	pool   []*wire.MsgTx
}

func (l *ledger) tip() usage.Height { return l.start + usage.Height(len(l.blocks)) }

// find gives an unspent output and its height (0 in the pool); spends by the pool are not counted.
func (l *ledger) find(op wire.OutPoint) (*wire.TxOut, usage.Height, bool) {
	out, at := l.base[op], usage.Height(1)
	for i, b := range l.blocks {
		for _, tx := range b.txs {
			if tx.TxHash() == op.Hash && int(op.Index) < len(tx.TxOut) {
				out, at = tx.TxOut[op.Index], l.start+1+usage.Height(i)
			}
		}
	}
	if out == nil {
		for _, tx := range l.pool {
			if tx.TxHash() == op.Hash && int(op.Index) < len(tx.TxOut) {
				return tx.TxOut[op.Index], 0, true
			}
		}
		return nil, 0, false
	}
	for _, b := range l.blocks {
		for _, tx := range b.txs {
			if spends(tx, op) {
				return nil, 0, false
			}
		}
	}
	return out, at, true
}

func spends(tx *wire.MsgTx, op wire.OutPoint) bool {
	for _, in := range tx.TxIn {
		if in.PreviousOutPoint == op {
			return true
		}
	}
	return false
}

func (l *ledger) has(id chainhash.Hash) bool {
	for _, b := range l.blocks {
		for _, tx := range b.txs {
			if tx.TxHash() == id {
				return true
			}
		}
	}
	for _, tx := range l.pool {
		if tx.TxHash() == id {
			return true
		}
	}
	return false
}

// fee is what a transaction pays; it fails when an input is missing.
func (l *ledger) fee(tx *wire.MsgTx) (int64, error) {
	var sum int64
	for _, in := range tx.TxIn {
		out, _, ok := l.find(in.PreviousOutPoint)
		if !ok {
			return 0, fmt.Errorf("input %v is missing or spent", in.PreviousOutPoint)
		}
		sum += out.Value
	}
	return sum - int64(outputSum(tx)), nil
}

// accept is sendrawtransaction. A transaction that is known is accepted again.
func (l *ledger) accept(tx *wire.MsgTx) error {
	if l.has(tx.TxHash()) {
		return nil
	}
	if err := mempool.CheckTransactionStandard(btcutil.NewTx(tx), int32(l.tip())+1, time.Unix(1, 0), 1000, 2); err != nil {
		return err
	}
	prevouts := map[wire.OutPoint]*wire.TxOut{}
	for _, in := range tx.TxIn {
		out, at, ok := l.find(in.PreviousOutPoint)
		if !ok {
			return fmt.Errorf("input %v is missing or spent", in.PreviousOutPoint)
		}
		if in.Sequence < 1<<31 && (at == 0 || at+usage.Height(in.Sequence) > l.tip()+1) {
			return fmt.Errorf("sequence locks not met")
		}
		prevouts[in.PreviousOutPoint] = out
	}
	if err := execute(tx, prevouts); err != nil {
		return err
	}
	fee, err := l.fee(tx)
	if err != nil {
		return err
	}
	if fee < vsize(tx) {
		return fmt.Errorf("fee %d below the relay minimum for %d vB", fee, vsize(tx))
	}
	return l.replace(tx, fee)
}

// replace applies BIP125 as btcd does: a higher rate than everything evicted, and a higher fee.
func (l *ledger) replace(tx *wire.MsgTx, fee int64) error {
	var keep []*wire.MsgTx
	var evicted int64
	gone := map[chainhash.Hash]bool{}
	for _, old := range l.pool {
		conflict := false
		for _, in := range old.TxIn {
			conflict = conflict || spends(tx, in.PreviousOutPoint) || gone[in.PreviousOutPoint.Hash]
		}
		if !conflict {
			keep = append(keep, old)
			continue
		}
		gone[old.TxHash()] = true
		f, _ := l.fee(old)
		if fee*vsize(old) <= f*vsize(tx) {
			return fmt.Errorf("insufficient fee rate to replace")
		}
		evicted += f
	}
	if evicted > 0 && fee < evicted+vsize(tx) {
		return fmt.Errorf("insufficient fee to replace")
	}
	l.pool = append(keep, tx)
	return nil
}

// mine puts the transactions that keep allows into a block; nil keeps all.
func (l *ledger) mine(keep func(*wire.MsgTx) bool) block {
	var b block
	var rest []*wire.MsgTx
	for _, tx := range l.pool {
		if keep == nil || keep(tx) {
			b.txs = append(b.txs, tx)
		} else {
			rest = append(rest, tx)
		}
	}
	l.pool = rest
	l.blocks = append(l.blocks, b)
	return b
}

// undo takes the newest block away; its transactions return to the pool if they still fit.
func (l *ledger) undo() {
	last := l.blocks[len(l.blocks)-1]
	l.blocks = l.blocks[:len(l.blocks)-1]
	old := l.pool
	l.pool = nil
	for _, tx := range append(last.txs, old...) {
		_ = l.accept(tx)
	}
}

// party is one side of the test's contract.
type party struct {
	role  Role
	c     Contract
	id    identity.PrivateKey
	key   *btcec.PrivateKey // contract key
	coins map[wire.OutPoint]*btcec.PrivateKey
	inbox []identity.Signed
	sent  []identity.Signed // everything ever sent
	due   usage.Sat         // relay: what it closes for
	acts  map[Purpose]int   // broadcasts by purpose
	deaf  bool              // does not receive
	head  Head              // of the log, as the party knows it
	max   usage.Sat         // client: what it lets a close by the key path cost; 0: what is paid
	sign  *signing          // the close by the key path that it asked for, in memory only
}

// world is a client, a relay and a chain.
type world struct {
	t      failer
	chain  *ledger
	client *party
	relay  *party
	offer  OfferTerms
	serial uint64
	tries  int
	k      usage.Sat // the collateral that the client proposes
}

const startHeight = 900_000

// newWorld is a world on a network whose tip is at startHeight, so that heights are three bytes.
func newWorld(t failer) *world {
	w := &world{
		t:      t,
		chain:  &ledger{base: map[wire.OutPoint]*wire.TxOut{}, start: startHeight},
		client: &party{role: Client, id: seedIdentity("client"), key: seedKey("C"), coins: map[wire.OutPoint]*btcec.PrivateKey{}, acts: map[Purpose]int{}},
		relay:  &party{role: Relay, id: seedIdentity("relay"), key: seedKey("R"), coins: map[wire.OutPoint]*btcec.PrivateKey{}, acts: map[Purpose]int{}},
	}
	w.offer = OfferTerms{
		Network: identity.Regtest, Relay: w.relay.id.Public(), Digest: identity.Tagged("test", []byte("offer")),
		ValidUntil: 1 << 40, Prices: usage.Prices{StorageMsatPerGiBDay: 700, EgressMsatPerGiB: 20_000},
		ContractPrice: 600, MinDeposit: 5_000, MaxDeposit: 1_000_000, MinDuration: 30, MaxDuration: 1000,
		FundingDepth: 3, CreditLimit: 2_000, SettleFeeRate: 1_000, MinFundFeeRate: 1_000, MaxCollateral: 60_000,
	}
	return w
}

func (w *world) stamp() Stamp {
	w.serial++
	var s Stamp
	s.Time = 1 << 39
	binary.BigEndian.PutUint64(s.Serial[:], w.serial)
	return s
}

// coin adds a coin of the client to the chain.
func (w *world) coin(value usage.Sat, script func(*btcec.PrivateKey) []byte) Coin {
	return w.coinOf(w.client, "", value, script)
}

func (w *world) coinOf(p *party, name string, value usage.Sat, script func(*btcec.PrivateKey) []byte) Coin {
	k := seedKey(fmt.Sprintf("%scoin %d", name, len(p.coins)))
	op := wire.OutPoint{Hash: chainhash.HashH(k.Serialize()), Index: uint32(len(p.coins))}
	c := Coin{OutPoint: op, Value: value, Script: script(k)}
	p.coins[op] = k
	w.chain.base[op] = c.txOut()
	return c
}

// proposal is what an honest client would propose: V = 100,000, 1,000 sat prepaid, 60 blocks.
func (w *world) proposal() Propose {
	p := Propose{
		Offer: w.offer, Client: w.client.id.Public(), Nonce: Nonce{7}, Key: KeyOf(w.client.key), Value: 100_000,
		Prepaid: 1_000, Collateral: w.k, Duration: 60, FundFeeRate: 1_500, Coins: []Coin{w.coin(80_000, p2tr), w.coin(70_000, p2wpkh)},
		Payout: p2tr(seedKey("client payout")), Tip: w.chain.tip(), Stamp: w.stamp(),
	}
	fitChange(&p)
	return p
}

// fitChange gives the proposal the change that its fee rate leaves.
func fitChange(p *Propose) {
	p.Change = Change{Value: 1, Script: p2tr(seedKey("change"))}
	var in usage.Sat
	for _, c := range p.Coins {
		in += c.Value
	}
	p.Change.Value = in - p.Value - FeeFor(p.FundFeeRate, fundingWeight(p.Coins, p.Change))
}

func (w *world) views(m *Open) []CoinView {
	coins, _, err := m.Funding()
	if err != nil {
		return nil
	}
	return w.look(coins)
}

// acceptance is the relay's event for a proposal.
func (w *world) acceptance(v Verified) Accept {
	m := v.Message().(*Open)
	var s Share
	if w.relay.c.stage == stageNew {
		s = w.backing(m.Collateral, m.FundFeeRate)
	}
	return Accept{
		Message: v, Offer: w.offer, Coins: w.views(m), Backing: s, Key: KeyOf(w.relay.key),
		Payout: p2tr(seedKey("relay payout")), Tip: w.chain.tip(), Stamp: w.stamp(),
	}
}

func (w *world) other(p *party) *party {
	if p == w.client {
		return w.relay
	}
	return w.client
}

// closely tells whether a step is looked at closely, which costs more than the step: the first forty of its
// kind in this process are, and then one in sixteen. Thousands of histories take the same steps.
func (w *world) closely(p *party, e Event) bool {
	w.tries++
	b, _ := e.(BlockConnected)
	kind := fmt.Sprintf("%T %d %v %v", e, p.role, p.c.State(), len(b.Txs) > 0)
	if r, ok := e.(Received); ok && r.Message.message != nil {
		kind += r.Message.message.kind().String()
	}
	n, _ := steps.LoadOrStore(kind, new(atomic.Int64))
	return n.(*atomic.Int64).Add(1) <= 40 || w.tries%16 == 0
}

// steps counts the steps of each kind in this process.
var steps sync.Map

// try applies an event, checks that the result survives the store, and performs the effects.
func (w *world) try(p *party, e Event) error {
	w.t.Helper()
	thorough := w.closely(p, e)
	var old string
	if thorough {
		old = w.encode(p.c)
	}
	next, effects, err := p.c.Apply(e)
	if thorough && w.encode(p.c) != old {
		w.t.Fatalf("%T changed the old value", e)
	}
	if err != nil {
		if thorough && w.encode(next) != old || effects != nil {
			w.t.Fatalf("%T failed (%v) and changed the contract", e, err)
		}
		return err
	}
	w.transition(p.role, p.c.State(), next.State(), e)
	p.c = next
	if thorough {
		if p.c, err = DecodeContract([]byte(w.encode(next))); err != nil {
			w.t.Fatalf("%T: decode: %v", e, err)
		}
	}
	w.perform(p, effects)
	return nil
}

func (w *world) encode(c Contract) string {
	w.t.Helper()
	raw, err := c.Encode()
	if err != nil {
		w.t.Fatalf("encode: %v", err)
	}
	return string(raw)
}

// do is try where an error is a failure.
func (w *world) do(p *party, e Event) {
	w.t.Helper()
	if err := w.try(p, e); err != nil {
		w.t.Fatalf("%s, %s: %T: %v", p.role, p.c.State(), e, err)
	}
}

func (w *world) perform(p *party, effects []Effect) {
	w.t.Helper()
	for _, e := range effects {
		switch e := e.(type) {
		case Send:
			s, err := identity.SignOne(p.id, e.Statement)
			if err != nil {
				w.t.Fatalf("sign: %v", err)
			}
			p.sent = append(p.sent, s)
			if !w.other(p).deaf {
				w.other(p).inbox = append(w.other(p).inbox, s)
			}
		case SignFunding:
			if e.Cancel {
				w.do(p, SignedCancel{e.FeeRate, w.sign(p, e)})
				continue
			}
			_ = w.try(p, SignedFunding{w.sign(p, e), p.key, w.stamp()})
		case SignBump:
			w.bump(e)
		case Cosign:
			w.cosign(p, e)
		case Broadcast:
			p.acts[e.Why]++
			if w.chain.accept(e.Tx) == nil {
				w.do(p, TxSeen{e.Tx, w.stamp()})
			}
		}
	}
}

// sign is the wallet.
func (w *world) sign(p *party, e SignFunding) map[wire.OutPoint]wire.TxWitness {
	out := map[wire.OutPoint]wire.TxWitness{}
	fetch := txscript.NewMultiPrevOutFetcher(e.Prevouts)
	hashes := txscript.NewTxSigHashes(e.Tx, fetch)
	for i, in := range e.Tx.TxIn {
		prev, k := e.Prevouts[in.PreviousOutPoint], p.coins[in.PreviousOutPoint]
		if k == nil {
			continue // the other side's
		}
		var witness wire.TxWitness
		var err error
		if txscript.IsPayToTaproot(prev.PkScript) {
			witness, err = txscript.TaprootWitnessSignature(e.Tx, hashes, i, prev.Value, prev.PkScript, txscript.SigHashDefault, k)
		} else {
			witness, err = txscript.WitnessSignature(e.Tx, hashes, i, prev.Value, prev.PkScript, txscript.SigHashAll, k, true)
		}
		if err != nil {
			w.t.Fatalf("wallet: %v", err)
		}
		out[in.PreviousOutPoint] = witness
	}
	return out
}

func (w *world) open(s identity.Signed) Verified {
	w.t.Helper()
	v, err := OpenMessage(s)
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	return v
}

// event is how a party takes a message.
func (w *world) event(p *party, v Verified) Event {
	if _, ok := v.Message().(*Open); ok {
		return w.acceptance(v)
	}
	e := Received{Message: v, OwnReport: true, Due: p.due, Max: max(p.max, p.c.paid), Head: p.head, Key: p.key, Stamp: w.stamp()}
	switch m := v.Message().(type) {
	case *CloseSig:
		e.Both, _ = p.sign.finish(p, m)
	case *ServerAddInputs:
		if coins, err := p.c.Backing(m); err == nil {
			e.Coins = w.look(coins)
		}
	}
	return e
}

// deliver hands over all messages; every one must be accepted.
func (w *world) deliver() {
	w.t.Helper()
	for len(w.client.inbox)+len(w.relay.inbox) > 0 {
		for _, p := range []*party{w.client, w.relay} {
			for len(p.inbox) > 0 {
				v := w.open(p.inbox[0])
				p.inbox = p.inbox[1:]
				w.do(p, w.event(p, v))
			}
		}
	}
}

// tell gives the newest block to a party.
func (w *world) tell(p *party, b block) {
	w.t.Helper()
	if p.c.stage == stageNew {
		return
	}
	w.do(p, BlockConnected{Height: w.chain.tip(), Hash: b.hash(), Txs: b.txs, Key: p.key, FeeRate: 2_000, Stamp: w.stamp()})
}

// mine makes n blocks that both parties see.
func (w *world) mine(n int) {
	w.t.Helper()
	for range n {
		b := w.chain.mine(nil)
		w.tell(w.client, b)
		w.tell(w.relay, b)
	}
}

// mineTo makes blocks up to a height.
func (w *world) mineTo(h usage.Height) {
	w.t.Helper()
	w.mine(int(h - w.chain.tip()))
}

// active is a world with an active contract.
func active(t failer) *world { return activeWith(t, 0) }

// activeWith is active with a collateral.
func activeWith(t failer, k usage.Sat) *world {
	t.Helper()
	w := newWorld(t)
	w.k = k
	w.do(w.client, w.proposal())
	w.deliver()
	w.mine(3)
	w.wantStates(StateActive, StateActive)
	return w
}

func (w *world) wantStates(client, relay State) {
	w.t.Helper()
	if c, r := w.client.c.State(), w.relay.c.State(); c != client || r != relay {
		w.t.Fatalf("client is %s and relay is %s, wanted %s and %s", c, r, client, relay)
	}
}

// balance is what the unspent outputs of a script hold in the chain.
func (w *world) balance(script []byte) usage.Sat {
	var sum usage.Sat
	for _, b := range w.chain.blocks {
		for _, tx := range b.txs {
			for i, o := range tx.TxOut {
				if _, _, ok := w.chain.find(wire.OutPoint{Hash: tx.TxHash(), Index: uint32(i)}); ok && sameScript(o.PkScript, script) {
					sum += usage.Sat(o.Value)
				}
			}
		}
	}
	return sum
}

func (w *world) paidTo(p *party) usage.Sat {
	if p == w.client {
		return w.balance(p.c.terms.ClientScript)
	}
	return w.balance(p.c.terms.RelayScript)
}

// pay pays and delivers.
func (w *world) pay(p usage.Sat) {
	w.t.Helper()
	w.do(w.client, Pay{Amount: p, Key: w.client.key, Stamp: w.stamp()})
	w.deliver()
}
