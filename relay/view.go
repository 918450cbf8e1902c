package relay

import (
	"context"
	"time"

	"relaymarket/internal/chain/backends"
	"relaymarket/internal/code"
	"relaymarket/internal/wallet"
)

// viewInterval is how often the view of the chain is judged for those who ask about readiness.
const viewInterval = 30 * time.Second

// watchView keeps the judgement about the view of the chain that /readyz, /status and the metrics
// show. Contracts ask for one of their own at the moment.
func (s *Server) watchView(ctx context.Context) error {
	return every(ctx, viewInterval, func() error {
		err := s.chain.Check(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.noteView(err)
		return nil
	})
}

// noteView says it in the log when the judgement changes.
func (s *Server) noteView(err error) {
	if err == nil {
		if s.viewDoubt.Swap(nil) != nil {
			s.log.Info("the view of the chain can be trusted again")
		}
		return
	}
	why := code.Of(err).String() + ": " + code.Explain(err)
	if s.viewDoubt.Swap(&why) == nil {
		s.log.Error("no contract is opened and no service begins: the view of the chain is in doubt", "err", err)
	}
}

// openChain connects to the node and opens the wallet. A light client is refused: a relay must see
// whether its clients' coins exist and are unspent, in blocks and in the mempool.
func (s *Server) openChain(ctx context.Context) (err error) {
	b := s.cfg.Bitcoin
	if b.Kind() == backends.Neutrino {
		return code.New(code.LightClient, "a relay cannot run on a light client; it may be the second backend")
	}
	s.node, err = backends.Open(backends.Options{First: b, Second: s.cfg.Second, Params: s.params, Dir: s.home.Path(), Now: s.now})
	if err != nil {
		return err
	}
	s.chain = s.node.View
	if _, err := s.chain.Tip(ctx); err != nil {
		return err
	}
	w := wallet.Config{
		Dir: s.home.Path("wallet"), Params: s.params, Seed: s.home.Seed(), Passphrase: s.home.WalletPassphrase(),
		Birthday: s.home.Birthday(), Fresh: s.home.TakeFresh(),
		Log: s.log, Now: s.now,
	}
	if b.Kind() == backends.Btcd {
		w.RPC = wallet.RPC{Host: b.RPC, User: b.User, Pass: b.Pass, CertFile: b.Cert}
	} else {
		w.Chain = s.chain
	}
	s.wallet, err = wallet.Open(w)
	return err
}
