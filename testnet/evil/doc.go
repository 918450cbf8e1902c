// Package evil makes a relay dishonest without a line of the relay's own code knowing of it. A Front
// holds the relay's keys, stands on the port that clients know, and hands their connections to the honest
// relay behind it; of what that relay says it changes what a modified relay would say, and signs it
// anew. To a client, Front and relay together are one relay with one identity that lies.
//
// What lies there are is said by Lies; a Front tells one at a time. Its books are consistent
// as far as the lie allows: a relay that bills a read that nobody asked for signs reports that
// fit, one after the other, and receipts that name their rows. So what a test sees is not a
// careless fraud but the best that can be had by one.
package evil
