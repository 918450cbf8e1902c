package contract

import (
	"bytes"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

func (e BlockConnected) apply(c *Contract) ([]Effect, error) {
	if c.stage == stageNew {
		return nil, code.New(code.BadState, "no contract yet")
	}
	if e.Height == 0 {
		return nil, code.New(code.BadArgument, "block 0 has no contracts")
	}
	if c.atStake() {
		// A missing key must show at the first block, not at the deadline.
		if err := checkPrivate(e.Key, c.key()); err != nil {
			return nil, err
		}
	}
	c.tip = max(c.tip, e.Height)
	effects, err := c.observe(e)
	if err != nil {
		return nil, err
	}
	if c.openingOver() {
		c.abandon()
	}
	due, err := c.due(e.Key, e.FeeRate)
	if err != nil {
		return nil, err
	}
	back, err := c.dueReclaim(e.Key, e.FeeRate)
	return append(append(effects, due...), back...), err
}

// observe takes the facts out of a block's transactions.
func (c *Contract) observe(e BlockConnected) ([]Effect, error) {
	var effects []Effect
	for _, tx := range e.Txs {
		if c.isFunding(tx) {
			more, err := c.published(e.Stamp)
			if err != nil {
				return nil, err
			}
			effects = append(effects, more...)
			c.facts.fundedAt, c.ready.block = e.Height, e.Hash
			continue
		}
		for _, in := range tx.TxIn {
			c.observeSpend(tx, in, e.Height)
		}
	}
	return effects, nil
}

// observeSpend notes what an input in the chain means for the contract.
func (c *Contract) observeSpend(tx *wire.MsgTx, in *wire.TxIn, at usage.Height) {
	switch op := in.PreviousOutPoint; {
	case !c.complete():
	case op == c.escrow():
		c.facts.spend, c.facts.spentAt = c.classify(tx, in), at
	case c.facts.spentAt > 0 && op == c.locked():
		c.facts.sweptAt = at
	case c.terms.Collateral > 0 && op == c.collateral():
		c.facts.backAt = at
	case c.fundsWith(op):
		c.facts.voidAt = at
	}
}

func (c *Contract) fundsWith(op wire.OutPoint) bool {
	for _, coin := range c.funds() {
		if coin.OutPoint == op {
			return true
		}
	}
	return false
}

// classify tells how an input spends the escrow, by the leaf in its witness.
func (c *Contract) classify(tx *wire.MsgTx, in *wire.TxIn) Spend {
	s := Spend{Kind: SpendUnknown, TxID: tx.TxHash()}
	out, err := c.terms.delayed()
	if err != nil {
		return s
	}
	for i, o := range tx.TxOut {
		switch {
		case sameScript(o.PkScript, out.script):
			s.Locked, s.Kind = uint32(i), SpendSettlement
			s.Client += usage.Sat(o.Value)
		case sameScript(o.PkScript, c.terms.ClientScript):
			s.Client += usage.Sat(o.Value)
		case sameScript(o.PkScript, c.terms.RelayScript):
			s.Relay += usage.Sat(o.Value)
		}
	}
	if sum := outputSum(tx); sum <= c.terms.Value {
		s.Fee = c.terms.Value - sum
	}
	if isKeyPath(in.Witness) {
		s.Kind, s.KeyPath = SpendClose, true
	} else if s.Kind != SpendSettlement {
		s.Kind = c.kindByLeaf(in)
	}
	return s
}

// kindByLeaf tells closes and refunds apart; a settlement that leaves the client nothing looks like
// a close, and is one.
func (c *Contract) kindByLeaf(in *wire.TxIn) SpendKind {
	settle, err := c.terms.settleLeaf()
	if err == nil && len(in.Witness) == 4 && bytes.Equal(in.Witness[2], settle) {
		return SpendClose
	}
	refund, err := c.terms.refundLeaf()
	if err == nil && len(in.Witness) == 3 && bytes.Equal(in.Witness[1], refund) {
		return SpendRefund
	}
	return SpendUnknown
}

// locked is the client's output of the settlement that spent the escrow.
func (c Contract) locked() wire.OutPoint {
	return wire.OutPoint{Hash: c.facts.spend.TxID, Index: c.facts.spend.Locked}
}

// sweepable tells whether the client has a locked output that is worth a sweep at the least fee.
func (c Contract) sweepable() bool {
	if c.role != Client || c.facts.spentAt == 0 || c.facts.spend.Kind != SpendSettlement {
		return false
	}
	_, err := c.terms.SweepTx(c.locked(), c.facts.spend.Client, MinFeeRate)
	return err == nil
}

func (e BlockDisconnected) apply(c *Contract) ([]Effect, error) {
	if c.stage == stageNew {
		return nil, code.New(code.BadState, "no contract yet")
	}
	c.tip = min(c.tip, before(e.Height, 1))
	for _, at := range []*usage.Height{&c.facts.fundedAt, &c.facts.voidAt, &c.facts.spentAt, &c.facts.sweptAt, &c.facts.backAt} {
		if *at >= e.Height {
			*at = 0
		}
	}
	if c.facts.fundedAt == 0 {
		c.ready.block, c.ready.said = [32]byte{}, false
	}
	if c.facts.spentAt == 0 && c.facts.spend.Kind != SpendNone {
		// What leaves the chain is in the mempool again, or can be at any time.
		c.facts.seen, c.facts.spend = c.facts.spend.Kind, Spend{}
	}
	return nil, nil
}

func (e TxSeen) apply(c *Contract) ([]Effect, error) {
	if e.Tx == nil || !c.complete() {
		return nil, nil
	}
	if c.isFunding(e.Tx) {
		return c.published(e.Stamp)
	}
	for _, in := range e.Tx.TxIn {
		if in.PreviousOutPoint == c.escrow() {
			c.facts.seen = c.classify(e.Tx, in).Kind
		}
	}
	return nil, nil
}

// openingOver tells whether an opening without signatures has lasted too long.
func (c *Contract) openingOver() bool {
	switch c.stage {
	case stageOpening, stageOffered, stageVerified:
		return c.openingLate() && !c.exposed()
	}
	return false
}

// openingLate tells whether the blocks that an opening may take are over.
func (c *Contract) openingLate() bool {
	m, err := MarginsOf(c.terms.Network)
	return err == nil && c.tip >= c.terms.Tip+m.OpeningBlocks
}

// due gives the transactions that must be on their way now. They are given again with every block
// until they are confirmed.
func (c *Contract) due(key *btcec.PrivateKey, feeRate uint64) ([]Effect, error) {
	switch {
	case c.withdraws():
		return c.withdraw(feeRate)
	case !c.signed() || c.State() == StateFailed:
		return nil, nil
	case c.facts.spentAt > 0:
		return c.dueSweep(key, feeRate)
	case c.facts.fundedAt > 0:
		return c.dueSpend(key, feeRate)
	case len(c.cancel) > 0:
		tx, err := c.cancelled(c.acts.cancelRate, c.cancel)
		return []Effect{Broadcast{tx, ForCancel}}, err
	case c.recovered():
		return nil, nil // the transaction is not known, only its id
	case c.stage == stageSigned:
		// The relay may still refuse: whether to publish alone is the client's choice.
		return nil, nil
	}
	return []Effect{c.fund()}, nil
}

// dueSpend is the transaction that should spend the escrow now, if any.
func (c *Contract) dueSpend(key *btcec.PrivateKey, feeRate uint64) ([]Effect, error) {
	if c.role == Client && c.tip >= c.terms.Expiry {
		return c.refund(key, feeRate)
	}
	if tier := c.tier(feeRate); c.role == Relay && tier >= 0 && (tier > 0 || !c.agreed.complete()) {
		return c.settle(key, tier, feeRate)
	}
	if c.agreed.complete() {
		final, err := c.final(c.agreed)
		return []Effect{final}, err
	}
	return nil, nil
}

func (e Refund) apply(c *Contract) ([]Effect, error) {
	if err := c.want(Client, StateRefunding); err != nil {
		if c.role == Client && c.depth() > 0 && c.tip < c.terms.Expiry {
			return nil, code.New(code.NotDue, "the refund is possible from height %d on; the tip is %d", c.terms.Expiry, c.tip)
		}
		return nil, err
	}
	if err := checkPrivate(e.Key, c.terms.ClientKey); err != nil {
		return nil, err
	}
	return c.refund(e.Key, e.FeeRate)
}

// climb is the fee rate to use now: the last one again, unless the wanted one is higher by a
// quarter, because nodes replace a transaction by a clearly better one only.
func climb(last, want uint64) uint64 {
	want = min(max(want, MinFeeRate), MaxFeeRate)
	if want*4 < last*5 {
		return last
	}
	return want
}

// refund is the client's way out at E.
func (c *Contract) refund(key *btcec.PrivateKey, feeRate uint64) ([]Effect, error) {
	out, err := c.terms.escrow(true)
	if err != nil {
		return nil, err
	}
	build := func(rate uint64) (*wire.MsgTx, error) { return c.terms.RefundTx(c.escrow(), rate) }
	return c.solo(build, &c.acts.refundRate, feeRate, key, c.terms.Value, out, ForRefund)
}

// dueSweep is the sweep of the client's locked output, until it is in the chain.
func (c *Contract) dueSweep(key *btcec.PrivateKey, feeRate uint64) ([]Effect, error) {
	if !c.sweepable() || c.facts.sweptAt > 0 {
		return nil, nil
	}
	out, err := c.terms.delayed()
	if err != nil {
		return nil, err
	}
	value := c.facts.spend.Client
	build := func(rate uint64) (*wire.MsgTx, error) { return c.terms.SweepTx(c.locked(), value, rate) }
	return c.solo(build, &c.acts.sweepRate, feeRate, key, value, out, ForSweep)
}

// solo builds and signs a transaction of this side alone at the rate wanted, or at the least rate
// where the wanted one would leave dust. What even that cannot save is left.
func (c *Contract) solo(build func(uint64) (*wire.MsgTx, error), last *uint64, feeRate uint64,
	key *btcec.PrivateKey, value usage.Sat, out taproot, why Purpose) ([]Effect, error) {
	rate := climb(*last, feeRate)
	tx, err := build(rate)
	if code.Of(err) == code.AmountTooSmall {
		rate = MinFeeRate
		tx, err = build(rate)
	}
	if code.Of(err) == code.AmountTooSmall {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	sig, err := signLeaf(key, tx, value, out)
	if err != nil {
		return nil, err
	}
	*last = rate
	tx.TxIn[0].Witness = soloStack(out, sig)
	return []Effect{Broadcast{tx, why}}, nil
}
