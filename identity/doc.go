// Package identity owns who somebody is and what makes bytes evidence: keys and their text
// form, the recovery phrase and its roles, statements, the trees they are signed in, and the
// Identity document by which people tell each other their keys and relays.
//
// Everything that can ever be evidence is a statement: a strict TLV stream with a common
// Header and a body by type. A signature never signs a statement directly: it signs the root
// of a tree of statements by one signer, so that hundreds of statements cost one signature;
// a lone statement is a tree of one leaf. What travels and is kept is a Signed: the bytes of
// the statement and a Proof (signature, tree size, index, path). The identity of a statement
// is its Digest alone; proofs lie outside, are never compared and may differ.
//
// A type of another package that holds a verified statement can only be made by that
// package's Open function, which calls Verify here. So a value of such a type is proof that
// its signature held.
//
// The package is pure: no clock, no network, no hidden randomness.
package identity
