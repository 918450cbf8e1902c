package contract

import (
	"encoding/binary"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

const (
	// recordVersion is the first byte of an encoded Contract.
	recordVersion = 1
	// MaxRecord bounds an encoded Contract, in bytes.
	MaxRecord = 1 << 16
	// maxStatement bounds a contract statement that is kept in the record.
	maxStatement = 16 << 10
	// maxNotice bounds a contractNotice that is kept, with its signature.
	maxNotice = 2 << 10
	coinHead  = chainhash.HashSize + 4 + 8
)

// record is the stored form of a Contract: the same values, lists as bytes.
type record struct {
	*Contract
	rawTerms  []byte
	rawCoins  [][]byte
	rawBacked [][]byte
	seen      uint8
	spendKind uint8
	isClosing uint8
	isFunding uint8
	isReady   uint8
	notices   [][]byte
}

func (r *record) fields() []codec.Field {
	c := r.Contract
	f := []codec.Field{
		codec.U8(0, &c.role), codec.U8(2, &c.stage), codec.Bytes(4, &r.rawTerms, 0, maxTerms),
		codec.List(6, &r.rawCoins, maxInputs, coinHead+maxScript), codec.U64(8, &c.change.Value),
		codec.Bytes(10, &c.change.Script, 0, maxScript), codec.Fixed(12, c.funding[:]),
		codec.List(14, &c.witnesses, maxInputs, maxWitnessBytes),
		codec.U32(16, &c.n), codec.U64(18, &c.paid), codec.Fixed(20, c.ladder[0][:]), codec.Fixed(22, c.ladder[1][:]),
		codec.Fixed(24, c.ladder[2][:]), codec.Fixed(26, c.report[:]), codec.Fixed(28, c.update[:]), codec.U32(30, &c.acked),
		codec.U32(32, &c.asked.N), codec.U64(34, &c.asked.Amount), codec.Fixed(36, c.asked.Report[:]),
		codec.U8(38, &r.isClosing),
	}
	f = append(f, c.offered.fields(40)...)
	f = append(f, c.agreed.fields(50)...)
	f = append(f, c.talk.fields(60)...)
	f = append(f, codec.U32(80, &c.tip), codec.U8(82, &r.isFunding), codec.U8(84, &r.seen), codec.U8(86, &r.spendKind))
	f = append(f, c.facts.fields(88)...)
	f = append(f, codec.U32(120, &c.acts.settleFrom), codec.U64(122, &c.acts.refundRate), codec.U64(124, &c.acts.sweepRate),
		codec.U64(126, &c.acts.cancelRate), codec.List(128, &c.cancel, maxInputs, maxWitnessBytes))
	f = append(f, r.later()...)
	f = append(f, c.joint.fields(c)...)
	return append(f, codec.Optional(codec.Bool(170, &c.talk.anew)),
		codec.Optional(codec.List(172, &r.notices, int(lastStep), maxNotice)), codec.Optional(codec.U32(174, &c.dues.from)),
		codec.Optional(codec.U32(176, &c.dues.paidAt)),
		codec.Optional(codec.U64(178, &c.dues.purged)),
		codec.Optional(codec.List(180, &r.rawBacked, maxInputs, coinHead+maxScript)), codec.Optional(codec.U64(182, &c.backing.Change.Value)),
		codec.Optional(codec.Bytes(184, &c.backing.Change.Script, 0, maxScript)),
		codec.Optional(codec.List(186, &c.backed, maxInputs, maxWitnessBytes)),
		codec.Optional(codec.U32(188, &c.facts.backAt)), codec.Optional(codec.U64(189, &c.acts.reclaim)))
}

// later are fields that records of the first version do not have; each is absent when it is zero.
func (r *record) later() []codec.Field {
	c := r.Contract
	return []codec.Field{
		codec.Optional(codec.Fixed(130, c.talk.hailed[:])), codec.Optional(codec.U8(132, &c.frozen)),
		codec.Optional(codec.Bytes(134, &c.dispute, 0, 2*maxStatement)), codec.Optional(codec.Fixed(136, c.ready.block[:])),
		codec.Optional(codec.U8(138, &r.isReady)), codec.Optional(codec.U32(140, &c.ready.theirs)),
		codec.Optional(codec.Fixed(142, c.ready.theirsIn[:])),
		codec.Optional(codec.List(144, &c.opening, openingItems, maxStatement)),
		codec.Optional(codec.U64(146, &c.acts.bumpFee)), codec.Optional(codec.U8(148, &c.acts.settleTier)),
	}
}

func (k *closing) fields(t uint64) []codec.Field {
	return []codec.Field{
		codec.U64(t, &k.amount), codec.U64(t+2, &k.feeRate), codec.Fixed(t+4, k.client[:]), codec.Fixed(t+6, k.relay[:]),
		codec.Optional(codec.Fixed(t+8, k.order[:])),
	}
}

func (k *talk) fields(t uint64) []codec.Field {
	return []codec.Field{
		codec.U32(t, &k.out), codec.U32(t+2, &k.in), codec.Fixed(t+4, k.last[:]),
		codec.Hashes(t+6, &k.said, maxUnheard), codec.Bytes(t+8, &k.reply, 0, maxStatement),
		codec.Bytes(t+10, &k.pending, 0, maxStatement),
	}
}

func (k *facts) fields(t uint64) []codec.Field {
	s := &k.spend
	return []codec.Field{
		codec.U32(t, &k.fundedAt), codec.U32(t+2, &k.voidAt), codec.U32(t+4, &k.spentAt), codec.U32(t+6, &k.sweptAt),
		codec.Fixed(t+8, s.TxID[:]), codec.U64(t+10, &s.Client), codec.U64(t+12, &s.Relay), codec.U64(t+14, &s.Fee),
		codec.U32(t+16, &s.Locked),
	}
}

// Encode writes the contract for the store: a version byte, then TLV. It holds no secret, but the
// client's signatures, which on the relay's side are money.
func (c Contract) Encode() ([]byte, error) {
	raw, err := c.terms.Encode()
	if err != nil {
		return nil, err
	}
	r := record{
		Contract: &c, rawTerms: raw, seen: uint8(c.facts.seen), spendKind: uint8(c.facts.spend.Kind),
		isClosing: flag(c.closing), isFunding: flag(c.facts.fundingSeen),
		isReady: flag(c.ready.said),
	}
	r.rawCoins, r.rawBacked = encodeCoins(c.coins), encodeCoins(c.backing.Coins)
	for _, n := range c.dues.notices {
		r.notices = append(r.notices, n.raw)
	}
	body, err := codec.Encode(r.fields()...)
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "the contract cannot be written")
	}
	return append([]byte{recordVersion}, body...), nil
}

