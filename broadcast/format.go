package broadcast

import (
	"fmt"
	"strconv"

	"relaymarket/usage"
)

// FormatSat writes a sum for people: 1,234,567 sat.
func FormatSat(s usage.Sat) string { return group(uint64(s)) + " sat" }

// FormatMsat writes a sum in satoshi with three decimals: 0.670 sat.
func FormatMsat(m usage.Msat) string { return decimals(m) + " sat" }

// FormatPrices writes a price list: 0.670 sat/GiB·day stored, 20.000 sat/GiB read.
func FormatPrices(p usage.Prices) string {
	return fmt.Sprintf("%s sat/GiB·day stored, %s sat/GiB read", decimals(p.StorageMsatPerGiBDay), decimals(p.EgressMsatPerGiB))
}

func decimals(m usage.Msat) string { return fmt.Sprintf("%s.%03d", group(uint64(m/1000)), m%1000) }

// group writes a number with commas between thousands.
func group(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
