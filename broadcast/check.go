package broadcast

import (
	"net/netip"
	"net/url"
	"strings"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// Bounds that every offer keeps.
const (
	// MaxValidity is the longest time that an offer binds, in milliseconds: 14 days.
	MaxValidity identity.UnixMilli = 14 * 24 * 3600 * 1000
	// MaxAhead is how far an offer's time may lie ahead of the reader's clock, in milliseconds.
	MaxAhead identity.UnixMilli = 120_000
	// MaxBlocks is the longest contract: a year of blocks.
	MaxBlocks = 52_560
	// MaxDepth is the deepest funding that a relay may wait for.
	MaxDepth = 6
	// MinFeeRate and MaxFeeRate bound fee rates, in sat per 1000 vB: those that contracts allow.
	MinFeeRate = 1_000
	MaxFeeRate = 500_000
)

// Sizes in virtual bytes of a contract's transactions (measured; see PROTOCOL.md).
const (
	fundSize   = 154
	closeSize  = 154
	settleSize = 204
)

// dust is the smallest taproot output that nodes relay, in satoshi.
const dust usage.Sat = 330

// feeFor is the fee of a transaction, rounded up; rate is at most MaxFeeRate.
func feeFor(rate, size uint64) usage.Sat { return usage.Sat((rate*size + 999) / 1000) }

// MinContractPrice is the least price of a contract whose first settlement can be mined: its
// fee at the given rate (sat per 1000 vB, at most MaxFeeRate) and an output above dust.
func MinContractPrice(settleFeeRate uint64) usage.Sat {
	return dust + feeFor(min(settleFeeRate, MaxFeeRate), settleSize)
}

// Check tells whether the offer makes sense in itself: bounds in order, prices below their
// caps, addresses that can be used. It reads no clock, proof of work or signature. Errors
// carry code Malformed or BadAmount.
func (o *Offer) Check() error {
	for _, check := range []func() error{o.checkHead, o.checkMoney, o.checkTerms, o.checkAddresses} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (o *Offer) checkHead() error {
	switch {
	case o.Sequence == 0:
		return code.New(code.Malformed, "an offer's sequence begins at 1")
	case o.ValidUntil <= o.Time:
		return code.New(code.Malformed, "the offer ends before it begins")
	case o.ValidUntil-o.Time > MaxValidity:
		return code.New(code.Malformed, "an offer is valid for at most 14 days")
	case o.PowBits > MaxPowBits:
		return code.New(code.Malformed, "%d bits of work, allowed are %d", o.PowBits, MaxPowBits)
	}
	return nil
}

func (o *Offer) checkMoney() error {
	if err := o.Prices.Check(); err != nil {
		return err
	}
	switch least := MinContractPrice(o.SettleFeeRate); {
	case o.SettleFeeRate < MinFeeRate || o.SettleFeeRate > MaxFeeRate || o.MinFundFeeRate < MinFeeRate || o.MinFundFeeRate > MaxFeeRate:
		return code.New(code.BadAmount, "a fee rate outside %d to %d sat per 1000 vB", MinFeeRate, MaxFeeRate)
	case o.ContractPrice < least:
		return code.New(code.BadAmount, "a contract price of %d sat is below the %d sat that its settlement needs", o.ContractPrice, least)
	case o.MinDeposit <= o.ContractPrice:
		return code.New(code.BadAmount, "the smallest deposit of %d sat leaves nothing beyond the contract price", o.MinDeposit)
	case o.MinDeposit > o.MaxDeposit || o.MaxDeposit > usage.MaxSat:
		return code.New(code.BadAmount, "deposits from %d to %d sat", o.MinDeposit, o.MaxDeposit)
	case o.CreditLimit > o.MaxDeposit:
		return code.New(code.BadAmount, "a credit of %d sat above the largest deposit", o.CreditLimit)
	case o.MaxCollateral > o.MaxDeposit:
		return code.New(code.BadAmount, "a collateral of %d sat above the largest deposit", o.MaxCollateral)
	case o.CreditToEarn > o.CreditLimit:
		return code.New(code.BadAmount, "a credit of %d sat, of which %d are still to be earned", o.CreditLimit, o.CreditToEarn)
	}
	return nil
}

func (o *Offer) checkTerms() error {
	if err := o.Limits.Check(); err != nil {
		return err
	}
	switch {
	case o.MinDuration < 1 || o.MinDuration > o.MaxDuration || o.MaxDuration > MaxBlocks:
		return code.New(code.Malformed, "durations from %d to %d blocks, allowed are 1 to %d", o.MinDuration, o.MaxDuration, MaxBlocks)
	case o.FundingDepth < 1 || o.FundingDepth > MaxDepth:
		return code.New(code.Malformed, "a funding depth of %d, allowed are 1 to %d", o.FundingDepth, MaxDepth)
	case o.MaxTTL < 1 || o.MaxTTL > records.MaxTTL || o.MaxTTL > o.Limits.MaxTTL:
		return code.New(code.Malformed, "a longest life of %d s, allowed are 1 to %d", o.MaxTTL, min(o.Limits.MaxTTL, records.MaxTTL))
	}
	return nil
}

func (o *Offer) checkAddresses() error {
	if len(o.Addresses) < 1 || len(o.Addresses) > identity.MaxAddresses {
		return code.New(code.Malformed, "%d addresses, allowed are 1 to %d", len(o.Addresses), identity.MaxAddresses)
	}
	seen := make(map[string]bool, len(o.Addresses))
	for _, a := range o.Addresses {
		if err := CheckAddress(a, o.Network); err != nil {
			return err
		}
		if seen[a.URL] {
			return code.New(code.Malformed, "the address %q stands twice", a.URL)
		}
		seen[a.URL] = true
	}
	return nil
}

// CheckAddress tells whether an address may stand in an offer: wss:// with one pin at least,
// or, on regtest only and for one machine only, ws:// to a loopback address without pins. The
// URL is lower-case ASCII and has nothing but scheme, host, port and path.
func CheckAddress(a identity.Address, network identity.Network) error {
	u, err := url.Parse(a.URL)
	if err != nil || len(a.URL) > identity.MaxURL || u.Scheme+"://"+u.Host+u.Path != a.URL || !plainHost(u) || !plainPath(u.Path) {
		return code.New(code.Malformed, "%q is not a plain wss:// address", a.URL)
	}
	switch {
	case len(a.Pins) > identity.MaxPins:
		return code.New(code.Malformed, "%d pins for %q, allowed are %d", len(a.Pins), a.URL, identity.MaxPins)
	case u.Scheme == "wss" && len(a.Pins) == 0:
		return code.New(code.Malformed, "%q has no pin of its certificate key", a.URL)
	case u.Scheme == "wss":
		return nil
	case u.Scheme != "ws" || network != identity.Regtest || !loopback(u.Hostname()):
		return code.New(code.Malformed, "%q is not wss://; ws:// is for loopback on regtest only", a.URL)
	case len(a.Pins) > 0:
		return code.New(code.Malformed, "%q has pins, but no certificate that they could pin", a.URL)
	}
	return nil
}

// plainHost accepts a lower-case name, an IPv4 or a bracketed IPv6 address, and a port in
// plain decimal.
func plainHost(u *url.URL) bool {
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
		if ip.Zone() != "" {
			return false
		}
		if ip.Is6() {
			host = "[" + host + "]"
		}
	} else if !plainName(host) {
		return false
	}
	port := u.Port()
	if port == "" {
		return u.Host == host
	}
	return u.Host == host+":"+port && port[0] != '0' && (len(port) < 5 || len(port) == 5 && port <= "65535")
}

// plainName accepts DNS labels, .onion names among them.
func plainName(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	for _, label := range strings.Split(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

func plainPath(p string) bool {
	return strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789-_./") == ""
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
