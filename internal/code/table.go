package code

// The registered codes. Numbers are never reused; new ones are added, none is renumbered.
const (
	// OK: nothing to do.
	OK Code = 0
	// Internal: the other side hit a fault of its own; try again, and report it if it stays.
	Internal Code = 1
	// Malformed: the bytes do not follow PROTOCOL.md; update the program that made them.
	Malformed Code = 2
	// TooLarge: send less at once; the limits are in the relay's offer.
	TooLarge Code = 3
	// Unsupported: the other side does not know this message, feature or version; update one of the two.
	Unsupported Code = 4
	// BadSignature: the signature does not fit the statement and its signer; sign again with the right key.
	BadSignature Code = 5
	// WrongNetwork: the two sides are on different Bitcoin networks; check the network setting.
	WrongNetwork Code = 6
	// WrongRecipient: the statement is addressed to another relay; send it to the one it names.
	WrongRecipient Code = 7
	// Expired: its time is over; make a new one.
	Expired Code = 8
	// NotYet: its time is in the future; check the clock of this machine.
	NotYet Code = 9
	// Unauthorized: the session has no proven identity for this; connect with the right key.
	Unauthorized Code = 10
	// Forbidden: only the party that the statement names may do this.
	Forbidden Code = 11
	// NotFound: it is not here; check the name, or ask another relay.
	NotFound Code = 12
	// Conflict: something else is already stored under this name; choose another id.
	Conflict Code = 13
	// Busy: too much at once; wait a moment and try again.
	Busy Code = 14
	// ShuttingDown: the relay is stopping; connect again in a minute.
	ShuttingDown Code = 15
	// NoFunds: the account is exhausted: pay what the audit confirms, or open a contract.
	NoFunds Code = 16
	// OrderMismatch: the store order does not cover what follows it; order exactly the records that follow, with their bytes and their worst cost.
	OrderMismatch Code = 17
	// DiskReserve: the relay's disk is nearly full; try later or write to another relay.
	DiskReserve Code = 18
	// ClockWrong: the clock differs too much; correct the clock of the machine that is wrong.
	ClockWrong Code = 19
	// CapReached: the record was read as often as its sender allows.
	CapReached Code = 20
	// AllowanceUsed: the free allowance is used up; wait for tomorrow or open a contract.
	AllowanceUsed Code = 21
	// Timeout: no answer in time; check the connection and try again.
	Timeout Code = 22
	// Disconnected: the connection broke; it is tried again by itself.
	Disconnected Code = 23
	// PinMismatch: the relay shows another certificate key than its offer pins; fetch a fresh offer, and beware of an interceptor.
	PinMismatch Code = 24
	// WrongRelay: another relay answers at this address; fetch a fresh offer.
	WrongRelay Code = 25
	// RequestReused: this signed request was used before; sign a new one.
	RequestReused Code = 26
	// TombstoneExists: a record at this path was deleted; choose another id.
	TombstoneExists Code = 27
	// BadPath: a path is /sender/outbox/receiver/id with keys in rk1 form and an id of 1 to 64 characters a-z A-Z 0-9 . _ -.
	BadPath Code = 28
	// BadContent: the content does not fit the record's signed root.
	BadContent Code = 29
	// Undecryptable: the content was not sealed to a key of this identity.
	Undecryptable Code = 30
	// BadProofOfWork: the offer's proof of work is missing or too small; mine it again.
	BadProofOfWork Code = 31
	// BoardFull: the board holds offers with more work; raise the proof of work.
	BoardFull Code = 32
	// PriceTooHigh: the price is above your limit; raise the limit or choose another relay.
	PriceTooHigh Code = 33
	// OfferExpired: the offer is past its validity; fetch a fresh one.
	OfferExpired Code = 34
	// TermsMismatch: the contract message does not follow the signed offer; propose exactly its terms.
	TermsMismatch Code = 40
	// BadAmount: an amount is outside its bounds; see the offer's limits.
	BadAmount Code = 41
	// BadScript: a script is not the one the keys give; nothing was signed.
	BadScript Code = 42
	// BadTransaction: the transaction is not the agreed one; nothing was signed.
	BadTransaction Code = 43
	// BadWitness: a witness does not satisfy its output; nothing was broadcast.
	BadWitness Code = 44
	// BadInput: a funding input is missing, spent, immature or not segwit; choose other coins.
	BadInput Code = 45
	// BadFeeRate: the fee rate is outside the agreed bounds; take a fresh estimate.
	BadFeeRate Code = 46
	// BadDeadline: a height is outside the agreed bounds; check both chain tips.
	BadDeadline Code = 47
	// BadKey: a contract key is invalid or was used before; make a fresh one.
	BadKey Code = 48
	// BadState: the contract is not in a state where this can happen; see contract show.
	BadState Code = 49
	// BadSequence: the update's number does not follow the last one; ask for the contract's state.
	BadSequence Code = 50
	// PaymentTooLow: the sum is below what was already agreed; payments never fall.
	PaymentTooLow Code = 51
	// CollateralUnsupported: the relay's offer has no collateral; ask for none.
	CollateralUnsupported Code = 52
	// ContractUnknown: this side does not know the contract; check the id and the network.
	ContractUnknown Code = 53
	// NoCapacity: the relay takes no further contract now; choose another relay.
	NoCapacity Code = 54
	// StaleTip: the chain view is old or the two tips differ; check the Bitcoin node.
	StaleTip Code = 55
	// NotDue: nothing more is due, or it is too early for this.
	NotDue Code = 56
	// LimitExceeded: this would pass a limit that you set; raise it if you mean it.
	LimitExceeded Code = 57
	// ChainUnavailable: the Bitcoin node does not answer; check that it runs and its RPC settings.
	ChainUnavailable Code = 60
	// ChainRejected: the Bitcoin node refused the transaction; the reason is in the text.
	ChainRejected Code = 61
	// ChainWrongNetwork: the Bitcoin node runs another network; check the network setting.
	ChainWrongNetwork Code = 62
	// ChainDeepReorg: the chain changed deeper than this program follows; start again with a rescan.
	ChainDeepReorg Code = 63
	// WalletWrongPhrase: the phrase or passphrase does not open this wallet; check the words.
	WalletWrongPhrase Code = 64
	// WalletLocked: another process holds the wallet; stop it, or talk to its agent.
	WalletLocked Code = 65
	// NotEnoughCoins: send coins to the wallet's address (wallet address) and wait for confirmations.
	NotEnoughCoins Code = 66
	// BadAddress: not an address of this Bitcoin network.
	BadAddress Code = 67
	// AmountTooSmall: below the dust limit; send more.
	AmountTooSmall Code = 68
	// StoreCorrupt: the data on disk does not read back; restore the directory from a copy that is whole.
	StoreCorrupt Code = 70
	// StoreVersion: the store was written by another version; run the version that fits or migrate.
	StoreVersion Code = 71
	// StoreLocked: another process has the store open; stop it first.
	StoreLocked Code = 72
	// StoreStale: another writer was faster; the operation is tried again.
	StoreStale Code = 73
	// StoreUnknown: the write is in doubt; its outcome is settled before anything is said.
	StoreUnknown Code = 74
	// AlreadyRunning: an agent for this identity runs already; use it, or stop it first.
	AlreadyRunning Code = 80
	// NoAgent: no agent runs; start one with relay-client up.
	NoAgent Code = 81
	// NotInitialised: there is no identity here; run init first.
	NotInitialised Code = 82
	// AlreadyInitialised: there is an identity here already; choose another --dir.
	AlreadyInitialised Code = 83
	// UnknownContact: no such contact; add it with contact add.
	UnknownContact Code = 84
	// NoRelay: no relay can be used for this; open a contract or add relays to the contact.
	NoRelay Code = 85
	// BadConfig: correct the named line of the configuration file.
	BadConfig Code = 86
	// AddressInUse: another program listens there; stop it or choose another port.
	AddressInUse Code = 87
	// Declined: you answered no; nothing was changed.
	Declined Code = 88
	// BadArgument: see --help for what the command takes.
	BadArgument Code = 89
	// BadPhrase: a word is wrong or missing; check the phrase against your copy.
	BadPhrase Code = 90
	// IdentityExpired: ask the contact for a fresh identity document.
	IdentityExpired Code = 91
	// IdentityRollback: a newer identity document was seen before; refuse the old one.
	IdentityRollback Code = 92
	// SequenceGap: a message of this conversation is missing; ask its sender.
	SequenceGap Code = 93
	// ChainDisagrees: the two Bitcoin backends do not show the same chain; find out which one is cut off before any money moves.
	ChainDisagrees Code = 105
	// LightClient: a light client cannot answer this; use a full node (backend btcd or bitcoind).
	LightClient Code = 106
	// NodeTooOld: the Bitcoin node is too old for this program; update it.
	NodeTooOld Code = 107
	// BadNonce: a public nonce is missing or no point of the curve; ask again with a fresh one.
	BadNonce Code = 110
	// BadPartial: the partial signature does not fit; the contract can still be closed by its leaf.
	BadPartial Code = 111
	// NoSigningSession: the close is no longer being signed; ask for it again.
	NoSigningSession Code = 112
	// BadPSBT: the file is not a PSBT of version 0 that this side takes; export it again and sign that.
	BadPSBT Code = 130
	// NotSigned: sign every input of the exported file in your wallet, then import it.
	NotSigned Code = 131
	// OutsideCoins: the coins are of an outside wallet, which alone can spend them; to undo the opening spend them there.
	OutsideCoins Code = 132
	// DepositTooSmall: fees would take too large a part of the deposit; deposit more, or say --small if you mean it.
	DepositTooSmall Code = 140
	// EscrowUsedUp: the escrow has no room for this payment; contract renew opens the next one with a larger deposit.
	EscrowUsedUp Code = 141
	// UnknownGrant: no such grant of this contract, or not for this key.
	UnknownGrant Code = 150
	// GrantRevoked: the sponsor has taken the grant back.
	GrantRevoked Code = 151
	// GrantExpired: the grant's last block is behind the relay's chain.
	GrantExpired Code = 152
	// GrantNotYet: the grant's first block is ahead of the relay's chain.
	GrantNotYet Code = 153
	// LaneCap: the grant does not cover the order with all that was used and ordered under it before.
	LaneCap Code = 154
	// LaneDayCap: the grant does not cover the order today.
	LaneDayCap Code = 155
	// TooManyGrants: the relay keeps no further grant of this contract.
	TooManyGrants Code = 156
	// CollateralTooLarge: ask for no more collateral than the relay's offer has, and no more than you deposit.
	CollateralTooLarge Code = 158
	// CollateralUnavailable: the relay has no coins free for that collateral now; ask for less or none, or later.
	CollateralUnavailable Code = 159
	// NotProven: what the file claims does not follow from its bytes, so it shows nothing against anybody.
	NotProven Code = 160
	// ContentDamaged: the relay has the record and not its whole content. It is unsigned, so it is noticed and not proven.
	ContentDamaged Code = 165
	// ChallengesUsed: as many challenges as a relay answers to one identity in a day were asked.
	ChallengesUsed Code = 166
)

