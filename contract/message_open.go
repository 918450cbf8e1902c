package contract

import (
	"encoding/binary"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

const (
	minScript = 22 // P2WPKH
	minTx     = 51 // one input, no output
	// maxWitnessBytes bounds one encoded witness stack: a P2WPKH one has 113 bytes.
	maxWitnessBytes = 128
)

// Open (contractOpen, 32, client → relay) proposes a contract on the terms of a signed offer.
// Prices, contract price, credit limit, settlement fee rate and depth are the offer's and are not
// repeated.
type Open struct {
	Common
	Offer        identity.Digest // 70 offer[32]: digest of the serverBroadcast statement
	ClientKey    Key             // 72 client_key[33]: C
	Value        usage.Sat       // 74 value u64: V
	Collateral   usage.Sat       // 76 collateral u64: K, what the relay is asked to lock until E; 0: nothing
	Expiry       usage.Height    // 78 expiry u32: E
	Tip          usage.Height    // 80 tip u32: the client's tip, from which durations count
	FundFeeRate  uint64          // 82 fund_feerate u64, sat per 1,000 vB
	FirstPayment usage.Sat       // 84 first_payment u64: P_1
	Payout       []byte          // 86 payout: the client's payout script, 22 to 34 bytes, native segwit
	Tx           []byte          // 88 tx: unsigned, with the client's inputs and its change output, if any; the escrow output, which needs the relay's key, comes before the change later
	Inputs       [][]byte        // 90 inputs: list; for each input of tx in its order, value u64 ‖ script of what it spends
}

func (m *Open) kind() identity.Type { return identity.TypeContractOpen }

func (m *Open) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Offer[:]), codec.Fixed(72, m.ClientKey[:]), codec.U64(74, &m.Value), codec.U64(76, &m.Collateral),
		codec.U32(78, &m.Expiry), codec.U32(80, &m.Tip), codec.U64(82, &m.FundFeeRate), codec.U64(84, &m.FirstPayment),
		codec.Bytes(86, &m.Payout, minScript, maxScript), codec.Bytes(88, &m.Tx, minTx, maxUnsigned),
		codec.List(90, &m.Inputs, maxInputs, 8+maxScript),
	}
}

func (m *Open) check() error { return checkDeclared(m.Inputs) }

func checkDeclared(inputs [][]byte) error {
	for i, raw := range inputs {
		if len(raw) < 8+minScript {
			return code.New(code.Malformed, "input %d is declared in %d bytes", i, len(raw))
		}
	}
	return nil
}

// declare is an item of Open.Inputs and ServerAddInputs.Inputs.
func declare(c Coin) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(c.Value)), c.Script...)
}

// Funding reads the client's coins and change out of the proposal, so that the relay can look the
// coins up in its own chain. Codes: TooLarge, BadTransaction (checks 1 to 4).
func (m *Open) Funding() ([]Coin, Change, error) {
	tx, err := parseUnsigned(m.Tx)
	if err != nil {
		return nil, Change{}, err
	}
	if err := checkShape(tx, maxInputs); err != nil {
		return nil, Change{}, err
	}
	if len(tx.TxIn) != len(m.Inputs) || len(tx.TxOut) > 1 {
		return nil, Change{}, code.New(code.BadTransaction, "%d inputs of which %d are declared, %d change outputs", len(tx.TxIn), len(m.Inputs), len(tx.TxOut))
	}
	return declared(tx.TxIn, m.Inputs), changeOf(tx.TxOut), nil
}

// declared are inputs with what is declared of them.
func declared(ins []*wire.TxIn, as [][]byte) []Coin {
	coins := make([]Coin, len(ins))
	for i, in := range ins {
		coins[i] = Coin{in.PreviousOutPoint, usage.Sat(binary.BigEndian.Uint64(as[i])), as[i][8:]}
	}
	return coins
}

func changeOf(outs []*wire.TxOut) Change {
	if len(outs) == 0 {
		return Change{}
	}
	return Change{usage.Sat(outs[0].Value), outs[0].PkScript}
}

// ServerAddInputs (contractServerAddInputs, 33, relay → client) accepts a proposal: the relay adds
// its key and its payout script, and signs the complete terms and the complete funding
// transaction. With K > 0 it adds inputs of its own, already signed, the collateral output and its change.
type ServerAddInputs struct {
	Common
	RelayKey   Key              // 70 relay_key[33]: R
	Collateral usage.Sat        // 72 collateral u64: K, as it was asked for
	Terms      []byte           // 74 terms: the encoding of Terms
	Tx         []byte           // 76 tx: the complete unsigned funding transaction
	Contract   usage.ContractID // 78 contract[32]: tagged("contract-id", txid ‖ output ‖ terms digest)
	Inputs     [][]byte         // 80 inputs, optional: list; exactly with K > 0: as in contractOpen, for each input of the relay, which follow those of the client
	Witnesses  [][]byte         // 82 witnesses, optional: list; exactly with K > 0: for each of them its stack, as in contractClientSigned
}

