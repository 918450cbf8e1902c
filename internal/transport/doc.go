// Package transport owns the connection between a client and a relay: binary frames over
// WebSocket (RFC 6455) over TLS 1.3, or in memory for tests. It is the only importer of the
// WebSocket library.
//
// A relay's certificate needs no authority and no host name: its offer pins the SHA-256 of
// the certificate's public key, so bare IP addresses and .onion names work like any other.
// The pin is an early failure; what counts is the handshake of package session, in which the
// relay's identity signs over Exporter, the TLS channel binding of RFC 9266.
//
// Nothing is taken from the environment: no proxy, no certificate store, no session tickets;
// redirects are refused, compression is off, and plain ws:// is for loopback only and only
// where asked for. Start with Conn, Dial and Server; Pipe is a pair of Conns in memory.
package transport
