// Package client is the agent of one identity and the SDK under it: it holds the store and
// the wallet, keeps sessions with the relays of every contact and with its own, sends and
// receives records, acknowledges them, audits what relays bill, pays what the audit
// confirms, and takes the deposit back when a relay is gone.
//
// Programs use an Agent directly or talk to a running one through client/agentapi. The types
// in api.go are the vocabulary of both.
package client
