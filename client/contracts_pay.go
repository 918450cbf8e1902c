package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// money is what the agent needs to pay by itself.
type money struct {
	live   atomic.Bool // Run is running
	paying sync.Map    // usage.ContractID to one token: the right to audit and pay
	asked  sync.Map    // usage.ContractID of requests that wait for their audit
	looked sync.Map    // usage.ContractID to the time.Time of the last audit that a relay asked for
}

func newMoney() *money { return &money{} }

// token is the right to audit and pay one contract: a relay that answers slowly holds up its own
// payments only.
func (m *money) token(id usage.ContractID) chan struct{} {
	t, _ := m.paying.LoadOrStore(id, make(chan struct{}, 1))
	return t.(chan struct{})
}

// running tells whether the chain is followed.
func (m *money) running() bool { return m.live.Load() }

// ContractPay audits a contract and pays what the audit confirms, never more. With max (satoshi,
// cumulative, contract price included) the user has said how far; with 0 it is the agent's own
// decision and must fit the budget. Errors: NotDue, LimitExceeded (budget), BadState, Busy, those
// of Audit, and the relay's.
func (a *Agent) ContractPay(ctx context.Context, id usage.ContractID, max usage.Sat) (PayResult, error) {
	return a.pay(ctx, id, max, max > 0)
}

// pay is ContractPay; asked tells whether the user has agreed to this payment.
func (a *Agent) pay(ctx context.Context, id usage.ContractID, limit usage.Sat, asked bool) (PayResult, error) {
	token := a.money.token(id)
	if err := acquire(ctx, token); err != nil {
		return PayResult{}, err
	}
	defer func() { <-token }()
	if err := a.finishPayment(ctx, id); err != nil {
		return PayResult{}, err
	}
	p, err := a.auditAndPay(ctx, id, limit, asked)
	if code.Of(err) == code.TermsMismatch {
		// The relay has made another report in the meantime, and knows only its newest ones.
		p, err = a.auditAndPay(ctx, id, limit, asked)
	}
	return p, err
}

// finishPayment delivers a payment that was signed earlier and not acknowledged.
func (a *Agent) finishPayment(ctx context.Context, id usage.ContractID) error {
	c, err := a.contractByID(id)
	if err != nil || c.Pending() == nil {
		return err
	}
	return a.runner.Finish(ctx, c.ID(), a.exchange(c.Peer()))
}

func (a *Agent) auditAndPay(ctx context.Context, id usage.ContractID, limit usage.Sat, asked bool) (PayResult, error) {
	v, err := a.audit(ctx, id)
	if err != nil {
		return PayResult{}, err
	}
	before, due := v.contract.Paid(), v.due
	if limit > 0 {
		due = capped(v.contract.Terms(), before, min(due, limit))
	}
	if due <= before {
		return PayResult{}, code.New(code.NotDue, "%s", v.summary())
	}
	if err := a.approve(ctx, v.contract, due, v.report.Digest(), asked); err != nil {
		return PayResult{}, err
	}
	c, err := a.runner.Pay(ctx, v.contract.ID(), due, v.report.Digest(), a.exchange(v.contract.Peer()))
	if err != nil {
		return PayResult{}, err
	}
	return PayResult{
		Contract: c.ID(), Number: uint64(c.Updates()), Paid: c.Paid(), Added: c.Paid() - before,
		Unpaid: v.result.ClaimedMsat - min(v.result.ClaimedMsat, v.result.ConfirmedMsat),
	}, nil
}

