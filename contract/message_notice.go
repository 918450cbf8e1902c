package contract

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

// Step is what a relay does about a payment that does not come, one after the other.
type Step uint8

// The steps. Before the first there is only the relay's request.
const (
	StepNone      Step = 0
	StepOverdue   Step = 1 // no new orders; only the payer reads
	StepSuspended Step = 2 // the same: the last time for the payer to fetch what is its own
	StepRetained  Step = 3 // nobody reads; everything is still kept
	StepPurged    Step = 4 // the records are gone

	lastStep = StepPurged
)

// String is the step in one word.
func (s Step) String() string {
	return [...]string{"none", "overdue", "suspended", "retained", "purged"}[min(s, lastStep)]
}

// state is that of a contract which has come to a step.
func (s Step) state() State {
	return [...]State{StateActive, StateOverdue, StateSuspended, StateRetained, StatePurged}[min(s, lastStep)]
}

// Notice (contractNotice, 45, relay → client) says that a payment which was asked for has not come, what
// the relay does about it from here on, and what clears it. A later step names the notice of the one before.
// It stands outside the numbering: its Seq is that of the relay's last message.
type Notice struct {
	Common
	Contract usage.ContractID // 70 contract[32]
	Step     Step             // 72 step u8: 1 overdue, 2 suspended, 3 retained, 4 purged
	N        uint32           // 74 n u32: the latest update that the relay has
	Amount   usage.Sat        // 76 amount u64: the cumulative payment P that ends it
	Report   identity.Digest  // 78 report[32]: the usage report that the sum comes from
	Before   usage.Height     // 80 before u32: at the first step the tip when the payment was asked for, else Since of the step before
	Since    usage.Height     // 82 since u32: the relay's tip when it took the step
	Earlier  identity.Digest  // 84 earlier[32], exactly at a later step: digest of the notice of the step before
}

func (m *Notice) kind() identity.Type { return identity.TypeContractNotice }

func (m *Notice) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Contract[:]), codec.U8(72, &m.Step), codec.U32(74, &m.N), codec.U64(76, &m.Amount),
		codec.Fixed(78, m.Report[:]), codec.U32(80, &m.Before), codec.U32(82, &m.Since),
		codec.Optional(codec.Fixed(84, m.Earlier[:])),
	}
}

func (m *Notice) check() error {
	switch {
	case m.Step == StepNone || m.Step > lastStep:
		return code.New(code.Malformed, "step %d of a notice", m.Step)
	case m.N == 0 || m.N > maxSeq || m.Amount == 0 || m.Report.IsZero():
		return code.New(code.Malformed, "a notice after update %d for %d sat on report %s", m.N, m.Amount, m.Report.Short())
	case m.Before == 0 || m.Since < m.Before:
		return code.New(code.Malformed, "a step at height %d after one at %d", m.Since, m.Before)
	case m.Earlier.IsZero() != (m.Step == StepOverdue):
		return code.New(code.Malformed, "the first notice names no earlier one, every other one does")
	}
	return nil
}
