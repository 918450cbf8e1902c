// Package message owns what travels between a client and a relay: the number, the fields and
// the bytes of every session message.
//
// A frame is u16 type ‖ u64 request id ‖ TLV body, one per WebSocket message. The requester
// chooses the id, any number but 0, unused among its open requests; answers carry it back, in
// any order. Id 0 is for what a relay says unasked. Statements (orders, receipts, requests,
// everything that can be evidence) travel inside as raw bytes, because the message layer must
// never re-encode what somebody signed; the session is authenticated once, by its handshake.
//
// Types lists all messages with their numbers, who sends them, what answers them and whether
// an anonymous session may send them; PROTOCOL.md prints that table. Every value has exactly
// one encoding: Decode accepts nothing that Encode would not write.
//
// Start with Encode, Decode and Types; then read the file of the group you need: handshake,
// write, read, list, delete, usage, identity, contract.
package message
