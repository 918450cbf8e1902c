// Package testnet is a whole market in one process tree: a real Bitcoin node with a chain of its
// own, relays and people's agents, all on loopback, with real TLS, real stores and real
// wallets. Tests drive it with scenario files, `relay testnet` tells the story of the market
// with it and then stays up to be played with.
//
// A World is made with New and ended with Close. Its verbs are what can happen to a market:
// Mine, Reorg, StopRelay, StartRelay, StopClient, StartClient, Cut, Heal.
package testnet
