package contract

import (
	goflag "flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
)

var updateStates = goflag.Bool("update-states", false, "write STATES.md anew")

// seen collects the transitions of a test's worlds, where it is set.
type seenTransitions map[string]bool

func (s seenTransitions) note(r Role, from State, by Cause, to State) {
	if s != nil {
		s[transitionName(r, from, by, to)] = true
	}
}

func transitionName(r Role, from State, by Cause, to State) string {
	return fmt.Sprintf("%s: %s -> %s by %s", r, from, to, by)
}

// transition holds what an event did against the table.
func (w *world) transition(r Role, from, to State, e Event) {
	by := CauseOf(e)
	if !Allowed(r, from, by, to) {
		w.t.Fatalf("%s is no transition of the table", transitionName(r, from, by, to))
	}
	allSeen.note(r, from, by, to)
}

// allSeen is set while TestEveryTransitionHappens runs; no test of this package runs beside it.
var allSeen seenTransitions

// TestEveryTransitionHappens runs histories that between them go through every row of the table.
func TestEveryTransitionHappens(t *testing.T) {
	allSeen = seenTransitions{}
	defer func() { allSeen = nil }()
	for name, f := range map[string]func(*testing.T){
		"times out": TestFault01OpeningTimesOut, "abort": TestAbortFreesBoth, "cancel": TestCancelBringsTheCoinsBack,
		"settles": TestRelaySettlesAndClientSweeps, "refunds": TestClientRefundsAlone, "likes": TestRelaySettlesWhenItLikes,
		"published": TestPublishingWithoutTheRelay, "both close": TestBothCloseAtOnce, "two updates": TestRuleDTwoUpdatesWithOneNumber,
		"adopted": TestRuleFRelayRestoredFromBeforeTheOpening, "recovered": TestRecoveryIsEnoughForTheRefund,
		"forgets": TestRelayForgetsWhatIsNeverFunded, "lost answers": TestLostAnswers, "race": TestFault17RaceAfterExpiry,
		"odd ways": oddWays, "frozen": frozenWays, "closes": closingWays, "key path": TestCloseByKeyPath,
		"notices": TestNoticesStepByStep, "owing": TestOwingContractsEnd, "offered": offeredWays,
		"option": TestFault35FreeOption, "published late": TestFault35PublishedLate, "withdrawn": TestWithdrawnFundings,
	} {
		t.Run(name, f)
	}
	for _, row := range transitions {
		for _, to := range row.To {
			if name := transitionName(row.Role, row.From, row.By, to); !allSeen[name] {
				t.Errorf("nothing here goes %s", name)
			}
		}
	}
}

// oddWays are the rarer ways through an opening.
func oddWays(t *testing.T) {
	w, _ := proposed(t)
	w.do(w.client, GiveUp{Code: code.Declined, Stamp: w.stamp()})
	w, s := proposed(t)
	w.do(w.relay, w.acceptance(w.open(s)))
	w.relay.inbox = nil
	w.do(w.client, GiveUp{Code: code.Declined, Stamp: w.stamp()})
	w.do(w.relay, w.event(w.relay, w.open(w.relay.inbox[0])))

	for _, e := range []Event{GiveUp{Code: code.Declined, Stamp: w.stamp()}, BlockConnected{Height: startHeight + 6}} {
		w, s := answered(t) // verified, and the wallet is slow
		w.apply(w.client, w.event(w.client, w.open(s)))
		w.apply(w.client, e)
	}

	w, s = answered(t)
	w.apply(w.client, w.event(w.client, w.open(s)))
	w.client.inbox = nil
	w.do(w.relay, GiveUp{Code: code.NoCapacity, Stamp: w.stamp()})
	w.do(w.client, w.event(w.client, w.open(w.client.inbox[0])))

	for _, depth := range []uint8{1, 3} { // the relay has the signatures, its node not the funding: a block brings it
		w := newWorld(t)
		w.offer.FundingDepth = depth
		w.do(w.client, w.proposal())
		w.do(w.relay, w.acceptance(w.open(w.relay.inbox[0])))
		w.relay.inbox = nil
		w.do(w.client, w.event(w.client, w.open(w.client.inbox[0])))
		v := w.open(w.relay.inbox[0])
		tx := w.client.c.FundingTx()
		w.apply(w.relay, w.event(w.relay, v))
		w.chain.pool = []*wire.MsgTx{tx}
		w.mine(1)
	}
	w, s = countersigned(t)
	w.do(w.relay, w.event(w.relay, w.open(s)))
	w.deliver()
	w.do(w.client, CancelFunding{9_000})
	w.chain.pool = []*wire.MsgTx{w.client.c.FundingTx()}
	w.mine(1) // the escrow was faster
	w, _ = countersigned(t)
	spendElsewhere(w)
	w.mine(1)
	w, s = countersigned(t)
	w.do(w.relay, w.event(w.relay, w.open(s)))
	w.deliver()
	w.chain.pool = nil
	spendElsewhere(w)
	w.mine(1)
}

