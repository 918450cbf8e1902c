package relay

import (
	"context"
	"encoding/hex"
	"fmt"
	"sort"

	"relaymarket/contract"
	"relaymarket/internal/board"
	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Status tells how the relay stands.
func (s *Server) Status(ctx context.Context) (Status, error) {
	h, offer := s.runner.Health(), s.offers.get()
	_, proven := s.guard.Count()
	free, err := diskFree(s.home.Path())
	if err != nil {
		return Status{}, code.Wrap(code.Internal, err, "disk")
	}
	epoch := s.store.StoreEpoch()
	why := s.notReady()
	st := Status{
		Key: s.Key(), Name: s.Key().Name(), Network: s.net.String(), Version: Version, Listen: s.Addr(),
		Uptime: uint64(s.now().Sub(s.started).Seconds()), Ready: why == "", NotReady: why,
		TipHeight: usage.Height(h.Last.Height), OfferUntil: offer.ValidUntil, OfferSeq: offer.Sequence,
		Sessions: proven, Listeners: s.listeners.count(), DiskFree: free, StoreEpoch: hex.EncodeToString(epoch[:]),
	}
	if !h.Last.Time.IsZero() {
		st.TipAge = uint64(max(0, s.now().Sub(h.Last.Time).Seconds()))
	}
	if b, err := s.wallet.Balance(); err == nil {
		st.WalletSat = usage.Sat(b.ConfirmedSat)
	}
	st.Locked = s.runner.Locked()
	return st, s.addContracts(ctx, &st)
}

// addContracts adds the contracts and their sums, the newest last.
func (s *Server) addContracts(ctx context.Context, st *Status) error {
	all := s.runner.Contracts()
	sort.Slice(all, func(i, j int) bool { return all[i].Terms().Expiry < all[j].Terms().Expiry })
	for _, c := range all {
		row, err := s.contractStatus(ctx, c)
		if err != nil {
			return err
		}
		st.Contracts = append(st.Contracts, row)
		if c.State() == contract.StateAborted || c.State() == contract.StateFailed {
			continue
		}
		st.Promised += row.Paid
		if !c.State().Over() {
			st.Owed += row.Owed
			st.Unsettled += row.Paid
		}
	}
	return nil
}

func (s *Server) contractStatus(ctx context.Context, c contract.Contract) (ContractStatus, error) {
	t := c.Terms()
	row := ContractStatus{
		Contract: c.ID(), Client: c.Peer(), Name: c.Peer().Name(), State: c.State().String(), Sentence: sentence(c),
		Value: t.Value, Paid: c.Paid(), Expiry: t.Expiry, Locked: c.Locked(),
	}
	if sp, _, ok := c.Spend(); ok {
		row.Txid = sp.TxID.String()
	}
	acc, err := s.store.Account(ctx, c.ID())
	if code.Of(err) == code.ContractUnknown {
		return row, nil
	} else if err != nil {
		return row, err
	}
	row.Owed, row.Reserved, row.Rows = acc.Owed, acc.Reserved, acc.Rows
	return row, nil
}

// sentence is a contract's state for a person.
func sentence(c contract.Contract) string {
	s := c.Summary()
	switch c.State() {
	case contract.StateOffered:
		return "answered; the client has not signed yet" + withdrawn(c)
	case contract.StateCancelling:
		return "no funding came: the coins of the collateral are on their way back"
	case contract.StateComplete, contract.StateFunding:
		return fmt.Sprintf("the funding has %d of %d confirmations", s.Depth, c.Terms().Depth)
	case contract.StateActive:
		return fmt.Sprintf("in service until height %d", s.ServiceUntil)
	case contract.StateOverdue, contract.StateSuspended, contract.StateRetained, contract.StatePurged:
		return owingSentence(c)
	case contract.StateFrozen:
		why, _ := c.Frozen()
		return "frozen: " + why.String() + "; settle or close it"
	case contract.StateDraining:
		return fmt.Sprintf("near its expiry: no more service; settled alone from height %d", s.SettleFrom)
	case contract.StateClosing:
		return "a closing transaction is on its way"
	case contract.StateSettled:
		return fmt.Sprintf("closed by %s at height %d, not final yet", s.Spend.Kind, s.SpentAt) + reclaimed(c, s)
	case contract.StateClosed, contract.StateArchived:
		return fmt.Sprintf("closed by %s at height %d: %d sat to this relay, %d sat to the client, fee %d sat", s.Spend.Kind, s.SpentAt, s.Spend.Relay, s.Spend.Client, s.Spend.Fee)
	case contract.StateAborted:
		return "given up before anything was signed"
	case contract.StateFailed:
		return "the funding was never confirmed"
	}
	return c.State().String()
}

// withdrawn says what the relay does if an unsigned opening with a collateral stays so.
func withdrawn(c contract.Contract) string {
	m, err := contract.MarginsOf(c.Terms().Network)
	if err != nil || !c.Exposed() {
		return ""
	}
	return fmt.Sprintf("; if it does not, the coins of the collateral are taken back from height %d on", c.Terms().Tip+m.OpeningBlocks)
}

// reclaimed says when a collateral comes back.
func reclaimed(c contract.Contract, s contract.Summary) string {
	switch {
	case s.Collateral == 0:
		return ""
	case s.BackAt > 0:
		return fmt.Sprintf("; the collateral came back at height %d", s.BackAt)
	}
	return fmt.Sprintf("; the collateral of %d sat comes back from height %d on", c.Locked(), s.Expiry)
}

// notReady says why the relay should not get traffic now; empty: it should.
func (s *Server) notReady() string {
	switch h := s.runner.Health(); {
	case h.OK.IsZero():
		return "the chain has not been read yet"
	case h.Err != nil:
		return "the Bitcoin node does not answer: " + h.Err.Error()
	case s.viewDoubt.Load() != nil:
		return *s.viewDoubt.Load()
	case s.clockWrong.Load():
		return "the clock is far from the last commit: set it right, or confirm it with relay clock confirm"
	case s.offers.get().IsZero():
		return "the first offer is being made"
	}
	return ""
}

// WalletAddress makes a new address of the relay's wallet.
func (s *Server) WalletAddress() (string, error) {
	a, _, err := s.wallet.NewAddress()
	return a, err
}

// WalletBalance is the money of the relay's wallet.
func (s *Server) WalletBalance() (WalletStatus, error) {
	b, err := s.wallet.Balance()
	return WalletStatus{
		Confirmed: usage.Sat(b.ConfirmedSat), Unconfirmed: usage.Sat(b.UnconfirmedSat), Leased: usage.Sat(b.LeasedSat), Locked: s.runner.Locked(),
	}, err
}

// WalletSend sends coins away, or only tells the fee.
func (s *Server) WalletSend(ctx context.Context, r SendRequest) (SendResult, error) {
	rate := int64(r.FeeRateSatVB) * 1000
	if rate == 0 {
		var err error
		if rate, err = chain.FeeRate(ctx, s.chain, s.cfg.Bitcoin.FallbackRate()); err != nil {
			return SendResult{}, err
		}
	}
	tx, fee, err := s.wallet.PrepareSend(ctx, r.Address, int64(r.Amount), rate, r.All)
	if err != nil {
		return SendResult{}, err
	}
	res := SendResult{Txid: tx.TxHash().String(), Amount: r.Amount, Fee: usage.Sat(fee)}
	if r.All {
		res.Amount = usage.Sat(tx.TxOut[0].Value)
	}
	if r.DryRun {
		return res, s.wallet.Discard(tx)
	}
	return res, s.wallet.Publish(ctx, tx)
}

// publishOffers renews the relay's offer in time and puts it on its own board and on those of the
// configuration.
func (s *Server) publishOffers(ctx context.Context) error {
	client := board.NewClient(nil)
	todo := append([]string(nil), s.cfg.Boards...)
	return every(ctx, offerInterval, func() error {
		fresh, err := s.offers.renew(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("the offer could not be renewed; it is tried again", "err", err)
			}
			return nil
		}
		v := s.offers.get()
		if fresh {
			s.log.Info("new offer", "sequence", v.Sequence, "digest", v.Digest().Short())
			todo = append(todo[:0], s.cfg.Boards...)
		}
		if err := s.board.Add(v.Signed()); err != nil {
			s.log.Warn("the own board does not take the offer", "err", err)
		}
		left := todo[:0]
		for _, b := range todo {
			if err := client.Publish(ctx, b, v); err != nil {
				s.log.Warn("a board did not take the offer; it is tried again", "board", b, "err", err)
				left = append(left, b)
			}
		}
		todo = left
		return nil
	})
}

