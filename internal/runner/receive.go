package runner

import (
	"context"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// acting is what an event of this side is made with.
type acting struct {
	key   *btcec.PrivateKey
	stamp contract.Stamp
}

func (r *Runner) acting(nonce contract.Nonce) (acting, error) {
	key, err := r.keyOf(nonce)
	if err != nil {
		return acting{}, err
	}
	stamp, err := r.stamp()
	return acting{key, stamp}, err
}

// act does one thing of this side's own will and, with an exchange, delivers what it says. The line is
// held over both: what is said refers to what was heard last, which another exchange would change.
// What is done on the chain alone waits for nobody.
func (r *Runner) act(ctx context.Context, id usage.ContractID, ex Exchange, event func(contract.Contract, acting) contract.Event) (contract.Contract, error) {
	c, err := r.Contract(id)
	if err != nil {
		return c, err
	}
	if ex != nil {
		release, err := r.line(ctx, c.Nonce())
		if err != nil {
			return c, err
		}
		defer release()
	}
	a, err := r.acting(c.Nonce())
	if err != nil {
		return c, err
	}
	if c, err = r.step(ctx, c.Nonce(), event(c, a), nil); err != nil || ex == nil {
		return c, err
	}
	if err := r.exchange(ctx, c.Nonce(), ex); err != nil {
		return c, err
	}
	c, _ = r.ByNonce(c.Nonce())
	return c, nil
}

// say does one thing of this side's own will and gives the signed statement that it makes, for
// the relay to push to the client's session. Zero when it makes none.
func (r *Runner) say(ctx context.Context, id usage.ContractID, event func(contract.Contract, acting) contract.Event) (identity.Signed, error) {
	c, err := r.Contract(id)
	if err != nil {
		return identity.Signed{}, err
	}
	a, err := r.acting(c.Nonce())
	if err != nil {
		return identity.Signed{}, err
	}
	var sent []identity.Signed
	if _, err := r.step(ctx, c.Nonce(), event(c, a), &sent); err != nil || len(sent) == 0 {
		return identity.Signed{}, err
	}
	return sent[len(sent)-1], nil
}

// AskPayment (relay) makes a request for a cumulative payment. No notice ever follows one for a small sum.
func (r *Runner) AskPayment(ctx context.Context, id usage.ContractID, amount usage.Sat, small bool, report identity.Digest) (identity.Signed, error) {
	return r.say(ctx, id, func(c contract.Contract, a acting) contract.Event {
		return contract.AskPayment{Amount: amount, Report: report, Small: small, Stamp: a.stamp}
	})
}

// Notify (relay) takes the next step about a payment that does not come. Code NotDue before its height.
func (r *Runner) Notify(ctx context.Context, id usage.ContractID, amount usage.Sat, report identity.Digest) (identity.Signed, error) {
	return r.say(ctx, id, func(_ contract.Contract, a acting) contract.Event {
		return contract.Notify{Amount: amount, Report: report, Stamp: a.stamp}
	})
}

// Notices (relay) are the notices of a contract's present sequence, signed, in order.
func (r *Runner) Notices(c contract.Contract) ([]identity.Signed, error) {
	var out []identity.Signed
	for _, raw := range c.Notices() {
		s, err := identity.SignOne(r.Key, raw)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// OfferClose (relay) makes a final request: the closing transaction with this side's signature.
func (r *Runner) OfferClose(ctx context.Context, id usage.ContractID, amount usage.Sat, feeRate uint64, report identity.Digest) (identity.Signed, error) {
	return r.say(ctx, id, func(c contract.Contract, a acting) contract.Event {
		return contract.OfferClose{Amount: amount, FeeRate: feeRate, Report: report, Key: a.key, Stamp: a.stamp}
	})
}

// Settle (relay) takes what the latest update gives, without the client.
func (r *Runner) Settle(ctx context.Context, id usage.ContractID) (contract.Contract, error) {
	return r.act(ctx, id, nil, func(c contract.Contract, a acting) contract.Event {
		return contract.Settle{Key: a.key, FeeRate: r.feeRate(ctx)}
	})
}

// Pending gives this side's statements to a peer that still wait for an answer, signed, to be sent
// when a session begins.
func (r *Runner) Pending(peer identity.PublicKey) ([]identity.Signed, error) {
	var out []identity.Signed
	for _, c := range r.Of(peer) {
		if c.Pending() == nil {
			continue
		}
		s, err := identity.SignOne(r.Key, c.Pending())
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// Receive takes a contract statement of the other side and gives the answer, if there is one. The
// statement is verified here; from is the identity that the session has proven, and must be its
// signer. A statement that came before is answered as before.
func (r *Runner) Receive(ctx context.Context, from identity.PublicKey, s identity.Signed) (identity.Signed, error) {
	v, err := contract.OpenMessage(s)
	if err != nil {
		return identity.Signed{}, err
	}
	h := v.Header()
	switch {
	case h.From != from:
		return identity.Signed{}, code.New(code.Forbidden, "the %s is signed by another identity than this session's", h.Type)
	case h.To != r.Key.Public():
		return identity.Signed{}, code.New(code.WrongRecipient, "the %s is addressed to %s", h.Type, h.To.Name())
	case h.Network != r.Network:
		return identity.Signed{}, code.New(code.WrongNetwork, "a %s for %s", h.Type, h.Network)
	}
	nonce := v.Nonce()
	if _, opens := v.Message().(*contract.Open); opens {
		r.opening.Lock() // what is counted and chosen for one opening holds until it is stored
		defer r.opening.Unlock()
	}
	event, err := r.event(ctx, nonce, v)
	if err != nil {
		return identity.Signed{}, err
	}
	answer, err := r.answer(ctx, nonce, v, event)
	if e, opens := event.(contract.Accept); opens && err != nil && len(e.Backing.Coins) > 0 {
		r.unfund(nonce)
	}
	if _, again := v.Message().(*contract.Reestablish); again && err == nil {
		r.met.Store(nonce, true) // one that was refused has compared nothing
	}
	return answer, err
}

// An opening is confirmed only when the own node has the funding transaction. A block that
// arrives at that moment may publish it first, on the other goroutine: then the answer is
// asked for again, which is what the same message once more means.
const (
	answerTries = 40
	answerPause = 50 * time.Millisecond
)

// answer applies a message and gives what this side says to it.
func (r *Runner) answer(ctx context.Context, nonce contract.Nonce, v contract.Verified, event contract.Event) (identity.Signed, error) {
	_, opens := v.Message().(*contract.ClientSigned)
	for try := 0; ; try++ {
		var sent []identity.Signed
		if _, err := r.step(ctx, nonce, event, &sent); err != nil {
			return identity.Signed{}, err
		}
		if len(sent) > 0 {
			return sent[len(sent)-1], nil
		}
		if !opens || try == answerTries {
			return identity.Signed{}, nil
		}
		select {
		case <-time.After(answerPause):
		case <-ctx.Done():
			return identity.Signed{}, nil
		}
	}
}

// event makes of a statement what the machine takes, with the facts that it cannot find itself.
func (r *Runner) event(ctx context.Context, nonce contract.Nonce, v contract.Verified) (contract.Event, error) {
	if open, ok := v.Message().(*contract.Open); ok {
		return r.accept(ctx, nonce, v, open)
	}
	c, ok := r.ByNonce(nonce)
	if m, again := v.Message().(*contract.Reestablish); !ok && again && len(m.Opening) > 0 {
		if err := r.adopt(ctx, nonce, v, m); err != nil {
			return nil, err
		}
		c, ok = r.ByNonce(nonce)
	}
	if !ok {
		return nil, code.New(code.ContractUnknown, "no contract with nonce %x here", nonce[:4])
	}
	a, err := r.acting(nonce)
	if err != nil {
		return nil, err
	}
	e := contract.Received{Message: v, Key: a.key, Stamp: a.stamp}
	switch m := v.Message().(type) {
	case *contract.ServerAddInputs:
		e.KeyUsed = r.keyUsed(nonce, m.RelayKey)
		coins, err := c.Backing(m)
		if err != nil {
			return nil, err
		}
		if e.Coins, err = r.views(ctx, coins); err != nil {
			return nil, err
		}
	case *contract.PaymentUpdate:
		if r.Policy.OwnReport != nil && !m.Report.IsZero() {
			if e.OwnReport, err = r.Policy.OwnReport(ctx, c.ID(), m.Report); err != nil {
				return nil, err
			}
		}
	case *contract.Reestablish:
		if e.Head, err = r.head(ctx, c); err != nil {
			return nil, err
		}
	case *contract.RefundPayment:
		e.Due, err = r.due(ctx, c)
	case *contract.CloseNonce:
		// A relay can take what is paid alone, at any time. A close for just that is better for both:
		// nothing of the client's is locked, and the fee is lower. More is the user's to decide.
		e.Max = c.Paid()
		e.Due, err = r.due(ctx, c)
	case *contract.CloseSig:
		e.Both, err = r.both(c, m)
	}
	return e, err
}

// due is what a relay's policy says of a close.
func (r *Runner) due(ctx context.Context, c contract.Contract) (usage.Sat, error) {
	if r.Policy.Due == nil {
		return 0, nil
	}
	return r.Policy.Due(ctx, c)
}

// accept is the relay's answer to a proposal: its policy, its own view of the client's coins, and
// its keys.
func (r *Runner) accept(ctx context.Context, nonce contract.Nonce, v contract.Verified, m *contract.Open) (contract.Event, error) {
	if r.Role != contract.Relay {
		return nil, code.New(code.Unsupported, "this side opens contracts and is not offered any")
	}
	if err := r.sound(ctx); err != nil {
		return nil, err
	}
	offer, ok := r.Policy.Offer(m.Offer)
	if !ok {
		return nil, code.New(code.OfferExpired, "no offer %s of this relay is in force", m.Offer.Short())
	}
	_, known := r.ByNonce(nonce)
	if !known {
		if err := r.room(ctx, v.Header().From); err != nil {
			return nil, err
		}
	}
	declared, _, err := m.Funding()
	if err != nil {
		return nil, err
	}
	views, err := r.views(ctx, declared)
	if err != nil {
		return nil, err
	}
	payout, err := r.payout()
	if err != nil {
		return nil, err
	}
	a, err := r.acting(nonce)
	if err != nil {
		return nil, err
	}
	start := offer.CreditLimit - min(offer.CreditLimit, offer.CreditToEarn)
	e := contract.Accept{
		Message: v, Offer: offer, Coins: views, Key: contract.KeyOf(a.key), KeyUsed: r.keyUsed(nonce, m.ClientKey),
		Earned: r.earned(nonce, v.Header().From, start), Payout: payout, Tip: r.Tip(), Stamp: a.stamp,
	}
	if !known {
		e.Backing, err = r.backing(ctx, nonce, offer, m)
	}
	return e, err
}

// view is what the own node says about a coin; the peer's word counts for nothing.
func (r *Runner) view(ctx context.Context, coin contract.Coin) (contract.CoinView, error) {
	out, err := r.Chain.TxOut(ctx, coin.OutPoint, false)
	if err != nil || out == nil {
		return contract.CoinView{}, err
	}
	spender, err := r.Chain.Spending(ctx, coin.OutPoint)
	if err != nil {
		return contract.CoinView{}, err
	}
	return contract.CoinView{
		Exists: true, Value: usage.Sat(out.Value), Script: out.PkScript, Confirmations: usage.Height(out.Confirmations),
		Coinbase: out.Coinbase, SpentInPool: spender != nil, Mine: r.Wallet.Owns(out.PkScript),
	}, nil
}