// spendElsewhere has the client's wallet spend a funding coin for something else.
func spendElsewhere(w *world) {
	coin := w.client.c.coins[0]
	tx := newTx(0)
	addInput(tx, coin.OutPoint, spendSequence)
	addOutput(tx, coin.Value-20_000, p2tr(seedKey("elsewhere")))
	tx.TxIn[0].Witness = w.sign(w.client, SignFunding{Tx: tx, Prevouts: map[wire.OutPoint]*wire.TxOut{coin.OutPoint: coin.txOut()}})[coin.OutPoint]
	if err := w.chain.accept(tx); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// frozen is a world with a contract that both sides have frozen, for a log that is shorter than reported.
func frozen(t failer) *world {
	w := active(t)
	w.pay(5_000)
	w.relay.head = Head{}
	w.do(w.client, Reconnect{Head: Head{Epoch: 1, Size: 7, Root: [32]byte{1}}, Stamp: w.stamp()})
	w.client.deaf = false
	v := w.open(w.relay.inbox[0])
	w.relay.inbox = nil
	w.client.head = Head{Epoch: 1, Size: 7, Root: [32]byte{1}}
	w.do(w.relay, w.event(w.relay, v))
	w.deliver()
	w.do(w.client, Reconnect{Stamp: w.stamp()}) // tells the relay that it is frozen
	w.deliver()
	w.wantStates(StateFrozen, StateFrozen)
	return w
}

// frozenWays end a frozen contract in each way.
func frozenWays(t *testing.T) {
	frozen := func() *world { return frozen(t) }
	w := frozen()
	w.askClose(w.relay, 5_000, 1_000)
	w.deliver()
	w = frozen()
	w.do(w.relay, OfferClose{Amount: 5_000, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
	w.deliver()
	w.do(w.client, AcceptClose{Max: 5_000, Key: w.client.key})
	w = frozen()
	w.do(w.relay, Settle{Key: w.relay.key})
	w.mine(1) // the client has not seen it in its mempool
	w = frozen()
	w.mineTo(w.client.c.Terms().ServiceUntil())
	w = frozen()
	copyOfRelay := w.relay.c
	w.do(w.client, Close{Amount: 6_000, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
	w.deliver()
	w.relay.c = copyOfRelay
	w.mine(1) // the relay's record was put back: it sees the close in a block
}

// closingWays end an active contract in each way, also as the other side sees it.
func closingWays(t *testing.T) {
	for _, blind := range []bool{true, false} {
		w := active(t)
		w.pay(5_000)
		client, relay := w.client.c, w.relay.c
		w.do(w.client, Close{Amount: 6_000, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
		w.deliver()
		w.client.c, w.relay.c = client, relay
		if !blind {
			w.do(w.client, TxSeen{w.chain.pool[0], w.stamp()})
			w.do(w.relay, TxSeen{w.chain.pool[0], w.stamp()})
		}
		w.mine(1)
	}
	w := active(t) // one side tells the other that it has signed a close which the other has lost
	relay := w.relay.c
	w.do(w.relay, OfferClose{Amount: 5_000, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
	w.client.inbox = nil
	w.reconnect()
	w.relay.c = relay
	w.reconnect()
	w.relay.c = Contract{} // gone for good
	w.mineTo(w.client.c.Terms().Expiry)
	w = active(t)
	w.pay(5_000)
	w.do(w.relay, OfferClose{Amount: 5_000, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
	w.deliver()
	w.do(w.client, AcceptClose{Max: 5_000, Key: w.client.key})
	w.mine(1)
	for _, blind := range []bool{true, false} { // a settlement in the last days
		w = active(t)
		w.pay(5_000)
		w.mineTo(w.client.c.Terms().SettleFrom())
		if !blind {
			w.do(w.client, TxSeen{w.chain.pool[0], w.stamp()})
		}
		w.mine(1)
	}
	w = active(t)
	w.mineTo(w.client.c.Terms().ServiceUntil())
	draining := w.relay.c
	w.do(w.relay, Settle{Key: w.relay.key})
	w.relay.c = draining // the record was put back: the settlement comes as a surprise
	w.mine(1)
	w, s := countersigned(t) // the relay waits for a funding that is double-spent
	w.chain.base = map[wire.OutPoint]*wire.TxOut{}
	w.do(w.relay, w.event(w.relay, w.open(s)))
	w.apply(w.relay, w.block(w.relay, startHeight+60))
}

// TestStatesDiagram holds STATES.md against the table. It is written anew with -update-states.
func TestStatesDiagram(t *testing.T) {
	want := statesDiagram()
	if *updateStates {
		if err := os.WriteFile("STATES.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("STATES.md")
	if err != nil || string(got) != want {
		t.Fatalf("STATES.md is not what the table gives; write it anew with  go test ./contract -run TestStatesDiagram -update-states  (%v)", err)
	}
}

func statesDiagram() string {
	var b strings.Builder
	b.WriteString("# The states of a contract\n\nDrawn from the table in `transitions.go`, on a chain that only grows. A reorganisation takes facts away, and the state\n" +
		"follows; a rescan can take several steps at once.\n")
	for _, r := range []Role{Client, Relay} {
		fmt.Fprintf(&b, "\n## The %s\n\n```mermaid\nstateDiagram-v2\n", r)
		for _, t := range transitions {
			for _, to := range t.To {
				if t.Role == r {
					fmt.Fprintf(&b, "    %s --> %s: %s\n", t.From, to, t.By)
				}
			}
		}
		b.WriteString("```\n")
	}
	return b.String()
}
