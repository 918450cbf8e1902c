// Package relay is the server that sells storage: it takes signed, sealed records, answers a
// write only when it is on disk, serves each record to its receiver against a signed request,
// keeps the log that it bills from, and settles through escrow contracts.
//
// The way of a request: a session's reader hands it to a handler, the handler decodes and
// verifies it, the one committer decides it together with whatever else is waiting, writes
// one batch with one fsync, signs one root over all answers, and only then does anything
// leave. Listeners are nudged after that and read what is new from the store.
//
// A relay opens no connection to another relay. Its only outgoing connections are to its
// Bitcoin node and to the boards that its offer is published on.
package relay
