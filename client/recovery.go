package client

import (
	"context"
	"os"
	"path/filepath"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// recoveryDir is where the recoveries of contracts lie, under the network's directory.
const recoveryDir = "recovery"

// RecoveryInfo is the way back into one contract for somebody who has nothing but the phrase.
type RecoveryInfo struct {
	Contract usage.ContractID `json:"contract"`
	Text     string           `json:"recovery"` // one line; worthless without the phrase
	File     string           `json:"file"`     // where the agent keeps it
}

// ContractRecovery is the recovery of a contract, which Recover takes. It never changes: a copy that
// was made at the opening is enough. Codes ContractUnknown, NotDue.
func (a *Agent) ContractRecovery(ctx context.Context, id usage.ContractID) (RecoveryInfo, error) {
	c, err := a.contractByID(id)
	if err != nil {
		return RecoveryInfo{}, err
	}
	return a.keepRecovery(c)
}

// keepRecovery writes the recovery of a contract to its file, once, and reads it from there.
func (a *Agent) keepRecovery(c contract.Contract) (RecoveryInfo, error) {
	id := c.ID()
	i := RecoveryInfo{Contract: id, File: a.home.Path(recoveryDir, id.String()[:16]+".txt")}
	if raw, err := os.ReadFile(i.File); err == nil {
		i.Text = string(raw)
		if _, err := contract.OpenRecovery(a.home.Seed(), i.Text); err == nil {
			return i, nil
		}
	}
	text, err := a.runner.Recovery(id)
	if err != nil {
		return RecoveryInfo{}, err
	}
	i.Text = text + "\n"
	return i, writeDurably(i.File, []byte(i.Text))
}

// writeDurably writes a file that only its owner reads, so that it is whole or absent after a crash.
func writeDurably(path string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return code.Wrap(code.Internal, err, "%s", filepath.Dir(path))
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return code.Wrap(code.Internal, err, "%s", path)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return code.Wrap(code.Internal, err, "%s", path)
}

// signed keeps the recovery of a contract before its signatures leave.
func (a *Agent) signed(c contract.Contract) {
	if _, err := a.keepRecovery(c); err != nil {
		a.log.Error("the recovery of a contract is not kept; get it with  contract recovery", "contract", c.ID().String()[:8], "err", err)
	}
}

// keepRecoveries makes up for files that a crash or a hand has taken away.
func (a *Agent) keepRecoveries() {
	for _, c := range a.runner.Contracts() {
		if c.State().Live() || c.State() == contract.StateSigned {
			a.signed(c)
		}
	}
}

// locate looks on the boards for a relay of which no address is known. Without it the refund remains.
func (a *Agent) locate(ctx context.Context, relay identity.PublicKey) {
	if known, err := a.addresses(ctx, relay); err == nil && len(known) > 0 {
		return
	}
	if _, problems, err := a.collect(ctx, nil); err != nil || len(problems) > 0 {
		a.log.Warn("a relay is looked for on boards", "relay", relay.Name(), "err", err, "problems", problems)
	}
}

// Recover brings contracts back from their recoveries, after everything but the phrase was lost. It
// needs Run: the agent then watches the chain from the opening on, asks the relay for the rest, and
// refunds at expiry. Codes Malformed, WalletWrongPhrase (another phrase or passphrase, or a letter is
// wrong), WrongNetwork, and those of the node.
func (a *Agent) Recover(ctx context.Context, text string) (ContractInfo, error) {
	if err := a.level(ctx); err != nil {
		return ContractInfo{}, err
	}
	c, err := a.runner.Recover(ctx, text)
	if err != nil {
		return ContractInfo{}, err
	}
	a.signed(c)
	a.locate(ctx, c.Peer())
	return a.describe(ctx, c, nil), a.relaysChanged(ctx)
}
