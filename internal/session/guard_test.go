package session

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/transport"
	"relaymarket/usage"

	"pgregory.net/rapid"
)

// TestGuardCounts enters, proves and leaves at random and compares with plain counting.
func TestGuardCounts(t *testing.T) {
	l, per := GuardLimits{Unproven: 6, UnprovenPerNetwork: 3, Sessions: 7}, usage.Limits{SessionsPerAddress: 4, SessionsPerKey: 2}
	rapid.Check(t, func(t *rapid.T) {
		g := NewGuard(l)
		var in []*ticket
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				n := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "net") % 4}), 32)
				all, same := tally(in, func(x *ticket) bool { return !x.proven }, func(x *ticket) bool { return x.network == n })
				x, err := g.enter(n)
				if (err == nil) != (all < l.Unproven && same < l.UnprovenPerNetwork) || err != nil && code.Of(err) != code.Busy {
					t.Fatalf("%d strangers, %d here: %v", all, same, err)
				}
				if err == nil {
					in = append(in, x)
				}
			case 1:
				if len(in) == 0 || in[len(in)-1].proven {
					continue
				}
				x, key := in[len(in)-1], identity.PublicKey{rapid.Byte().Draw(t, "key") % 4}
				proven := func(x *ticket) bool { return x.proven }
				all, same := tally(in, proven, func(y *ticket) bool { return y.network == x.network })
				_, keys := tally(in, proven, func(y *ticket) bool { return y.key == key })
				err := x.prove(key, per)
				if (err == nil) != (all < l.Sessions && same < int(per.SessionsPerAddress) && keys < int(per.SessionsPerKey)) {
					t.Fatalf("%d sessions, %d here, %d of the key: %v", all, same, keys, err)
				}
			case 2:
				if len(in) > 0 {
					i := rapid.IntRange(0, len(in)-1).Draw(t, "who")
					in[i].leave()
					in = append(in[:i:i], in[i+1:]...)
				}
			}
		}
		for _, x := range in {
			x.leave()
		}
		a, b := g.Count()
		if a+b+len(g.strangers)+len(g.networks)+len(g.keys) != 0 {
			t.Fatalf("all left: %+v", g)
		}
	})
}

// tally counts the tickets of a kind, and those of them that match.
func tally(in []*ticket, kind, match func(*ticket) bool) (all, same int) {
	for _, x := range in {
		if kind(x) {
			all++
			if match(x) {
				same++
			}
		}
	}
	return all, same
}

func TestSharedNetworksHaveNoCapOfTheirOwn(t *testing.T) {
	g := NewGuard(GuardLimits{Unproven: 100, UnprovenPerNetwork: 1, Sessions: 100})
	loop := netip.MustParsePrefix("127.0.0.1/32")
	for i := range byte(5) {
		x, err := g.enter(loop)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.prove(identity.PublicKey{i}, usage.Limits{SessionsPerAddress: 1, SessionsPerKey: 1}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCapsHoldInSessions: a stranger too many, a session too many of one key, and that all
// who leave make room.
func TestCapsHoldInSessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc := serverConfig(t, answer)
		sc.Guard = NewGuard(GuardLimits{Unproven: 2, UnprovenPerNetwork: 2, Sessions: 10})
		sc.Limits.SessionsPerKey = 1
		a, b := meet(t, sc), meet(t, sc)
		a.say(1, &message.Hello{MinVersion: 1, MaxVersion: 1, Genesis: testGenesis})
		a.hear()
		b.say(1, &message.Hello{MinVersion: 1, MaxVersion: 1, Genesis: testGenesis})
		b.hear()
		conn, s := serve(sc)
		if _, err := Connect(t.Context(), conn, clientConfig(t)); code.Of(err) != code.Busy || s.ended() != code.Busy {
			t.Errorf("a third stranger: %v, %v", err, s.err)
		}
		a.conn.Close(code.OK, "")
		<-a.done
		b.conn.Close(code.OK, "")
		<-b.done
		c, _ := connect(t, sc, clientConfig(t))
		conn, s = serve(sc)
		if _, err := Connect(t.Context(), conn, clientConfig(t)); code.Of(err) != code.Busy || s.ended() != code.Busy {
			t.Errorf("a second session of one key: %v, %v", err, s.err)
		}
		if x, y := sc.Guard.Count(); x != 0 || y != 1 {
			t.Errorf("%d strangers, %d sessions", x, y)
		}
		if _, err := c.Call(t.Context(), &message.Account{}); err != nil {
			t.Error(err)
		}
	})
}

func TestStrangersOfOneNetworkAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc := serverConfig(t, answer)
		sc.Guard = NewGuard(GuardLimits{Unproven: 100, UnprovenPerNetwork: 1})
		from := func(ip string) *served {
			_, s := transport.Pipe([32]byte{}, &net.TCPAddr{IP: net.ParseIP(ip), Port: 9}, relayAddr)
			defer synctest.Wait() // one after the other
			return serveOn(s, sc)
		}
		first := from("2001:db8::1")
		if got := from("2001:db8::ffff:1").ended(); got != code.Busy {
			t.Errorf("a second one of a /64: %v", got)
		}
		other := from("2001:db8:0:1::1")
		for _, s := range []*served{first, other} {
			if got := s.ended(); got != code.Timeout {
				t.Errorf("a stranger within the caps: %v", got)
			}
		}
	})
}
