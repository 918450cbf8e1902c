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
	// CloseKeyPath: both sign as one, by the key path; this side publishes.
	CloseKeyPath = "key-path"
	// CloseRefundPayment: this side signs the closing transaction first, by the leaf; the relay
	// publishes it.
	CloseRefundPayment = "refund-payment"
	// CloseRequest: the closing transaction that the relay has signed is accepted and published.
	CloseRequest = "request"
	// CloseKeeping is a close, by the key path or else by a refund payment, that pays also for what is still stored: its receivers can
	// read it to the end that its receipts name.
	CloseKeeping = "keep"
)

// requestTime is how long ContractClose waits for a relay's offer to close.
const requestTime = time.Minute

// ContractClose ends a contract together with its relay: what the audit confirms goes to the
// relay, the rest comes back. how is CloseKeyPath, CloseRefundPayment, empty for the first and, where it
// fails, the second (Note then says why), CloseKeeping, which is the same and also pays the worst case
// of what is still stored, or CloseRequest, which waits up to a minute for the relay's offer and
// accepts it if it takes no more than is confirmed. Unless that is paid for, the receivers of what is
// still stored are refused, except after CloseRequest. It needs Run and the node. Errors: BadArgument,
// BadState, BadDeadline (too near to expiry), PaymentTooLow (the relay wants more than is confirmed;
// by the key path the contract then stays in service), LimitExceeded, NotDue (no offer came), and
// those of Audit.
func (a *Agent) ContractClose(ctx context.Context, id usage.ContractID, how string) (ContractInfo, error) {
	return a.closeContract(ctx, id, how, 0)
}

// closeContract is ContractClose, for no more than most in all to the relay; 0: for what it takes. Code LimitExceeded.
func (a *Agent) closeContract(ctx context.Context, id usage.ContractID, how string, most usage.Sat) (ContractInfo, error) {
	switch how {
	case "", CloseKeyPath, CloseRefundPayment, CloseRequest, CloseKeeping:
	default:
		return ContractInfo{}, code.New(code.BadArgument, "close by %s, %s, %s or %s, not by %q", CloseKeyPath, CloseRefundPayment, CloseKeeping, CloseRequest, how)
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
	var note string
	if how == CloseRequest {
		c, note, err = a.acceptClose(ctx, c)
	} else {
		c, note, err = a.close(ctx, c, how, most)
	}
	if err != nil {
		return ContractInfo{}, err
	}
	if note != "" {
		a.log.Warn(note, "contract", id, "relay", c.Peer().Name())
	}
	info := a.describe(ctx, c, nil)
	info.Note = note
	return info, a.relaysChanged(ctx)
}

// close signs a close for what is confirmed, and to keep for what is still stored, as closeContract does. The fee rate is
// the agreed one of a settlement.
func (a *Agent) close(ctx context.Context, c contract.Contract, how string, most usage.Sat) (contract.Contract, string, error) {
	v, err := a.audit(ctx, c.ID())
	if err != nil {
		return c, "", err
	}
	sum := v.due
	if how == CloseKeeping {
		if sum, err = a.keepStored(ctx, c, v); err != nil {
			return c, "", err
		}
	}
	if most > 0 && sum > most {
		return c, "", code.New(code.LimitExceeded, "the close would pay the relay %d sat, at most %d are wanted", sum, most)
	}
	if err := a.approve(ctx, v.contract, sum, v.report.Digest(), true); err != nil {
		return c, "", err
	}
	return closeBy(how, a.byKey(ctx, c, sum), func() (contract.Contract, error) {
		return a.runner.Close(ctx, c.ID(), sum, c.Terms().SettleFeeRate, a.exchange(c.Peer()))
	})
}

// closer is one way to close a contract.
type closer func() (contract.Contract, error)

// byKey closes by the key path.
func (a *Agent) byKey(ctx context.Context, c contract.Contract, amount usage.Sat) closer {
	return func() (contract.Contract, error) {
		return a.runner.CloseByKey(ctx, c.ID(), amount, c.Terms().SettleFeeRate, a.exchange(c.Peer()))
	}
}

// closeBy closes by the key path, and by the leaf where that fails for a reason that the leaf does not have;
// the note says so. how can ask for one of the two only.
func closeBy(how string, key, leaf closer) (c contract.Contract, note string, err error) {
	if how != CloseRefundPayment {
		if c, err = key(); err == nil || how == CloseKeyPath || !leafHelps(err) {
			return c, "", err
		}
		note = "closed by the leaf, because the key path failed: " + err.Error()
	}
	c, err = leaf()
	return c, note, err
}

// leafHelps tells whether a close by the key path failed for a reason of its own: the relay does not
// know it, signs wrongly or does not answer. What is refused for its sum or its time is refused by
// the leaf as well, and would only leave a signature behind.
func leafHelps(err error) bool {
	switch code.Of(err) {
	case code.Unsupported, code.Malformed, code.BadNonce, code.BadPartial, code.BadSignature, code.NoSigningSession,
		code.Internal, code.Timeout, code.Disconnected:
		return true
	}
	return false
}

// acceptClose waits for the relay's offer and accepts it, if it is no more than is confirmed. A close
// for what was paid already has been agreed to by itself.
func (a *Agent) acceptClose(ctx context.Context, c contract.Contract) (contract.Contract, string, error) {
	v, err := a.audit(ctx, c.ID())
	if err != nil {
		return c, "", err
	}
	if err := a.awaitOffer(ctx, c.ID()); err != nil {
		return c, "", err
	}
	if c, err = a.runner.Contract(c.ID()); err != nil {
		return c, "", err
	}
	wanted, offered := c.CloseOffered()
	if !offered {
		return c, "", nil
	}
	if wanted > v.due {
		return c, "", code.New(code.LimitExceeded, "the relay wants to close for %d sat, confirmed are %d", wanted, v.due)
	}
	if err := a.approve(ctx, c, wanted, v.report.Digest(), true); err != nil {
		return c, "", err
	}
	return closeBy("", a.byKey(ctx, c, wanted), func() (contract.Contract, error) {
		return a.runner.AcceptClose(ctx, c.ID(), wanted)
	})
}

// awaitOffer waits for the relay's final request, or for a close by the key path that it asked for.
// The session that the audit used carries it.
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
		_, offered := c.CloseOffered()
		if _, granted := c.Granted(); offered || granted {
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