// ContractPrepay pays in advance, beyond what is confirmed: amount (satoshi) is added to what is
// paid. It is for relays that give little or no credit. What is paid in advance is lost if the
// relay never serves it, so only a user's word moves it. Errors: BadAmount, EscrowUsedUp (only
// a renewal with a larger deposit helps),
// BadState, BadDeadline, Busy and the relay's.
func (a *Agent) ContractPrepay(ctx context.Context, id usage.ContractID, amount usage.Sat) (PayResult, error) {
	token := a.money.token(id)
	if err := acquire(ctx, token); err != nil {
		return PayResult{}, err
	}
	defer func() { <-token }()
	if err := a.finishPayment(ctx, id); err != nil {
		return PayResult{}, err
	}
	c, err := a.contractByID(id)
	if err != nil {
		return PayResult{}, err
	}
	before := c.Paid()
	total, err := before.Add(amount)
	if err != nil || amount == 0 {
		return PayResult{}, code.New(code.BadAmount, "%d sat", amount)
	}
	if v := c.Terms().Value; total > v {
		return PayResult{}, code.New(code.EscrowUsedUp, "%d sat on top of %d, the escrow has %d in all; renew it with a larger deposit: contract renew %s --deposit %d",
			amount, before, v, c.ID().String()[:12], max(2*v, min(total, usage.MaxSat/2)))
	}
	if total = capped(c.Terms(), before, total); total <= before {
		return PayResult{}, code.New(code.EscrowUsedUp, "what is left of the escrow is too small to be divided; renew it with a larger deposit: contract renew %s --deposit %d",
			c.ID().String()[:12], 2*c.Terms().Value)
	}
	if err := a.approve(ctx, c, total, identity.Digest{}, true); err != nil {
		return PayResult{}, err
	}
	if c, err = a.runner.Pay(ctx, c.ID(), total, identity.Digest{}, a.exchange(c.Peer())); err != nil {
		return PayResult{}, err
	}
	return PayResult{Contract: c.ID(), Number: uint64(c.Updates()), Paid: c.Paid(), Added: c.Paid() - before}, nil
}

// approve books a payment before it is signed: in the budget, unless the user was asked.
func (a *Agent) approve(ctx context.Context, c contract.Contract, due usage.Sat, report identity.Digest, asked bool) error {
	now, l := a.nowMilli(), a.cfg.Limits
	b, err := a.store.Budget(ctx, now)
	if err != nil {
		return err
	}
	if b.Limit != l.BudgetSat || b.Period != l.budgetPeriod() {
		if err := a.store.SetBudget(ctx, now, l.BudgetSat, l.budgetPeriod()); err != nil {
			return err
		}
	}
	if err := a.bookOpening(ctx, c); err != nil { // what is paid already is not new
		return err
	}
	_, err = a.store.ApprovePayment(ctx, store.Payment{Contract: c.ID(), Cumulative: due, Time: now, Report: report}, asked)
	return err
}

// onPaymentRequested pays what a relay has asked for, if it is confirmed and fits the budget. It
// returns at once. What is not paid stays with the contract, where lists show it.
func (a *Agent) onPaymentRequested(_ context.Context, id usage.ContractID) {
	if a.cfg.Limits.BudgetSat == 0 || a.life.Err() != nil {
		return
	}
	if _, waits := a.money.asked.LoadOrStore(id, true); waits {
		return // the audit that is to begin will see this request too
	}
	a.work.Go(func() {
		if last, ok := a.money.looked.Load(id); ok {
			a.sleep(a.life, askedPause-a.now().Sub(last.(time.Time)))
		}
		a.money.asked.Delete(id)
		a.money.looked.Store(id, a.now())
		a.payAsked(a.life, id)
	})
}

// askedPause is the time between two audits that a relay asks for: each costs a report.
const askedPause = 5 * time.Second

// payTime bounds one audit and payment that nobody waits for.
const payTime = 5 * time.Minute

func (a *Agent) payAsked(ctx context.Context, id usage.ContractID) {
	ctx, cancel := context.WithTimeout(ctx, payTime)
	defer cancel()
	p, err := a.pay(ctx, id, 0, false)
	switch code.Of(err) {
	case code.OK:
		a.log.Info("paid", "contract", id, "added_sat", uint64(p.Added), "paid_sat", uint64(p.Paid))
	case code.NotDue, code.LimitExceeded:
		a.log.Info("a relay's request for payment is left to the user", "contract", id, "why", err)
	default:
		a.log.Warn("a relay's request for payment could not be answered; it is tried again", "contract", id, "err", err)
	}
}

// askedAgain is how often requests that were left open are looked at again: the budget may have
// been renewed, an acknowledgement may have come.
const askedAgain = 10 * time.Minute

// followMoney runs as long as Run does.
func (a *Agent) followMoney(ctx context.Context) error {
	a.money.live.Store(true)
	defer a.money.live.Store(false)
	t := time.NewTicker(askedAgain)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if a.cfg.Limits.BudgetSat == 0 {
			continue
		}
		for _, c := range a.runner.Contracts() {
			if c.Payable() && max(c.Asked().Amount, c.Arrears().Amount) > c.Paid() {
				a.payAsked(ctx, c.ID())
			}
		}
	}
}