// gauges registers what is read when metrics are asked for.
func (s *Server) gauges() {
	s.metrics.gauge("relay_sessions", "Proven sessions.", func() float64 { _, n := s.guard.Count(); return float64(n) })
	s.metrics.gauge("relay_listeners", "Listening sessions.", func() float64 { return float64(s.listeners.count()) })
	s.metrics.gauge("relay_tip_height", "Height of the last block handled.", func() float64 { return float64(s.runner.Tip()) })
	s.metrics.gauge("relay_chain_trusted", "1 while new contracts are opened on what the Bitcoin node shows.", func() float64 {
		if s.viewDoubt.Load() != nil {
			return 0
		}
		return 1
	})
	count := func(of func(contract.Contract) bool) func() float64 {
		return func() float64 {
			n := 0
			for _, c := range s.runner.Contracts() {
				if of(c) {
					n++
				}
			}
			return float64(n)
		}
	}
	s.metrics.gauge("relay_contracts", "Contracts in service.", count(contract.Contract.Service))
	s.metrics.gauge("relay_contracts_owing", "Contracts whose service is reduced because a payment is missing.",
		count(func(c contract.Contract) bool { return c.State().Owing() }))
	s.metrics.gauge("relay_disk_free_bytes", "Bytes free on the disk of the store.", func() float64 {
		n, err := diskFree(s.home.Path())
		if err != nil {
			return -1
		}
		return float64(n)
	})
}
