package contract

import (
	"bytes"
	"slices"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Terms are those that the proposal leads to; the relay's key and payout are still missing.
func (e Propose) Terms() (Terms, error) {
	first, err := e.Offer.ContractPrice.Add(e.Prepaid)
	if err != nil {
		return Terms{}, code.Wrap(code.BadAmount, err, "the first payment")
	}
	t := e.Offer.terms()
	t.Client, t.ClientKey, t.Nonce = e.Client, e.Key, e.Nonce
	t.Value, t.Tip, t.Expiry = e.Value, e.Tip, e.Tip+e.Duration
	t.FirstPayment, t.ClientScript, t.FundFeeRate = snap(e.Value, first), e.Payout, e.FundFeeRate
	t.Collateral = e.Collateral
	return t, nil
}

// terms are what the offer alone fixes.
func (o OfferTerms) terms() Terms {
	return Terms{
		Network: o.Network, Relay: o.Relay, Offer: o.Digest, Prices: o.Prices, ContractPrice: o.ContractPrice,
		CreditLimit: o.CreditLimit, CreditToEarn: o.CreditToEarn, SettleFeeRate: o.SettleFeeRate, Depth: o.FundingDepth,
	}
}

// check holds a proposal against the offer and the checker's own time and tip (checks 20, 24, 25
// and 26; the prices are copied from the offer and so equal them).
func (o OfferTerms) check(t Terms, now identity.UnixMilli, tip usage.Height) error {
	m, err := MarginsOf(o.Network)
	if err != nil {
		return err
	}
	switch length := t.Expiry - t.Tip; {
	case now > o.ValidUntil:
		return code.New(code.OfferExpired, "the offer was valid until %d", o.ValidUntil)
	case t.Value < o.MinDeposit || t.Value > o.MaxDeposit:
		return code.New(code.BadAmount, "an escrow of %d sat, the offer takes %d to %d", t.Value, o.MinDeposit, o.MaxDeposit)
	case t.Tip > tip+m.TipTolerance || tip > t.Tip+m.TipTolerance:
		return code.New(code.StaleTip, "tips %d and %d differ by more than %d blocks", t.Tip, tip, m.TipTolerance)
	case t.Expiry < t.Tip || length < o.MinDuration || length > o.MaxDuration:
		return code.New(code.BadDeadline, "expiry %d at tip %d, the offer takes %d to %d blocks", t.Expiry, t.Tip, o.MinDuration, o.MaxDuration)
	case t.FundFeeRate < o.MinFundFeeRate:
		return code.New(code.BadFeeRate, "a funding fee rate of %d, the offer asks for %d", t.FundFeeRate, o.MinFundFeeRate)
	}
	return o.checkCollateral(t.Collateral)
}

func (e Propose) apply(c *Contract) ([]Effect, error) {
	if c.stage != stageNew {
		return nil, code.New(code.BadState, "the contract is %s", c.State())
	}
	t, err := e.Terms()
	if err != nil {
		return nil, err
	}
	if err := t.checkProposal(); err != nil {
		return nil, err
	}
	if err := e.Offer.check(t, e.Stamp.Time, e.Tip); err != nil {
		return nil, err
	}
	if err := checkFunding(t, e.Coins, e.Change); err != nil {
		return nil, err
	}
	c.begin(Client, t, e.Coins, e.Change, e.Tip)
	c.stage = stageOpening
	m, err := e.message(c)
	if err != nil {
		return nil, err
	}
	effects, err := c.ask(m)
	c.opening = [][]byte{c.talk.pending}
	return effects, err
}

// begin sets what both sides have from the proposal on.
func (c *Contract) begin(r Role, t Terms, coins []Coin, change Change, tip usage.Height) {
	c.role, c.terms, c.tip = r, t, tip
	c.coins, c.change = slices.Clone(coins), change
	c.talk.said = []identity.Digest{{}}
}

// message is the contractOpen, and makes sure that the relay can read what the client means.
func (e Propose) message(c *Contract) (*Open, error) {
	tx := newTx(0)
	m := &Open{
		Common: c.common(e.Stamp), Offer: c.terms.Offer, ClientKey: e.Key, Value: e.Value, Collateral: e.Collateral,
		Expiry: c.terms.Expiry, Tip: e.Tip, FundFeeRate: e.FundFeeRate, FirstPayment: c.terms.FirstPayment, Payout: e.Payout,
	}
	for _, coin := range e.Coins {
		if !isFundable(coin.Script) {
			return nil, code.New(code.BadInput, "%v is neither P2TR nor P2WPKH", coin.OutPoint)
		}
		addInput(tx, coin.OutPoint, spendSequence)
		m.Inputs = append(m.Inputs, declare(coin))
	}
	if e.Change.Value > 0 {
		addOutput(tx, e.Change.Value, e.Change.Script)
	}
	m.Tx = unsignedBytes(tx)
	_, _, err := m.Funding()
	return m, err
}

func (e Accept) apply(c *Contract) ([]Effect, error) {
	m, ok := e.Message.message.(*Open)
	if !ok {
		return nil, code.New(code.Malformed, "only a contractOpen can be accepted")
	}
	if c.stage != stageNew {
		return e.repeated(c)
	}
	t, coins, change, err := e.check(m)
	if err != nil {
		return nil, err
	}
	c.begin(Relay, t, coins, change, e.Tip)
	c.backing = e.Backing
	if err := c.hear(e.Message); err != nil {
		return nil, err
	}
	c.stage = stageOffered
	if _, err := c.fix(); err != nil {
		return nil, err
	}
	if t.Collateral > 0 {
		return []Effect{c.signFunding()}, nil
	}
	return c.addInputs(e.Stamp)
}

// addInputs is the relay's answer to the proposal.
func (c *Contract) addInputs(s Stamp) ([]Effect, error) {
	tx, err := c.unsignedFunding()
	if err != nil {
		return nil, err
	}
	terms, err := c.terms.Encode()
	if err != nil {
		return nil, err
	}
	m := &ServerAddInputs{
		Common: c.common(s), RelayKey: c.terms.RelayKey, Collateral: c.terms.Collateral, Terms: terms, Tx: unsignedBytes(tx),
		Contract: c.ID(), Witnesses: c.backed,
	}
	for _, coin := range c.backing.Coins {
		m.Inputs = append(m.Inputs, declare(coin))
	}
	return c.answer(m)
}

// repeated answers a proposal that came before; another one with the same nonce is refused.
func (e Accept) repeated(c *Contract) ([]Effect, error) {
	if c.role == Relay && e.Message.digest == c.talk.last {
		return c.again(), nil
	}
	return nil, code.New(code.BadState, "a contract with this nonce is %s", c.State())
}

// fix computes the funding transaction from complete terms and keeps its id.
func (c *Contract) fix() (*wire.MsgTx, error) {
	tx, err := c.unsignedFunding()
	if err != nil {
		return nil, err
	}
	c.funding = tx.TxHash()
	return tx, nil
}

func (c *Contract) unsignedFunding() (*wire.MsgTx, error) {
	return c.terms.FundingTx(Share{c.coins, c.change}, c.backing)
}

// check runs every check on a proposal and gives the terms that it leads to.
func (e Accept) check(m *Open) (Terms, []Coin, Change, error) {
	if err := e.addressed(m); err != nil {
		return Terms{}, nil, Change{}, err
	}
	coins, change, err := m.Funding()
	if err != nil {
		return Terms{}, nil, Change{}, err
	}
	t := e.terms(m)
	for _, check := range []func() error{
		func() error { return keyUnused(e.KeyUsed) },
		t.Check,
		func() error { return e.Offer.check(t, e.Stamp.Time, e.Tip) },
		func() error { return e.checkCoins(coins) },
		func() error { return checkFunding(t, coins, change) },
		func() error { return checkBacking(t, e.Backing) },
	} {
		if err := check(); err != nil {
			return Terms{}, nil, Change{}, err
		}
	}
	return t, coins, change, nil
}

// addressed refuses a proposal that is not for this relay, or not on this offer.
func (e Accept) addressed(m *Open) error {
	switch {
	case m.Network != e.Offer.Network:
		return code.New(code.WrongNetwork, "the proposal is for %s", m.Network)
	case m.To != e.Offer.Relay:
		return code.New(code.WrongRecipient, "the proposal is for another relay")
	case m.Offer != e.Offer.Digest:
		return code.New(code.TermsMismatch, "the proposal is on another offer")
	case m.Prev != identity.Digest{}:
		return code.New(code.BadSequence, "a proposal refers to no earlier message")
	}
	return nil
}

// terms are the complete terms: the offer's, the proposal's, and the relay's key and payout.
func (e Accept) terms(m *Open) Terms {
	t := e.Offer.terms()
	t.Client, t.ClientKey, t.Nonce = m.From, m.ClientKey, m.Nonce
	t.Value, t.Collateral, t.Tip, t.Expiry = m.Value, m.Collateral, m.Tip, m.Expiry
	t.FirstPayment, t.ClientScript, t.FundFeeRate = m.FirstPayment, m.Payout, m.FundFeeRate
	t.RelayKey, t.RelayScript = e.Key, e.Payout
	t.CreditToEarn -= min(t.CreditToEarn, e.Earned)
	return t
}

func (e Accept) checkCoins(coins []Coin) error {
	m, err := MarginsOf(e.Offer.Network)
	if err != nil {
		return err
	}
	return checkCoins(coins, e.Coins, m)
}

// keyUnused refuses a key that was seen in another contract (check 12).
func keyUnused(used bool) error {
	if used {
		return code.New(code.BadKey, "the contract key was used in another contract")
	}
	return nil
}

// serverAddInputs (client): the relay's answer must be exactly what the client computes itself.
func (e Received) serverAddInputs(c *Contract, m *ServerAddInputs) ([]Effect, error) {
	if err := c.want(Client, StateOpening); err != nil {
		return nil, err
	}
	t, err := c.agreeOn(m)
	if err != nil {
		return nil, err
	}
	if err := keyUnused(e.KeyUsed); err != nil {
		return nil, err
	}
	if err := t.Check(); err != nil {
		return nil, err
	}
	if err := e.checkBacking(c, m, t); err != nil {
		return nil, err
	}
	if err := c.hear(e.Message); err != nil {
		return nil, err
	}
	c.terms, c.stage, c.talk.pending = t, stageVerified, nil
	c.opening = append(slices.Clone(c.opening), e.Message.signed.Bytes())
	if err := c.checkAnswer(m); err != nil {
		return nil, err
	}
	if err := c.checkBacked(m.Witnesses); err != nil {
		return nil, err
	}
	c.backed = m.Witnesses
	return []Effect{c.signFunding()}, nil
}

// agreeOn is the client's own terms with the relay's key and payout, which must be, byte for byte,
// the terms that the relay signed (checks 9, 11, 23 and 26).
func (c *Contract) agreeOn(m *ServerAddInputs) (Terms, error) {
	theirs, err := DecodeTerms(m.Terms)
	if err != nil {
		return Terms{}, err
	}
	if k := c.terms.Collateral; m.Collateral != k || theirs.Collateral != k {
		return Terms{}, code.New(code.TermsMismatch, "a collateral of %d sat instead of the %d that were asked for", theirs.Collateral, k)
	}
	ours := c.terms
	ours.RelayKey, ours.RelayScript = m.RelayKey, theirs.RelayScript
	ours.CreditToEarn = min(ours.CreditToEarn, theirs.CreditToEarn) // a relay may trust more than it offers to all
	raw, err := ours.Encode()
	if err != nil {
		return Terms{}, err
	}
	if !bytes.Equal(raw, m.Terms) {
		return Terms{}, code.New(code.TermsMismatch, "the relay signed other terms than were proposed on its offer")
	}
	return ours, nil
}

// checkAnswer rebuilds the funding transaction and compares (checks 1 to 11).
func (c *Contract) checkAnswer(m *ServerAddInputs) error {
	theirs, err := parseUnsigned(m.Tx)
	if err != nil {
		return err
	}
	if err := checkShape(theirs, 2*maxInputs); err != nil {
		return err
	}
	ours, err := c.fix()
	if err != nil {
		return err
	}
	if err := compareFunding(ours, theirs); err != nil {
		return err
	}
	if m.Contract != c.ID() {
		return code.New(code.TermsMismatch, "the contract id is not that of these terms and this transaction")
	}
	return nil
}

// compareFunding tells how a peer's funding transaction differs from the rebuilt one, so that the
// code says what is wrong; equal is only what is equal byte for byte.
func compareFunding(ours, theirs *wire.MsgTx) error {
	if len(theirs.TxOut) == len(ours.TxOut) {
		for i, out := range theirs.TxOut {
			if !sameScript(out.PkScript, ours.TxOut[i].PkScript) {
				return code.New(code.BadScript, "output %d has another script than the terms give", i)
			}
			if out.Value != ours.TxOut[i].Value {
				return code.New(code.BadAmount, "output %d has %d sat instead of %d", i, out.Value, ours.TxOut[i].Value)
			}
		}
	}
	if !bytes.Equal(unsignedBytes(ours), unsignedBytes(theirs)) {
		return code.New(code.BadTransaction, "the funding transaction is not the agreed one")
	}
	return nil
}

// prevouts are the outputs that the funding transaction spends.
func (c *Contract) prevouts() map[wire.OutPoint]*wire.TxOut {
	out := make(map[wire.OutPoint]*wire.TxOut, len(c.coins)+len(c.backing.Coins))
	for _, coin := range c.funds() {
		out[coin.OutPoint] = coin.txOut()
	}
	return out
}

func (c *Contract) signFunding() SignFunding {
	e := SignFunding{Tx: c.FundingTx(), Prevouts: c.prevouts()}
	for _, coin := range c.own() {
		e.Own = append(e.Own, coin.OutPoint)
	}
	return e
}
