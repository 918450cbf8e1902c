package spec

import (
	"bytes"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// mainTerms are complete terms at mainnet heights.
func mainTerms() contract.Terms {
	return contract.Terms{
		Network: identity.Mainnet, Client: key("alice").Public(), Relay: key("relay").Public(),
		ClientKey: contract.KeyOf(seedKey("C")), RelayKey: contract.KeyOf(seedKey("R")), Nonce: contract.Nonce(identity.Tagged("spec/nonce")),
		Offer: identity.Tagged("spec/offer"), Value: 100_000, Expiry: 904_320, Tip: 900_000,
		Prices: usage.Prices{StorageMsatPerGiBDay: 670, EgressMsatPerGiB: 20_000}, ContractPrice: 1_000, FirstPayment: 2_000, CreditLimit: 2_000,
		ClientScript: payTo(seedKey("client payout")), RelayScript: payTo(seedKey("relay payout")), FundFeeRate: 1_000, SettleFeeRate: 1_000, Depth: 3,
	}
}

func (m *maker) contracts() {
	for _, s := range tell(m.t).all {
		h := val(identity.PeekHeader(s.Statement))(m)
		name := h.Type.String()
		if h.Type == identity.TypeContractRequestPayment && number(scan(m.t, s.Statement)[10].value) == 1 {
			name += "-final"
		}
		if h.Type == identity.TypeContractNotice && number(scan(m.t, s.Statement)[10].value) == 1 {
			name += "-first"
		}
		if h.Type == identity.TypeContractReestablish && h.From == key("alice").Public() {
			name += "-opening"
		}
		m.add("contract/"+name, "contract", "ok", "a "+name+" of one story, in which both sides are honest", signed(s))
	}
	for _, s := range tellCollateral(m.t).all {
		name := val(identity.PeekHeader(s.Statement))(m).Type.String()
		m.add("contract/"+name+"-collateral", "contract", "ok", "a "+name+" of an opening with a collateral", signed(s))
	}
	m.terms()
	m.recoveries()
	m.badContracts()
}

// recoveries are what brings a contract back with the phrase alone, and how a relay keeps it.
func (m *maker) recoveries() {
	const phrase = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
	seed := val(identity.Seed(phrase, ""))(m)
	sealed := val(contract.Recovery{Terms: mainTerms(), Funding: [32]byte(identity.Tagged("spec/funding"))}.Seal(seed, [12]byte(filler(12))))(m)
	add := func(name, expect, what, passphrase, text string) {
		m.add("contract/recovery-"+name, "recovery", expect, what, values{"phrase": phrase, "passphrase": passphrase, "text": text})
	}
	add("ok", "ok", "the recovery text of a contract", "", sealed)
	add("broken-line", "ok", "the same, typed in two lines", "", sealed[:40]+"\n  "+sealed[40:])
	add("passphrase", "wallet_wrong_phrase", "another passphrase", "other", sealed)
	add("prefix", "malformed", "it does not begin as it must", "", sealed[1:])
	add("letter", "malformed", "a letter that is none of base64url", "", sealed[:60]+"!"+sealed[61:])
	content := func(name, expect, what string, raw []byte) {
		m.add("record/recovery-"+name, "recovery_content", expect, what, values{"content": text(raw)})
	}
	raw := val(records.RecoveryContent(sealed))(m)
	content("ok", "ok", "a recovery text in a record to oneself", raw)
	content("empty", "malformed", "suite 3 and no text", raw[:1])
	content("space", "malformed", "a space in the text", append(bytes.Clone(raw), ' '))
	content("suite", "unsupported", "another suite", replace(raw, 0, []byte{1}, 1))
	content("long", "too_large", "a text of 4097 bytes", append([]byte{3}, bytes.Repeat([]byte("x"), 4097)...))
}

func (m *maker) terms() {
	add := func(name, expect, what string, t contract.Terms, payment, rate uint64) {
		raw := val(t.Encode())(m)
		txid := identity.Tagged("spec/funding")
		m.add("contract/terms-"+name, "terms", expect, what, values{
			"terms": text(raw), "funding_txid_hash_order": txid.String(), "payment_sat": payment, "feerate": rate,
			"client_key": text(key("C").Bytes()), "relay_key": text(key("R").Bytes()),
		})
	}
	good := mainTerms()
	add("mainnet", "ok", "all scripts and transactions at mainnet heights", good, 40_000, 2_500)
	low := good
	low.Network, low.Tip, low.Expiry = identity.Regtest, 10, 130
	add("young-chain", "ok", "an expiry that needs a second byte for its sign", low, 40_000, 2_500)
	add("all-paid", "ok", "a payment that leaves 300 sat pays everything", good, 99_700, 1_000)
	bad := func(name, expect, what string, f func(*contract.Terms)) {
		t := good
		f(&t)
		add(name, expect, what, t, 40_000, 1_000)
	}
	bad("same-keys", "bad_key", "C = R", func(t *contract.Terms) { t.RelayKey = t.ClientKey })
	bad("identity-key", "bad_key", "a contract key that is an identity", func(t *contract.Terms) { copy(t.ClientKey[1:], t.Client[:]) })
	bad("off-curve", "bad_key", "a contract key that is no point", func(t *contract.Terms) { t.RelayKey = contract.Key{5} })
	backed := good
	backed.Collateral = 20_000
	add("with-collateral", "ok", "a collateral, and how it comes back", backed, 40_000, 2_500)
	bad("collateral", "bad_amount", "a collateral that is less than 330 sat and the fee of getting it back", func(t *contract.Terms) { t.Collateral = 459 })
	bad("collateral-large", "collateral_too_large", "a collateral above V", func(t *contract.Terms) { t.Collateral = 100_001 })
	earned := good
	earned.CreditToEarn = 1_500
	add("credit-to-earn", "ok", "a credit of which a part must be earned", earned, 40_000, 2_500)
	bad("credit-to-earn-large", "bad_amount", "more credit to earn than there is", func(t *contract.Terms) { t.CreditToEarn = 2_001 })
	bad("first-payment", "bad_amount", "P_1 below the contract price", func(t *contract.Terms) { t.FirstPayment = 999 })
	bad("first-dust", "bad_amount", "P_1 leaves the client 329 sat", func(t *contract.Terms) { t.FirstPayment = 99_671 })
	bad("short", "bad_deadline", "1007 blocks", func(t *contract.Terms) { t.Expiry = t.Tip + 1007 })
	bad("long", "bad_deadline", "52561 blocks", func(t *contract.Terms) { t.Expiry = t.Tip + 52_561 })
	bad("depth", "terms_mismatch", "depth 0", func(t *contract.Terms) { t.Depth = 0 })
	bad("payout", "bad_script", "a payout script that is not native segwit", func(t *contract.Terms) { t.RelayScript = filler(25) })
	bad("fee-rate", "bad_fee_rate", "999 sat per 1,000 vB", func(t *contract.Terms) { t.SettleFeeRate = 999 })
	bad("price", "bad_amount", "a price above 10^12 msat", func(t *contract.Terms) { t.Prices.EgressMsatPerGiB = usage.MaxPrice + 1 })
}

// badContracts are messages whose own form is refused, signed as they are.
func (m *maker) badContracts() {
	byType := map[identity.Type]identity.Signed{}
	for _, s := range tell(m.t).all {
		byType[val(identity.PeekHeader(s.Statement))(m).Type] = s
	}
	add := func(name, by, expect, what string, of identity.Type, typ uint64, value []byte) {
		raw := with(scan(m.t, byType[of].Statement), typ, value)
		m.add("contract/bad-"+name, "contract", expect, what, signed(m.sign(by, raw)))
	}
	add("two-tiers", "alice", "malformed", "two settlement signatures in place of three", identity.TypeContractPaymentUpdate, 78, make([]byte, 8))
	add("tier-size", "alice", "malformed", "a settlement signature of 63 bytes", identity.TypeContractPaymentUpdate, 78, append(append([]byte{0, 0, 0, 63}, filler(63)...), make([]byte, 8)...))
	add("final", "relay", "malformed", "a final request without signature", identity.TypeContractRequestPayment, 84, nil)
	add("final-number", "relay", "malformed", "final = 2", identity.TypeContractRequestPayment, 72, []byte{2})
	add("inputs", "alice", "malformed", "an input declared in 20 bytes", identity.TypeContractOpen, 90, append([]byte{0, 0, 0, 20}, filler(20)...))
	byType = map[identity.Type]identity.Signed{}
	for _, s := range tellCollateral(m.t).all {
		byType[val(identity.PeekHeader(s.Statement))(m).Type] = s
	}
	add("collateral-inputs", "relay", "malformed", "an input of the relay declared in 20 bytes", identity.TypeContractServerAddInputs, 80, append([]byte{0, 0, 0, 20}, filler(20)...))
	for _, s := range tell(m.t).all {
		byType[val(identity.PeekHeader(s.Statement))(m).Type] = s
	}
	add("abort-text", "alice", "malformed", "an abort with a line feed", identity.TypeContractAbort, 72, []byte("a\n"))
	add("ready-tip", "relay", "malformed", "a funding above the sender's tip", identity.TypeContractReady, 76, []byte{0, 0, 0, 1})
	add("standing-heard", "relay", "malformed", "more messages heard than there can be", identity.TypeContractReestablish, 74, []byte{0x40, 0, 0, 1})
	add("standing-unsigned", "relay", "malformed", "an update without signatures", identity.TypeContractReestablish, 82, make([]byte, 12))
	add("standing-opening", "relay", "malformed", "an opening of one message", identity.TypeContractReestablish, 94, []byte{0, 0, 0, 1, 7})
	add("standing-root", "relay", "malformed", "a log with a root and no size", identity.TypeContractReestablish, 86, nil)
	add("no-nonce", "alice", "malformed", "the contract nonce is missing", identity.TypeContractOpen, 64, nil)
	add("notice-step", "relay", "malformed", "a step that there is not", identity.TypeContractNotice, 72, []byte{5})
	add("notice-first", "relay", "malformed", "a second notice that names no first one", identity.TypeContractNotice, 84, nil)
	add("notice-heights", "relay", "malformed", "a step before the one that it follows", identity.TypeContractNotice, 82, []byte{0, 0, 0, 1})
	half := publicNonce(secretNonce("relay", seedKey("R")))
	half[33] = 4
	add("zero-nonce", "alice", "bad_nonce", "a close asked for with a nonce of zero bytes", identity.TypeContractCloseNonce, 80, make([]byte, 66))
	add("half-nonce", "relay", "bad_nonce", "a nonce whose second half has a form that no compressed point has", identity.TypeContractCloseSig, 74, half[:])
	add("partial", "relay", "bad_partial", "a partial signature above the order of the curve", identity.TypeContractCloseSig, 76, bytes.Repeat([]byte{0xff}, 32))
	s := byType[identity.TypeContractOpened]
	s.Proof.Sig[0] ^= 1
	m.add("contract/bad-signature", "contract", "bad_signature", "one bit of the signature is changed", signed(s))
	m.add("contract/bad-type", "contract", "malformed", "a record is no contract message", signed(m.batch()[0]))
}
