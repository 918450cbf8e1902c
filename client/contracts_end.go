package client

import (
	"context"
	"time"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// The ways to close a contract together with its relay.
const (
	// CloseRefundPayment: this side signs the closing transaction first, the relay publishes it.
	CloseRefundPayment = "refund-payment"
	// CloseRequest: the closing transaction that the relay has signed is accepted and published.
	CloseRequest = "request"
	// CloseKeeping is CloseRefundPayment that pays also for what is still stored: its receivers can
	// read it to the end that its receipts name.
	CloseKeeping = "keep"
)

// requestTime is how long ContractClose waits for a relay's offer to close.
const requestTime = time.Minute

// ContractClose ends a contract together with its relay: what the audit confirms goes to the
// relay, the rest comes back. how is CloseRefundPayment (also when empty), CloseKeeping, which pays the
// worst case of what is still stored too, or CloseRequest, which waits up to a minute for the relay's
// offer and accepts it if it takes no more than is confirmed. After CloseRefundPayment the receivers
// of what is still stored are refused. It needs Run and the node. Errors: BadArgument, BadState, BadDeadline (too near to
// expiry), PaymentTooLow (the relay wants more than is confirmed), LimitExceeded, NotDue (no
// offer came), and those of Audit.
func (a *Agent) ContractClose(ctx context.Context, id usage.ContractID, how string) (ContractInfo, error) {
	if how != "" && how != CloseRefundPayment && how != CloseRequest && how != CloseKeeping {
		return ContractInfo{}, code.New(code.BadArgument, "close by %s, %s or %s, not by %q", CloseRefundPayment, CloseKeeping, CloseRequest, how)
	}
	if _, err := a.contractByID(id); err != nil {
		return ContractInfo{}, err
	}
	if err := a.level(ctx); err != nil {
		return ContractInfo{}, err
	}
	token := a.money.token(id)
	if err := acquire(ctx, token); err != nil {
		return ContractInfo{}, err
	}
	defer func() { <-token }()
	c, err := a.contractByID(id)
	if err != nil {
		return ContractInfo{}, err
	}
	if how == CloseRequest {
		c, err = a.acceptClose(ctx, c)
	} else {
		c, err = a.close(ctx, c, how == CloseKeeping)
	}
	if err != nil {
		return ContractInfo{}, err
	}
	return a.describe(ctx, c, nil), a.relaysChanged(ctx)
}

// close signs a close for what is confirmed, and to keep for what is still stored. The fee rate is
// the agreed one of a settlement.
func (a *Agent) close(ctx context.Context, c contract.Contract, keep bool) (contract.Contract, error) {
	v, err := a.audit(ctx, c.ID())
	if err != nil {
		return c, err
	}
	sum := v.due
	if keep {
		papers, err := a.store.AuditPapers(ctx, c.ID())
		if err != nil {
			return c, err
		}
		if sum, err = a.keeping(ctx, v, papers.Orders); err != nil {
			return c, err
		}
		if err := a.keepRelay(ctx, c.Peer(), papers.Orders); err != nil {
			return c, err
		}
	}
	if err := a.approve(ctx, v.contract, sum, v.report.Digest(), true); err != nil {
		return c, err
	}
	return a.runner.Close(ctx, c.ID(), sum, c.Terms().SettleFeeRate, a.exchange(c.Peer()))
}

// keeping is the sum for which the relay goes on serving what it has accepted: what is used and what
// may still be used, as the relay's books have it. It may not be more than what was confirmed and
// what the receipts name as the most that their records can cost. Codes Disconnected (the relay does
// not say) and LimitExceeded.
func (a *Agent) keeping(ctx context.Context, v verdict, orders []usage.HeldOrder) (usage.Sat, error) {
	book := a.book(ctx, v.contract, true)
	if book == nil {
		return 0, code.New(code.Disconnected, "the relay does not say what it has reserved for stored records")
	}
	most := v.result.ConfirmedMsat
	for _, o := range orders {
		r, err := usage.DecodeReceipt(o.Receipt.Statement)
		if err != nil {
			continue // none came
		}
		if most, err = most.Add(r.WorstMsat); err != nil {
			return 0, err
		}
	}
	t := v.contract.Terms()
	all, err := usage.Msat(book.OwedMsat).Add(usage.Msat(book.ReservedMsat))
	if err != nil || all > most {
		return 0, code.New(code.LimitExceeded, "the relay has reserved %d msat, its receipts promise at most %d in all", book.ReservedMsat, most)
	}
	return max(v.due, dueOf(t, v.contract.Paid(), all)), nil
}

// acceptClose waits for the relay's offer and accepts it, if it is no more than is confirmed.
func (a *Agent) acceptClose(ctx context.Context, c contract.Contract) (contract.Contract, error) {
	v, err := a.audit(ctx, c.ID())
	if err != nil {
		return c, err
	}
	if err := a.awaitOffer(ctx, c.ID()); err != nil {
		return c, err
	}
	if c, err = a.runner.Contract(c.ID()); err != nil {
		return c, err
	}
	wanted, _ := c.CloseOffered()
	if wanted > v.due {
		return c, code.New(code.LimitExceeded, "the relay wants to close for %d sat, confirmed are %d", wanted, v.due)
	}
	if err := a.approve(ctx, c, wanted, v.report.Digest(), true); err != nil {
		return c, err
	}
	return a.runner.AcceptClose(ctx, c.ID(), wanted)
}

// awaitOffer waits for the relay's final request. The session that the audit used carries it.
func (a *Agent) awaitOffer(ctx context.Context, id usage.ContractID) error {
	changed, done := a.runner.Changes()
	defer done()
	timeout := time.NewTimer(requestTime)
	defer timeout.Stop()
	for {
		c, err := a.runner.Contract(id)
		if err != nil {
			return err
		}
		if _, ok := c.CloseOffered(); ok {
			return nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			return code.New(code.NotDue, "the relay has offered no close")
		case <-ctx.Done():
			return code.Wrap(code.Timeout, ctx.Err(), "waiting for the relay's offer to close")
		}
	}
}

// ContractRefund takes the escrow of an expired contract back, with this side's key alone, at a
// fee rate in sat per vB (0: the node's estimate). While Run runs that happens by itself; this is for
// a higher fee. It needs Run and the node. Codes BadDeadline or BadState before expiry.
func (a *Agent) ContractRefund(ctx context.Context, id usage.ContractID, feeRateSatVB uint64) (ContractInfo, error) {
	if _, err := a.contractByID(id); err != nil {
		return ContractInfo{}, err
	}
	if err := a.level(ctx); err != nil {
		return ContractInfo{}, err
	}
	rate, err := a.feeRate(ctx, feeRateSatVB)
	if err != nil {
		return ContractInfo{}, err
	}
	c, err := a.runner.Refund(ctx, id, rate)
	if err != nil {
		return ContractInfo{}, err
	}
	return a.describe(ctx, c, nil), nil
}

// ContractCancel takes the coins of an opening back while the funding is not confirmed, at a fee
// rate in sat per vB (0: the node's estimate; raised to what replaces the funding). It is the way
// out when a relay has refused or fallen silent after the own signatures have left. The contract is
// cancelling until a block decides. It needs Run and the node. Codes BadState once the funding is
// confirmed or before anything was signed, AmountTooSmall, and those of the node.
func (a *Agent) ContractCancel(ctx context.Context, id usage.ContractID, feeRateSatVB uint64) (ContractInfo, error) {
	c, err := a.contractByID(id)
	if err != nil {
		return ContractInfo{}, err
	}
	if err := a.level(ctx); err != nil {
		return ContractInfo{}, err
	}
	rate, err := a.feeRate(ctx, feeRateSatVB)
	if err != nil {
		return ContractInfo{}, err
	}
	if c, err = a.runner.Cancel(ctx, c.ID(), rate); err != nil {
		return ContractInfo{}, err
	}
	return a.describe(ctx, c, nil), a.relaysChanged(ctx)
}
