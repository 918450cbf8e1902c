// Package evidence owns fraud proofs: files that show, by nothing but signed bytes in them, that
// somebody broke the rules. It owns the format of such a file, the classes of what can be proven,
// Verify, and Find, which makes proofs of what an audit has before it.
//
// Verify is strict in one direction: everything in a file must hold, and whatever the classes do not
// name is not proven. So no file that is made of what honest parties signed is ever accepted, in
// whatever combination. What is not proven may still be true; see the table in PROTOCOL.md.
//
// Nothing here reads a clock, a store or a network: the same bytes give the same verdict everywhere
// and for ever.
package evidence
