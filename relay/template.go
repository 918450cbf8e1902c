package relay

import (
	"bytes"
	"text/template"

	"relaymarket/internal/code"
)

// configTemplate is relay.toml as Init writes it: every entry with what it means.
var configTemplate = template.Must(template.New(ConfigName).Parse(`# Configuration of a relay. After a change: stop the relay and run it again.
version = {{.Version}}

# Bitcoin network: mainnet, testnet3, testnet4, signet or regtest. Each has its own data directory.
network = "{{.Network}}"

# Where to listen. TLS is always on; the certificate is made at init and pinned by the offer.
listen = "{{.Listen}}"

# What the offer tells clients to connect to (wss://host:port; IP addresses and .onion names work,
# no certificate authority is needed). Empty: wss:// and the listen address, for tests on one machine.
addresses = [{{range $i, $a := .Addresses}}{{if $i}}, {{end}}"{{$a}}"{{end}}]

# Health, metrics and the commands' door to the running relay. It has no password: loopback only.
admin = "{{.Admin}}"

# Boards that the offer is also published on: https://…, or file:///directory. The relay always serves
# its own list under /broadcasts.
boards = [{{range $i, $a := .Boards}}{{if $i}}, {{end}}"{{$a}}"{{end}}]

[bitcoin]
# A relay needs a full node: it looks up its clients' coins.
{{.Bitcoin.Text}}{{if not .Second.None}}
# A second view of the chain: no contract is accepted and no service begins while the two do not agree.
[second]
{{.Second.Text}}{{end}}
[offer]
# Prices in millisatoshi: keeping 1 GiB for a day, and sending 1 GiB to readers. Incoming is free.
storage_msat_per_gib_day = {{.Offer.Storage}}
egress_msat_per_gib = {{.Offer.Egress}}
# Flat price of a contract in satoshi. It must cover a settlement: 330 + 204 × settle_feerate_sat_per_vb.
contract_price_sat = {{.Offer.ContractPrice}}
# What a client may lock.
min_deposit_sat = {{.Offer.MinDeposit}}
max_deposit_sat = {{.Offer.MaxDeposit}}
min_duration_blocks = {{.Offer.MinDuration}}
max_duration_blocks = {{.Offer.MaxDuration}}
# Confirmations before a contract counts, 1 to 6.
funding_depth = {{.Offer.FundingDepth}}
# How much usage you trust a client with beyond what it has paid: a new one with the first sum, and with one satoshi more for
# each that it has paid for use, here or in an earlier contract, up to the second. That is the most you can lose per contract.
credit_start_sat = {{.Offer.CreditStart}}
credit_limit_sat = {{.Offer.CreditLimit}}
# Fee rate of settlements (the client also signs at 4 and 16 times this rate) and least rate of funding transactions.
settle_feerate_sat_per_vb = {{.Offer.SettleFeeRate}}
min_fund_feerate_sat_per_vb = {{.Offer.MinFundRate}}
# What each identity may store and read without a contract, per day. 0: nothing.
free_bytes_per_day = {{.Offer.FreeBytesDay}}
max_ttl_days = {{.Offer.MaxTTLDays}}
# Work in the offer: boards rank by it. Each bit doubles it; 20 takes about a second.
pow_bits = {{.Offer.PowBits}}
# How long a published offer binds you (at most 336); it is renewed in time.
valid_hours = {{.Offer.ValidHours}}
max_contracts = {{.Offer.MaxContracts}}
# What you lock of your own coins beside an escrow, if a client asks for it: at most so much for one contract and for all together.
# It comes back when the contract expires, whatever happens; the cost is the fees and the wait. 0: nothing.
max_collateral_sat = {{.Offer.MaxCollateral}}
max_collateral_total_sat = {{.Offer.MaxLocked}}
# Where earnings go. Empty: to the relay's own wallet (relay wallet balance, relay wallet send).
payout_address = "{{.Offer.Payout}}"

[store]
# Writes are refused when less than this is free, so that deletes, payments and contract state still work.
reserve_mib = {{.Store.ReserveMiB}}
memtable_mib = {{.Store.MemtableMiB}}
cache_mib = {{.Store.CacheMiB}}
`))

// Text is the commented relay.toml of a configuration.
func (c Config) Text() ([]byte, error) {
	var b bytes.Buffer
	err := configTemplate.Execute(&b, c)
	return b.Bytes(), code.Wrap(code.Internal, err, "writing %s", ConfigName)
}
