// Package board owns where offers are published and where they are collected.
//
// An offer proves itself (see broadcast), so a board needs no trust, no account and no
// certificate that anyone checks: the worst that a bad one can do is to show nothing. A board
// is one of two things: a list that an HTTP server keeps (Board; every relay can host one),
// or a directory of files (Dir), which can be shared by any means that moves files. Client
// speaks to both by their address: https://…, http://…, file:///… or a plain path. Collector
// merges many of them into the newest offer of each relay.
//
// Both have one form, a JSON object {"version":1,"broadcasts":["hex…",…]} of signed offers, so
// that the saved answer of a server is a file of a directory and the other way round.
//
// A Board holds a bounded number of offers, one for each relay. When it is full, an offer
// pushes out those with less work per time of validity than its own, and nothing else: who
// floods it must outwork those whom he wants to remove.
package board
