// Package records owns what a relay keeps for people: the path of a record, its signed
// header, its content, and how that content is sealed so that only the receiver reads it.
//
// A record lives at /sender/outbox/receiver/id. Its header is a statement of package identity
// that commits to the content by the root of a tree over chunks of 4,096 bytes, so that
// evidence stays small, a broken download resumes at a chunk, and a relay can be asked to show
// one chunk instead of everything. Who pays for it is said elsewhere (usage.StoreOrder).
//
// The route of a message through this package, sender first:
//
//	Content                 media type, body, attachments, place in the conversation
//	SendEpoch.SealContent   encode, pad, encrypt under a key used once; the next state is
//	                        saved before the sealed bytes leave the machine
//	Draft.Statement         the unsigned header over the sealed bytes; identity.Sign signs it
//	Open, OpenHeader        whoever receives it: the only way to a Record or a Verified
//	OpenContent             the receiver: decrypt, unpad, decode; the next state is saved
//	                        together with the content
//	Thread.Observe          is something missing before this message?
//
// A Verified or a Record is proof that its signature held; there is no other way to make one.
//
// What sealing promises, and what not: nobody but the receiver reads a record, also not with a
// quantum computer later; nobody can read old records from a machine once the sealing key is
// deleted (30 days, plus the longest life of a record, after it was made); authorship is the
// record's signature, for HPKE's base mode authenticates nobody. Whoever takes a device's
// state can read on until its sealing key is replaced: there is no healing in between.
//
// The package is pure: no clock, no network, no files. There is one exception that cannot be
// avoided: crypto/hpke takes the randomness of an encapsulation from the operating system and
// not from a reader that is passed in, so NewEpoch is not a function of its arguments.
package records
