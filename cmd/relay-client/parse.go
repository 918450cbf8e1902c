package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// unit is a suffix of a number and what it multiplies by.
type unit struct {
	name string
	by   uint64
}

var sizeUnits = []unit{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1_000}, {"mb", 1_000_000}, {"gb", 1_000_000_000}, {"tb", 1_000_000_000_000}, {"b", 1},
}

// parseSize reads 300, 5MiB, 1.5GiB, 20MB. Letters may be of either case.
func parseSize(s string) (uint64, error) {
	n, err := parseUnits(s, 1, sizeUnits)
	if err != nil {
		return 0, code.New(code.BadArgument, "%q is not a size; write it like 300, 5MiB or 1.5GiB", s)
	}
	return n, nil
}

var timeUnits = []unit{{"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 7 * 86400}, {"s", 1}}

// parseSeconds reads 90s, 30m, 12h, 30d, 2w; a bare number is seconds.
func parseSeconds(s string) (uint32, error) {
	n, err := parseUnits(s, 1, timeUnits)
	if err != nil || n > math.MaxUint32 {
		return 0, code.New(code.BadArgument, "%q is not a time; write it like 90s, 12h, 30d or 2w", s)
	}
	return uint32(n), nil
}

// blockUnits count in blocks of ten minutes.
var blockUnits = []unit{{"d", 144}, {"w", 7 * 144}, {"y", 52_560}}

// parseBlocks reads 4320, or 30d, 4w, 1y in blocks of ten minutes. Empty is 0.
func parseBlocks(s string) (usage.Height, error) {
	if s == "" {
		return 0, nil
	}
	n, err := parseUnits(s, 1, blockUnits)
	if err != nil || n > math.MaxUint32 {
		return 0, code.New(code.BadArgument, "%q is not a duration; write blocks, or time like 30d, 4w or 1y", s)
	}
	return usage.Height(n), nil
}

func parseUnits(s string, by uint64, units []unit) (uint64, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok && rest != "" {
			s, by = strings.TrimSpace(rest), u.by
			break
		}
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n <= math.MaxUint64/by {
		return n * by, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.Trim(s, "0123456789.") != "" || f*float64(by) >= math.MaxUint64 {
		return 0, errors.New("not a number")
	}
	return uint64(math.Round(f * float64(by))), nil
}

// parseSat reads an amount in satoshi; commas may group its digits.
func parseSat(s string) (usage.Sat, error) {
	n, err := strconv.ParseUint(strings.ReplaceAll(s, ",", ""), 10, 64)
	if err != nil || usage.Sat(n) > usage.MaxSat {
		return 0, code.New(code.BadArgument, "%q is not an amount in satoshi", s)
	}
	return usage.Sat(n), nil
}

// flags that hold a value of this program's own kinds.
type (
	sizeFlag    uint64
	secondsFlag uint32
	blocksFlag  usage.Height
	satFlag     usage.Sat
)

// Set implements pflag.Value: it reads what a person wrote.
func (f *sizeFlag) Set(s string) (err error) {
	n, err := parseSize(s)
	*f = sizeFlag(n)
	return err
}

// Type implements pflag.Value: the word for the value in the help.
func (f *sizeFlag) Type() string { return "size" }

// String implements pflag.Value.
func (f *sizeFlag) String() string { return formatSize(uint64(*f)) }

// Set implements pflag.Value: it reads what a person wrote.
func (f *secondsFlag) Set(s string) (err error) {
	n, err := parseSeconds(s)
	*f = secondsFlag(n)
	return err
}

// Type implements pflag.Value: the word for the value in the help.
func (f *secondsFlag) Type() string { return "time" }

// String implements pflag.Value.
func (f *secondsFlag) String() string {
	if *f == 0 {
		return ""
	}
	return formatSeconds(uint64(*f))
}

// Set implements pflag.Value: it reads what a person wrote.
func (f *blocksFlag) Set(s string) (err error) {
	n, err := parseBlocks(s)
	*f = blocksFlag(n)
	return err
}

// Type implements pflag.Value: the word for the value in the help.
func (f *blocksFlag) Type() string { return "blocks" }

// String implements pflag.Value.
func (f *blocksFlag) String() string {
	if *f == 0 {
		return ""
	}
	return fmt.Sprint(uint32(*f))
}

// Set implements pflag.Value: it reads what a person wrote.
func (f *satFlag) Set(s string) (err error) {
	n, err := parseSat(s)
	*f = satFlag(n)
	return err
}

// Type implements pflag.Value: the word for the value in the help.
func (f *satFlag) Type() string { return "sat" }

// String implements pflag.Value.
func (f *satFlag) String() string {
	if *f == 0 {
		return ""
	}
	return fmt.Sprint(uint64(*f))
}