// table is the registry; All and PROTOCOL.md show it.
var table = []Entry{
	{OK, "ok", false, "nothing to do"},
	{Internal, "internal", true, "the other side hit a fault of its own; try again, and report it if it stays"},
	{Malformed, "malformed", false, "the bytes do not follow PROTOCOL.md; update the program that made them"},
	{TooLarge, "too_large", false, "send less at once; the limits are in the relay's offer"},
	{Unsupported, "unsupported", false, "the other side does not know this message, feature or version; update one of the two"},
	{BadSignature, "bad_signature", false, "the signature does not fit the statement and its signer; sign again with the right key"},
	{WrongNetwork, "wrong_network", false, "the two sides are on different Bitcoin networks; check the network setting"},
	{WrongRecipient, "wrong_recipient", false, "the statement is addressed to another relay; send it to the one it names"},
	{Expired, "expired", false, "its time is over; make a new one"},
	{NotYet, "not_yet", true, "its time is in the future; check the clock of this machine"},
	{Unauthorized, "unauthorized", false, "the session has no proven identity for this; connect with the right key"},
	{Forbidden, "forbidden", false, "only the party that the statement names may do this"},
	{NotFound, "not_found", false, "it is not here; check the name, or ask another relay"},
	{Conflict, "conflict", false, "something else is already stored under this name; choose another id"},
	{Busy, "busy", true, "too much at once; wait a moment and try again"},
	{ShuttingDown, "shutting_down", true, "the relay is stopping; connect again in a minute"},
	{NoFunds, "no_funds", false, "the account is exhausted: pay what the audit confirms, or open a contract"},
	{OrderMismatch, "order_mismatch", false, "the store order does not cover what follows it; order exactly the records that follow, with their bytes and their worst cost"},
	{DiskReserve, "disk_reserve", true, "the relay's disk is nearly full; try later or write to another relay"},
	{ClockWrong, "clock_wrong", true, "the clock differs too much; correct the clock of the machine that is wrong"},
	{CapReached, "cap_reached", false, "the record was read as often as its sender allows"},
	{AllowanceUsed, "allowance_used", true, "the free allowance is used up; wait for tomorrow or open a contract"},
	{Timeout, "timeout", true, "no answer in time; check the connection and try again"},
	{Disconnected, "disconnected", true, "the connection broke; it is tried again by itself"},
	{PinMismatch, "pin_mismatch", false, "the relay shows another certificate key than its offer pins; fetch a fresh offer, and beware of an interceptor"},
	{WrongRelay, "wrong_relay", false, "another relay answers at this address; fetch a fresh offer"},
	{RequestReused, "request_reused", false, "this signed request was used before; sign a new one"},
	{TombstoneExists, "deleted", false, "a record at this path was deleted; choose another id"},
	{BadPath, "bad_path", false, "a path is /sender/outbox/receiver/id with keys in rk1 form and an id of 1 to 64 characters a-z A-Z 0-9 . _ -"},
	{BadContent, "bad_content", false, "the content does not fit the record's signed root"},
	{Undecryptable, "undecryptable", false, "the content was not sealed to a key of this identity"},
	{BadProofOfWork, "bad_proof_of_work", false, "the offer's proof of work is missing or too small; mine it again"},
	{BoardFull, "board_full", true, "the board holds offers with more work; raise the proof of work"},
	{PriceTooHigh, "price_too_high", false, "the price is above your limit; raise the limit or choose another relay"},
	{OfferExpired, "offer_expired", false, "the offer is past its validity; fetch a fresh one"},
	{TermsMismatch, "terms_mismatch", false, "the contract message does not follow the signed offer; propose exactly its terms"},
	{BadAmount, "bad_amount", false, "an amount is outside its bounds; see the offer's limits"},
	{BadScript, "bad_script", false, "a script is not the one the keys give; nothing was signed"},
	{BadTransaction, "bad_transaction", false, "the transaction is not the agreed one; nothing was signed"},
	{BadWitness, "bad_witness", false, "a witness does not satisfy its output; nothing was broadcast"},
	{BadInput, "bad_input", false, "a funding input is missing, spent, immature or not segwit; choose other coins"},
	{BadFeeRate, "bad_fee_rate", false, "the fee rate is outside the agreed bounds; take a fresh estimate"},
	{BadDeadline, "bad_deadline", false, "a height is outside the agreed bounds; check both chain tips"},
	{BadKey, "bad_key", false, "a contract key is invalid or was used before; make a fresh one"},
	{BadState, "bad_state", false, "the contract is not in a state where this can happen; see contract show"},
	{BadSequence, "bad_sequence", false, "the update's number does not follow the last one; ask for the contract's state"},
	{PaymentTooLow, "payment_too_low", false, "the sum is below what was already agreed; payments never fall"},
	{CollateralUnsupported, "collateral_unsupported", false, "the relay's offer has no collateral; ask for none"},
	{ContractUnknown, "contract_unknown", false, "this side does not know the contract; check the id and the network"},
	{NoCapacity, "no_capacity", true, "the relay takes no further contract now; choose another relay"},
	{StaleTip, "stale_tip", true, "the chain view is old or the two tips differ; check the Bitcoin node"},
	{NotDue, "not_due", false, "nothing more is due, or it is too early for this"},
	{LimitExceeded, "limit_exceeded", false, "this would pass a limit that you set; raise it if you mean it"},
	{ChainUnavailable, "chain_unavailable", true, "the Bitcoin node does not answer; check that it runs and its RPC settings"},
	{ChainRejected, "chain_rejected", false, "the Bitcoin node refused the transaction; the reason is in the text"},
	{ChainWrongNetwork, "chain_wrong_network", false, "the Bitcoin node runs another network; check the network setting"},
	{ChainDeepReorg, "chain_deep_reorg", false, "the chain changed deeper than this program follows; start again with a rescan"},
	{WalletWrongPhrase, "wallet_wrong_phrase", false, "the phrase or passphrase does not open this wallet; check the words"},
	{WalletLocked, "wallet_locked", true, "another process holds the wallet; stop it, or talk to its agent"},
	{NotEnoughCoins, "not_enough_coins", false, "send coins to the wallet's address (wallet address) and wait for confirmations"},
	{BadAddress, "bad_address", false, "not an address of this Bitcoin network"},
	{AmountTooSmall, "amount_too_small", false, "below the dust limit; send more"},
	{StoreCorrupt, "store_corrupt", false, "the data on disk does not read back; restore the directory from a copy that is whole"},
	{StoreVersion, "store_version", false, "the store was written by another version; run the version that fits or migrate"},
	{StoreLocked, "store_locked", true, "another process has the store open; stop it first"},
	{StoreStale, "store_stale", true, "another writer was faster; the operation is tried again"},
	{StoreUnknown, "store_unknown", true, "the write is in doubt; its outcome is settled before anything is said"},
	{AlreadyRunning, "already_running", false, "an agent for this identity runs already; use it, or stop it first"},
	{NoAgent, "no_agent", false, "no agent runs; start one with relay-client up"},
	{NotInitialised, "not_initialised", false, "there is no identity here; run init first"},
	{AlreadyInitialised, "already_initialised", false, "there is an identity here already; choose another --dir"},
	{UnknownContact, "unknown_contact", false, "no such contact; add it with contact add"},
	{NoRelay, "no_relay", false, "no relay can be used for this; open a contract or add relays to the contact"},
	{BadConfig, "bad_config", false, "correct the named line of the configuration file"},
	{AddressInUse, "address_in_use", false, "another program listens there; stop it or choose another port"},
	{Declined, "declined", false, "you answered no; nothing was changed"},
	{BadArgument, "bad_argument", false, "see --help for what the command takes"},
	{BadPhrase, "bad_phrase", false, "a word is wrong or missing; check the phrase against your copy"},
	{IdentityExpired, "identity_expired", false, "ask the contact for a fresh identity document"},
	{IdentityRollback, "identity_rollback", false, "a newer identity document was seen before; refuse the old one"},
	{SequenceGap, "sequence_gap", false, "a message of this conversation is missing; ask its sender"},
	{ChainDisagrees, "chain_disagrees", true, "the two Bitcoin backends do not show the same chain; find out which one is cut off before any money moves"},
	{LightClient, "light_client", false, "a light client cannot answer this; use a full node (backend btcd or bitcoind)"},
	{NodeTooOld, "node_too_old", false, "the Bitcoin node is too old for this program; update it"},
	{BadNonce, "bad_nonce", false, "a public nonce is missing or no point of the curve; ask again with a fresh one"},
	{BadPartial, "bad_partial", false, "the partial signature does not fit; the contract can still be closed by its leaf"},
	{NoSigningSession, "no_signing_session", false, "the close is no longer being signed; ask for it again"},
	{BadPSBT, "bad_psbt", false, "the file is not a PSBT of version 0 that this side takes; export it again and sign that"},
	{NotSigned, "not_signed", false, "sign every input of the exported file in your wallet, then import it"},
	{OutsideCoins, "outside_coins", false, "the coins are of an outside wallet, which alone can spend them; to undo the opening spend them there"},
	{DepositTooSmall, "deposit_too_small", false, "fees would take too large a part of the deposit; deposit more, or say --small if you mean it"},
	{EscrowUsedUp, "escrow_used_up", false, "the escrow has no room for this payment; contract renew opens the next one with a larger deposit"},
	{UnknownGrant, "unknown_grant", false, "the relay does not know this grant; its sponsor, or its holder with the grant's file, can give it to the relay"},
	{GrantRevoked, "grant_revoked", false, "the sponsor has taken the grant back; what was stored under it stays"},
	{GrantExpired, "grant_expired", false, "ask the sponsor for a grant that reaches further"},
	{GrantNotYet, "grant_not_yet", true, "the grant begins at a later block; wait for it"},
	{LaneCap, "lane_cap", false, "the grant is used up; ask its sponsor for another one, or delete what need not be kept"},
	{LaneDayCap, "lane_day_cap", true, "wait for tomorrow (UTC), or ask the sponsor for more a day"},
	{TooManyGrants, "too_many_grants", false, "the contract has as many grants as a relay keeps; use those that exist, or another contract"},
	{CollateralTooLarge, "collateral_too_large", false, "ask for no more collateral than the relay's offer has, and no more than you deposit"},
	{CollateralUnavailable, "collateral_unavailable", true, "the relay has no coins free for that collateral now; ask for less or none, or later"},
	{NotProven, "not_proven", false, "what the file claims does not follow from its bytes, so it shows nothing against anybody"},
	{ContentDamaged, "content_damaged", false, "the relay has the record but not its whole content; store it elsewhere too, and ask for a read, which it must answer"},
	{ChallengesUsed, "challenges_used", true, "the relay answers no more challenges today; wait for tomorrow (UTC)"},
}
