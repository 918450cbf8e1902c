package client

import (
	"context"
	"net/url"
	"slices"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/transport"
)

// proxyDialTime bounds one attempt to reach a relay through the proxy: Tor has to find a .onion
// service first.
const proxyDialTime = 40 * time.Second

// usable leaves out the .onion addresses when there is no proxy: they are never given to a
// resolver. If there are no others, an error says what to do.
func (a *Agent) usable(all []identity.Address) ([]identity.Address, error) {
	if a.proxy != nil {
		return all, nil
	}
	onion := func(at identity.Address) bool { return transport.Onion(hostOfURL(at.URL)) }
	plain := slices.DeleteFunc(slices.Clone(all), onion)
	if len(plain) == 0 {
		return nil, code.New(code.BadConfig,
			`%s is reached through Tor only: start Tor and set proxy = "socks5://127.0.0.1:9050" in %s`, all[0].URL, ConfigName)
	}
	return plain, nil
}

func hostOfURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// checkProxy asks the proxy, if there is one, whether it is there.
func (a *Agent) checkProxy(ctx context.Context) []Check {
	if a.proxy == nil {
		return nil
	}
	if err := transport.CheckProxy(ctx, a.proxy); err != nil {
		return []Check{{Name: "proxy", Value: code.Explain(err), Hint: "start Tor, or correct proxy in " + ConfigName + "; without it nothing beyond this machine is reached"}}
	}
	return []Check{{Name: "proxy", OK: true, Value: a.proxy.Host}}
}
