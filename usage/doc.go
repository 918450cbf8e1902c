// Package usage owns what is used and what it costs: quantities, money, prices and the cost
// function; the statements by which use is ordered, receipted, read, acknowledged, deleted
// and denied; the log of rows that a relay keeps per contract and the report that is its
// signed head; and Reconcile, which compares all of these and says, row by row, what is owed.
//
// The way of one record through the package: a payer signs a StoreOrder; the relay checks it
// with CoverOrder, sees whether the Account covers its worst case, answers with a Receipt and
// appends a WRITE row with AppendRow. A ReadRequest becomes a READ row before a byte is sent,
// and the receiver's Acknowledgement is attached to it. A Delete, or the end of custody,
// closes the record by a row of its own. The UsageReport signs the head of the log, the
// client checks it with CheckReport, and Reconcile tells it what to pay.
//
// Every statement type X has Encode, DecodeX (shape only), and OpenX, the only maker of a
// VerifiedX; OpenXVerified takes a verdict that identity.VerifyBatch has already reached.
//
// Both sides run the same functions on the same integers: nothing here rounds twice, uses
// floating point, reads a clock or does I/O.
package usage