// DecodeContract reads what Encode wrote. Codes: StoreVersion for another version, StoreCorrupt.
func DecodeContract(raw []byte) (Contract, error) {
	if len(raw) == 0 || raw[0] != recordVersion {
		return Contract{}, code.New(code.StoreVersion, "not a contract record of version %d", recordVersion)
	}
	var c Contract
	r := record{Contract: &c}
	if err := codec.Decode(raw[1:], MaxRecord, r.fields()...); err != nil {
		return Contract{}, code.Wrap(code.StoreCorrupt, err, "contract record")
	}
	return r.contract()
}

// contract puts the lists back and refuses values that Encode never writes.
func (r *record) contract() (Contract, error) {
	c := r.Contract
	var err error
	if c.terms, err = DecodeTerms(r.rawTerms); err != nil {
		return Contract{}, code.Wrap(code.StoreCorrupt, err, "contract record")
	}
	if c.role > Relay || c.stage > stageAborted || r.isClosing > 1 || r.isFunding > 1 || r.isReady > 1 || c.frozen > lastFreeze || c.acts.settleTier >= Tiers ||
		r.seen > uint8(SpendUnknown) || r.spendKind > uint8(SpendUnknown) {
		return Contract{}, code.New(code.StoreCorrupt, "contract record with an unknown state")
	}
	c.closing, c.facts.fundingSeen = r.isClosing == 1, r.isFunding == 1
	c.ready.said = r.isReady == 1
	c.facts.seen, c.facts.spend.Kind = SpendKind(r.seen), SpendKind(r.spendKind)
	if c.coins, err = decodeCoins(r.rawCoins); err != nil {
		return Contract{}, err
	}
	if c.backing.Coins, err = decodeCoins(r.rawBacked); err != nil {
		return Contract{}, err
	}
	for _, x := range []struct{ witnesses, coins int }{
		{len(c.witnesses), len(c.coins)}, {len(c.cancel), len(c.own())}, {len(c.backed), len(c.backing.Coins)},
	} {
		if x.witnesses > 0 && x.witnesses != x.coins {
			return Contract{}, code.New(code.StoreCorrupt, "%d witnesses for %d coins", x.witnesses, x.coins)
		}
	}
	for _, raw := range r.notices {
		n, err := decodeNotice(c.role, raw)
		if err != nil {
			return Contract{}, err
		}
		c.dues.notices = append(c.dues.notices, n)
	}
	return *c, nil
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func encodeCoin(c Coin) []byte {
	b := append([]byte(nil), c.OutPoint.Hash[:]...)
	b = binary.BigEndian.AppendUint32(b, c.OutPoint.Index)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Value))
	return append(b, c.Script...)
}

func encodeCoins(coins []Coin) (out [][]byte) {
	for _, c := range coins {
		out = append(out, encodeCoin(c))
	}
	return out
}

func decodeCoins(raw [][]byte) (out []Coin, err error) {
	for _, r := range raw {
		c, err := decodeCoin(r)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func decodeCoin(raw []byte) (Coin, error) {
	if len(raw) < coinHead {
		return Coin{}, code.New(code.StoreCorrupt, "a coin of %d bytes", len(raw))
	}
	op := wire.OutPoint{Hash: chainhash.Hash(raw[:32]), Index: binary.BigEndian.Uint32(raw[32:])}
	return Coin{op, usage.Sat(binary.BigEndian.Uint64(raw[36:])), raw[coinHead:]}, nil
}