func (m *ServerAddInputs) kind() identity.Type { return identity.TypeContractServerAddInputs }

func (m *ServerAddInputs) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.RelayKey[:]), codec.U64(72, &m.Collateral), codec.Bytes(74, &m.Terms, 1, maxTerms),
		codec.Bytes(76, &m.Tx, minTx, maxUnsigned), codec.Fixed(78, m.Contract[:]),
		codec.Optional(codec.List(80, &m.Inputs, maxInputs, 8+maxScript)),
		codec.Optional(codec.List(82, &m.Witnesses, maxInputs, maxWitnessBytes)),
	}
}

func (m *ServerAddInputs) check() error { return checkDeclared(m.Inputs) }

// ClientSigned (contractClientSigned, 34, client → relay) gives what makes the contract real: the
// witnesses of the client's inputs, and the first payment.
type ClientSigned struct {
	Common
	Contract   usage.ContractID // 70 contract[32]
	Terms      identity.Digest  // 72 terms[32]: digest of the agreed terms
	Witnesses  [][]byte         // 74 witnesses: list; for each input its stack, as list of u32 length ‖ item
	Signatures [][]byte         // 76 signatures: list; of settlement 1 at each fee tier, 64 bytes, or none where P_1 cannot bear the tier
}

func (m *ClientSigned) kind() identity.Type { return identity.TypeContractClientSigned }

func (m *ClientSigned) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Contract[:]), codec.Fixed(72, m.Terms[:]),
		codec.List(74, &m.Witnesses, maxInputs, maxWitnessBytes), codec.List(76, &m.Signatures, Tiers, 64),
	}
}

func (m *ClientSigned) check() error {
	_, err := parseLadder(m.Signatures)
	return err
}

// Opened (contractOpened, 35, relay → client) says that the relay has the contract on disk and the
// funding transaction in its node's mempool.
type Opened struct {
	Common
	Contract usage.ContractID // 70 contract[32]
	Funding  [32]byte         // 72 funding[32]: txid in the order in which it is hashed
	Tip      usage.Height     // 74 tip u32: of the relay
}

func (m *Opened) kind() identity.Type { return identity.TypeContractOpened }

func (m *Opened) body() []codec.Field {
	return []codec.Field{codec.Fixed(70, m.Contract[:]), codec.Fixed(72, m.Funding[:]), codec.U32(74, &m.Tip)}
}

func (m *Opened) check() error { return nil }

// Abort (contractAbort, 40, either side) ends an opening in which nothing was signed yet.
type Abort struct {
	Common
	Code code.Code // 70 code u16: why, from the registry of error codes
	Text string    // 72 text: printable ASCII for a person, at most 512 bytes
}

func (m *Abort) kind() identity.Type { return identity.TypeContractAbort }

func (m *Abort) body() []codec.Field {
	return []codec.Field{codec.U16(70, &m.Code), codec.Optional(codec.String(72, &m.Text, 0, 512))}
}

func (m *Abort) check() error {
	for _, r := range []byte(m.Text) {
		if r < 0x20 || r > 0x7e {
			return code.New(code.Malformed, "the text of an abort is printable ASCII")
		}
	}
	return nil
}

// Ladder is the client's signatures of one settlement at the fee tiers; a zero signature stands
// where the payment cannot bear the tier.
type Ladder [Tiers]Signature

func (l Ladder) list() [][]byte {
	out := make([][]byte, Tiers)
	for i, s := range l {
		if !s.IsZero() {
			out[i] = append([]byte(nil), s[:]...)
		}
	}
	return out
}

func parseLadder(raw [][]byte) (Ladder, error) {
	var l Ladder
	if len(raw) != Tiers {
		return l, code.New(code.Malformed, "%d settlement signatures instead of %d", len(raw), Tiers)
	}
	for i, s := range raw {
		switch len(s) {
		case 0:
		case 64:
			l[i] = Signature(s)
		}
		if l[i].IsZero() && len(s) > 0 {
			return l, code.New(code.Malformed, "signature %d of %d bytes is none", i, len(s))
		}
	}
	return l, nil
}
