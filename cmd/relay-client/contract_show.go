package main

import (
	"fmt"
	"io"
	"strings"

	"relaymarket/broadcast"
	"relaymarket/client"
)

// blocksAndHours is how far a deadline is.
func blocksAndHours(d client.Deadline) string {
	blocks, hours := "1 block", "1 hour"
	if d.Blocks != 1 {
		blocks = fmt.Sprintf("%d blocks", d.Blocks)
	}
	if d.Hours != 1 {
		hours = fmt.Sprintf("%d hours", d.Hours)
	}
	return blocks + " (about " + hours + ")"
}

// recipients are the words for whom an output pays.
var recipients = map[string]string{
	"escrow": "into the escrow", "client": "to you", "client-locked": "to you, movable one block later", "relay": "to the relay",
	"change": "back to your wallet", "other": "to somebody else", "collateral": "into the relay's collateral",
}

func printTransactions(w io.Writer, all []client.ContractTx) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w, "transactions")
	for _, t := range all {
		what := t.What
		if t.What == "settlement" && t.Tier > 0 {
			what = fmt.Sprintf("%s at a higher fee (%d)", what, t.Tier)
		}
		fmt.Fprintf(w, "  %s: %s; %s\n", what, standing(t), t.By)
		fmt.Fprintf(w, "    %s, fee %s: %s\n", or(t.Txid, "no id before it is made"), broadcast.FormatSat(t.Fee), strings.Join(outputs(t), ", "))
	}
}

// standing says where a transaction is.
func standing(t client.ContractTx) string {
	switch t.State {
	case "confirmed":
		if t.Confirmations == 1 {
			return fmt.Sprintf("1 confirmation, in block %d", t.Height)
		}
		return fmt.Sprintf("%d confirmations, in block %d", t.Confirmations, t.Height)
	case "mempool":
		return "in the mempool"
	case "published":
		return "published, not in a block"
	case "planned":
		return "not made yet; the numbers are an estimate"
	case "void":
		return "void, because another transaction is in its place"
	}
	return t.State
}

func outputs(t client.ContractTx) (out []string) {
	for _, o := range t.Outputs {
		text := broadcast.FormatSat(o.Amount) + " " + or(recipients[o.To], o.To)
		if o.Address != "" {
			text += " (" + o.Address + ")"
		}
		out = append(out, text)
	}
	return out
}
