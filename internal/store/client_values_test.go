package store

import (
	"testing"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/usage"
)

// offer signs an ordinary offer.
func (m *market) offer(t clientT, sequence uint64) broadcast.VerifiedOffer {
	t.Helper()
	o := broadcast.Offer{
		Header: m.head(m.relay.Public(), identity.PublicKey{}), Sequence: sequence, ValidUntil: cnow + 24*hourMs,
		Addresses:     []identity.Address{{URL: "wss://relay.example:7448/ws", Pins: []identity.Digest{{1}}}},
		Prices:        usage.Prices{StorageMsatPerGiBDay: 670, EgressMsatPerGiB: 20_000},
		ContractPrice: 2370, MinDeposit: 35_800, MaxDeposit: 5_000_000, MinDuration: 1008, MaxDuration: 52_560,
		FundingDepth: 3, SettleFeeRate: 10_000, MinFundFeeRate: 1000, Limits: usage.DefaultLimits(), MaxTTL: 30 * 86400,
	}
	return val(o.Sign(m.relay))(t)
}

func TestClientOffers(t *testing.T) {
	m := newMarket(t)
	old, first, second := m.offer(t, 1), m.offer(t, 2), m.offer(t, 3)
	ok(t, m.c.SaveOffers(cctx, cnow, []broadcast.VerifiedOffer{first}))
	ok(t, m.c.SaveOffers(cctx, cnow+1, []broadcast.VerifiedOffer{old}))
	m.restart(t)
	if all := val(m.c.Offers(cctx))(t); len(all) != 1 || !all[0].Offer.Equal(first.Signed()) || all[0].Seen != cnow {
		t.Fatalf("%+v", all)
	}
	ok(t, m.c.SaveOffers(cctx, cnow+2, []broadcast.VerifiedOffer{second, old}))
	if all := val(m.c.Offers(cctx))(t); len(all) != 1 || !all[0].Offer.Equal(second.Signed()) || all[0].Relay != m.relay.Public() {
		t.Fatalf("%+v", all)
	}
}

// FuzzClientValues: broken bytes on disk give an error, no panic and no large allocation.
func FuzzClientValues(f *testing.F) {
	m := newMarket(f)
	o := m.compose(f, 2)
	ok(f, m.c.Enqueue(cctx, cnow, o))
	val(m.c.SaveReceived(cctx, cnow, m.incoming(f)))(f)
	ok(f, m.c.SaveContact(cctx, cnow, m.friend.Public(), "friend"))
	ok(f, m.c.SaveOffers(cctx, cnow, []broadcast.VerifiedOffer{m.offer(f, 1)}))
	for _, v := range dump(f, m.c) {
		f.Add([]byte(v))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if v, err := decodeSent(identity.Digest{}, raw); err == nil {
			v.facts()
			again(t, v.encode(), func(b []byte) error { _, err := decodeSent(identity.Digest{}, b); return err })
		}
		if v, err := decodeOrder(raw); err == nil {
			again(t, v.encode(), func(b []byte) error { _, err := decodeOrder(b); return err })
		}
		if v, err := decodeReceived(identity.Digest{}, raw); err == nil {
			again(t, v.encode(), func(b []byte) error { _, err := decodeReceived(identity.Digest{}, b); return err })
		}
		if v, err := decodeContact(identity.PublicKey{}, raw); err == nil {
			again(t, v.encode(), func(b []byte) error { _, err := decodeContact(identity.PublicKey{}, b); return err })
		}
		if v, err := decodePendingStatement(raw); err == nil {
			again(t, v.encode(), func(b []byte) error { _, err := decodePendingStatement(b); return err })
		}
		if v, err := decodeEvidence(identity.Digest{}, raw); err == nil {
			again(t, v.encode(), func(b []byte) error { _, err := decodeEvidence(identity.Digest{}, b); return err })
		}
		if v, err := decodeHeldGrant(identity.Digest{}, raw); err == nil {
			again(t, v.encode(), func(b []byte) error { _, err := decodeHeldGrant(identity.Digest{}, b); return err })
		}
		if v, err := decodeSummary(raw); err == nil {
			again(t, v.encode(), func(b []byte) error { _, err := decodeSummary(b); return err })
		}
		decodeTheRest(raw)
	})
}

// again reads back what was written from something that had been read.
func again(t *testing.T, raw []byte, decode func([]byte) error) {
	t.Helper()
	ok(t, decode(raw))
}

func decodeTheRest(raw []byte) {
	_, _ = decodeCursor(raw)
	_, _ = decodeRequest(raw)
	_, _ = decodePayment(usage.ContractID{}, raw)
	_, _ = decodeBudget(raw)
	_, _ = decodeSeenOffer(identity.PublicKey{}, raw)
	_, _ = decodeSendEpoch(raw)
	_, _ = decodeRecvEpoch(raw)
	_, _ = decodeThread(raw)
	_, _ = decodeDigest(raw)
	_, _ = decodeSigned(raw, "x")
}
