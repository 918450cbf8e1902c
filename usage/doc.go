// Package usage owns what is used and what it costs: quantities, money, prices and the cost
// function; the statements by which use is ordered, receipted, read, acknowledged, deleted
// and denied; the log of rows that a relay keeps per contract and the report that is its
// signed head; and Reconcile, which compares all of these and says, row by row, what is owed.
//
// Both sides run the same functions on the same integers: nothing here rounds twice, uses
// floating point, reads a clock or does I/O.
package usage
