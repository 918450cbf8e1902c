package relay

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// grant opens a sponsor's word on one of its grants. The sponsor may bring both, the account the grant
// alone: whoever holds the file of a grant can give it to the relay.
func (o *opener) grant(m *message.Grant, by identity.PublicKey, now identity.UnixMilli) (store.Op, error) {
	s, err := identity.ParseSigned(m.Statement)
	if err != nil {
		return nil, err
	}
	h, err := identity.PeekHeader(s.Statement)
	if err != nil {
		return nil, err
	}
	if h.Type == identity.TypeAccountRevoke {
		r, err := usage.OpenAccountRevoke(s)
		if err != nil {
			return nil, err
		}
		return store.RevokeOp{Revoke: r}, o.own(r.Header, by, now)
	}
	g, err := usage.OpenAccountGrant(s)
	if err != nil {
		return nil, err
	}
	if by != g.From && by != g.Account {
		return nil, code.New(code.Forbidden, "only its sponsor or its account may bring a grant")
	}
	return store.GrantOp{Grant: g}, o.check(g.Header, now)
}

// grant keeps a grant or its revocation and says from which row of the log on it holds.
func (s *Server) grant(ctx context.Context, by identity.PublicKey, m *message.Grant) (message.Message, error) {
	op, err := s.opener.grant(m, by, s.nowMilli())
	if err != nil {
		return nil, err
	}
	if _, ok := op.(store.GrantOp); ok {
		if err := s.roomForFree(); err != nil {
			return nil, err
		}
	}
	a, err := s.one(ctx, op)
	if err != nil {
		return nil, err
	}
	return &message.Granted{Receipt: a.signed.Bytes()}, nil
}

// lane tells the sponsor or the account how a grant stands, with rows of its lane.
func (s *Server) lane(ctx context.Context, by identity.PublicKey, m *message.RequestLane) (message.Message, error) {
	l, err := s.store.Lane(ctx, by, m.Contract, m.Grant, m.FromRow, s.page(m.Limit))
	if err != nil {
		return nil, err
	}
	e := l.Entry
	out := &message.Lane{
		Grant: l.Grant, Revoke: l.Revoke, Open: l.Open, LiveBytes: e.LiveBytes, ByteSeconds: e.ByteSeconds.Bytes(), Egress: e.Egress,
		OwedMsat: uint64(e.Owed), ReservedMsat: uint64(l.Reserved), DayMsat: uint64(l.Ordered), More: l.More,
	}
	budget := int(s.limits.MaxFrame) - len(l.Grant) - len(l.Revoke) - 1024
	var all bool
	if out.Rows, all, err = entries(l.Rows, budget); err != nil {
		return nil, err
	}
	out.More = out.More || !all
	return out, nil
}

// entries encodes rows as far as they fit, and tells whether all do.
func entries(rows []usage.RowEntry, budget int) (out [][]byte, all bool, err error) {
	for _, r := range rows {
		raw, err := r.Encode()
		if err != nil {
			return nil, false, code.Wrap(code.Internal, err, "row")
		}
		if budget -= len(raw) + 4; budget < 0 {
			return out, false, nil
		}
		out = append(out, raw)
	}
	return out, true, nil
}
