package relay

import (
	"errors"
	"log/slog"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/home"
	"relaymarket/internal/store"
)

// Recover makes the store of a relay usable that was restored from a backup: clients see a new
// store_epoch and list everything again, and every contract's log goes on in a new epoch, which
// admits that rows after the backup are lost. The relay must not run. Errors: NotInitialised,
// AlreadyRunning, WalletWrongPhrase, and those of the store.
func Recover(o Options) (err error) {
	if err := o.Config.check(); err != nil {
		return code.Wrap(code.BadConfig, err, "configuration")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	network, err := identity.ParseNetwork(o.Config.Network)
	if err != nil {
		return code.Wrap(code.BadConfig, err, "network")
	}
	s := &Server{cfg: o.Config, net: network, limits: o.Config.limits(), fatal: o.Fatal, log: slog.New(slog.DiscardHandler)}
	if s.home, err = home.Open(o.Dir, network, o.Passphrase); err != nil {
		return err
	}
	return errors.Join(store.RecoverRelay(s.storeOptions(), unixMilli(o.Now())), s.home.Close())
}
