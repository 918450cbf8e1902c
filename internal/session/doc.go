// Package session owns a conversation between a client and a relay: the handshake, request
// ids, pipelining, flow control and the mapping of errors, for both sides. It moves messages
// and knows nothing of what they mean.
//
// # Handshake
//
// The relay proves itself first, so that a client never shows who it is to an impostor:
//
//	client → hello       versions, features, genesis, nonce
//	relay  → helloRelay  choice, key, limits, store epoch, time; signs
//	                     tagged("hello", hello ‖ helloRelay without sig ‖ exporter)
//	client → auth        key; signs
//	                     tagged("hello-client", hello ‖ helloRelay ‖ key ‖ exporter)
//	relay  → welcome
//
// Both signatures cover every byte of both hellos and the TLS channel binding, so neither
// side can be lied to about versions, features, limits or time, and a proof is worth nothing
// on another connection. The two tags differ, so that what a key signed as a relay can never
// be shown as what it signed as a client. A client without a key stops after helloRelay: its
// session is anonymous, sees offers and ping, and ends eight seconds after it began.
//
// # Flow
//
// At most Limits.MaxInFlight requests are open; the relay then stops reading, and TCP carries
// the pressure back. A slot is free again when its answer was written, so what waits for a
// slow client is bounded. Answers come in any order. Listens take no slot and are few.
//
// Start with Dial and Client on one side, Serve, Handler and Server on the other.
package session
