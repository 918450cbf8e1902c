package agentapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// stopTime is how long requests in hand may go on after the server was told to stop.
const stopTime = 10 * time.Second

// cutTime is how long it is waited for requests that were cut off.
const cutTime = 10 * time.Second

// Serve answers for an agent on a listener until ctx ends, and then finishes what is in hand.
// It gives nil when it was told to stop.
func Serve(ctx context.Context, agent API, l net.Listener) error {
	var inHand atomic.Int64
	h := handler(ctx, agent)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inHand.Add(1)
			defer inHand.Add(-1)
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	done := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		// The stop has its own time: what ctx says is over.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		err := srv.Shutdown(last)
		if err != nil {
			err = srv.Close()
		}
		// Calls that were cut off end soon, and must have ended before the agent is closed.
		for end := time.Now().Add(cutTime); inHand.Load() > 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		done <- err
	})
	err := srv.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return code.Wrap(code.Internal, err, "serving the agent")
	}
	return <-done
}

// handler routes the methods. Streams end with ctx, other requests may finish.
func handler(ctx context.Context, agent API) http.Handler {
	mux := http.NewServeMux()
	for name, v := range verbs() {
		mux.HandleFunc("POST "+prefix+name, func(w http.ResponseWriter, r *http.Request) { v.serve(agent, w, r) })
	}
	mux.HandleFunc("POST "+prefix+nameListen, func(w http.ResponseWriter, r *http.Request) { listen(ctx, agent, w, r) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, code.New(code.Unsupported, "this agent knows no %s %s", r.Method, r.URL.Path))
	})
	return mux
}

// verb is one method of the API.
type verb struct {
	max  int64 // bytes of the request
	call func(context.Context, API, []byte) (any, error)
}

// method makes a verb of a call with a typed request and result.
func method[Req, Res any](max int64, f func(context.Context, API, Req) (Res, error)) verb {
	return verb{max, func(ctx context.Context, a API, body []byte) (any, error) {
		var req Req
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, code.Wrap(code.Malformed, err, "the request")
		}
		return f(ctx, a, req)
	}}
}

func verbs() map[string]verb {
	out := letterVerbs()
	maps.Copy(out, otherVerbs())
	maps.Copy(out, contractVerbs())
	maps.Copy(out, grantVerbs())
	return out
}

// otherVerbs are those of identity, relays, wallet and the agent itself.
func otherVerbs() map[string]verb {
	return map[string]verb{
		nameIdentity: method(maxSmall, func(ctx context.Context, a API, _ nothing) (client.IdentityInfo, error) { return a.Identity(ctx) }),
		nameExport: method(maxSmall, func(ctx context.Context, a API, _ nothing) (exportResult, error) {
			file, err := a.Export(ctx)
			return exportResult{file}, err
		}),
		namePutContact: method(maxSmall, func(ctx context.Context, a API, r contactRequest) (client.Contact, error) {
			return a.PutContact(ctx, r.File, r.Label)
		}),
		nameContacts: method(maxSmall, func(ctx context.Context, a API, _ nothing) ([]client.Contact, error) { return a.Contacts(ctx) }),
		nameMarket: method(maxSmall, func(ctx context.Context, a API, r client.MarketRequest) (client.MarketResult, error) {
			return a.Market(ctx, r)
		}),
		nameDropContact: method(maxSmall, func(ctx context.Context, a API, r whoRequest) (nothing, error) {
			return nothing{}, a.DropContact(ctx, r.Who)
		}),
		nameRelays: method(maxSmall, func(ctx context.Context, a API, _ nothing) ([]client.RelayInfo, error) { return a.Relays(ctx) }),
		nameUseRelay: method(maxSmall, func(ctx context.Context, a API, r identity.RelayRef) (client.RelayInfo, error) {
			return a.UseRelay(ctx, r)
		}),
		nameDropRelay: method(maxSmall, func(ctx context.Context, a API, r relayRequest) (nothing, error) {
			return nothing{}, a.DropRelay(ctx, r.Relay)
		}),
		nameWalletAddress: method(maxSmall, func(ctx context.Context, a API, _ nothing) (addressResult, error) {
			addr, err := a.WalletAddress(ctx)
			return addressResult{addr}, err
		}),
		nameWalletBalance: method(maxSmall, func(ctx context.Context, a API, _ nothing) (client.WalletBalance, error) { return a.WalletBalance(ctx) }),
		nameWalletCoins:   method(maxSmall, func(ctx context.Context, a API, _ nothing) ([]client.WalletCoin, error) { return a.WalletCoins(ctx) }),
		nameWalletSend: method(maxSmall, func(ctx context.Context, a API, r client.WalletSendRequest) (client.WalletSendResult, error) {
			return a.WalletSend(ctx, r)
		}),
	}
}

// contractVerbs are those of contracts, of what they cost, and of their papers.
func contractVerbs() map[string]verb {
	return map[string]verb{
		nameContractPreview: method(maxSmall, func(ctx context.Context, a API, r client.OpenRequest) (client.OpenPreview, error) {
			return a.ContractPreview(ctx, r)
		}),
		nameContractOpen: method(maxSmall, func(ctx context.Context, a API, r client.OpenRequest) (client.ContractInfo, error) {
			return a.ContractOpen(ctx, r)
		}),
		nameRenewPreview: method(maxSmall, func(ctx context.Context, a API, r client.RenewRequest) (client.OpenPreview, error) {
			return a.ContractRenewPreview(ctx, r)
		}),
		nameRenew: method(maxSmall, func(ctx context.Context, a API, r client.RenewRequest) (client.ContractInfo, error) {
			return a.ContractRenew(ctx, r)
		}),
		nameAutoRenew: method(maxSmall, func(ctx context.Context, a API, r contractRequest) (client.ContractInfo, error) {
			return a.ContractAutoRenew(ctx, r.Contract, r.Amount)
		}),
		nameContracts: method(maxSmall, func(ctx context.Context, a API, _ nothing) ([]client.ContractInfo, error) { return a.Contracts(ctx) }),
		nameContract: method(maxSmall, func(ctx context.Context, a API, r contractRequest) (client.ContractInfo, error) {
			return a.Contract(ctx, r.Contract)
		}),
		nameContractPay: method(maxSmall, func(ctx context.Context, a API, r contractRequest) (client.PayResult, error) {
			return a.ContractPay(ctx, r.Contract, r.Max)
		}),
		nameContractPrepay: method(maxSmall, func(ctx context.Context, a API, r contractRequest) (client.PayResult, error) {
			return a.ContractPrepay(ctx, r.Contract, r.Amount)
		}),
		nameContractClose: method(maxSmall, func(ctx context.Context, a API, r contractRequest) (client.ContractInfo, error) {
			return a.ContractClose(ctx, r.Contract, r.How)
		}),
		nameContractRefund: method(maxSmall, func(ctx context.Context, a API, r contractRequest) (client.ContractInfo, error) {
			return a.ContractRefund(ctx, r.Contract, r.FeeRateSatVB)
		}),
		nameRecovery: method(maxSmall, func(ctx context.Context, a API, r contractRequest) (client.RecoveryInfo, error) {
			return a.ContractRecovery(ctx, r.Contract)
		}),
		nameRecover: method(maxSmall, func(ctx context.Context, a API, r recoverRequest) (client.ContractInfo, error) {
			return a.Recover(ctx, r.Text)
		}),
		nameRecoverFrom: method(maxSmall, func(ctx context.Context, a API, r recoverFromRequest) (client.Found, error) {
			return a.RecoverFrom(ctx, r.Relays)
		}),
		nameContractCancel: method(maxSmall, func(ctx context.Context, a API, r contractRequest) (client.ContractInfo, error) {
			return a.ContractCancel(ctx, r.Contract, r.FeeRateSatVB)
		}),
		nameContractExport: method(maxSmall, func(ctx context.Context, a API, r contractRequest) ([]client.ContractPSBT, error) {
			return a.ContractExport(ctx, r.Contract, r.FeeRateSatVB)
		}),
		nameContractImport: method(2*maxSmall, func(ctx context.Context, a API, r exportResult) (client.ContractInfo, error) {
			return a.ContractImport(ctx, r.File)
		}),
		nameUsage: method(maxSmall, func(ctx context.Context, a API, r contractRequest) (client.UsageInfo, error) {
			return a.Usage(ctx, r.Contract, r.Entries)
		}),
		nameAudit: method(maxSmall, func(ctx context.Context, a API, r contractRequest) (client.AuditResult, error) {
			return a.Audit(ctx, r.Contract)
		}),
		nameEvidence: method(maxSmall, func(ctx context.Context, a API, _ nothing) ([]client.EvidenceInfo, error) { return a.Evidence(ctx) }),
		nameAddEvidence: method(maxSmall, func(ctx context.Context, a API, r exportResult) (client.EvidenceInfo, error) {
			return a.AddEvidence(ctx, r.File)
		}),
		nameExportEvidence: method(maxSmall, func(ctx context.Context, a API, r recordRequest) (exportResult, error) {
			file, err := a.ExportEvidence(ctx, r.ID)
			return exportResult{file}, err
		}),
	}
}

// grantVerbs are those of sponsors and their accounts.
func grantVerbs() map[string]verb {
	return map[string]verb{
		nameGrantGive: method(maxSmall, func(ctx context.Context, a API, r client.GrantRequest) (client.GrantResult, error) {
			return a.GrantGive(ctx, r)
		}),
		nameGrantImport: method(maxSmall, func(ctx context.Context, a API, r exportResult) (client.GrantInfo, error) {
			return a.GrantImport(ctx, r.File)
		}),
		nameGrantRevoke: method(maxSmall, func(ctx context.Context, a API, r recordRequest) (client.GrantInfo, error) {
			return a.GrantRevoke(ctx, r.ID)
		}),
		nameGrants: method(maxSmall, func(ctx context.Context, a API, _ nothing) ([]client.GrantInfo, error) { return a.Grants(ctx) }),
		nameGrantAudit: method(maxSmall, func(ctx context.Context, a API, r recordRequest) (client.LaneAudit, error) {
			return a.GrantAudit(ctx, r.ID)
		}),
	}
}

// letterVerbs are those that have to do with messages.
func letterVerbs() map[string]verb {
	return map[string]verb{
		nameSend: method(maxMessage, func(ctx context.Context, a API, r client.SendRequest) (client.SendResult, error) {
			return a.Send(ctx, r)
		}),
		nameInbox: method(maxSmall, func(ctx context.Context, a API, r inboxRequest) ([]client.Message, error) {
			return a.Inbox(ctx, r.NewOnly)
		}),
		nameRead:   method(maxSmall, func(ctx context.Context, a API, r recordRequest) (client.Message, error) { return a.Read(ctx, r.ID) }),
		nameOutbox: method(maxSmall, func(ctx context.Context, a API, _ nothing) ([]client.Message, error) { return a.Outbox(ctx) }),
		nameDelete: method(maxSmall, func(ctx context.Context, a API, r recordRequest) (client.Message, error) { return a.Delete(ctx, r.ID) }),
		nameChallenge: method(maxSmall, func(ctx context.Context, a API, r client.ChallengeRequest) ([]client.Challenged, error) {
			return a.Challenge(ctx, r)
		}),
		nameDoctor: method(maxSmall, func(ctx context.Context, a API, _ nothing) ([]client.Check, error) { return a.Doctor(ctx) }),
		nameSync:   method(maxSmall, func(ctx context.Context, a API, _ nothing) (nothing, error) { return nothing{}, a.Sync(ctx) }),
	}
}

func (v verb) serve(agent API, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, v.max))
	if tooLarge(err) {
		fail(w, code.New(code.TooLarge, "a request of more than %d MiB", v.max>>20))
		return
	} else if err != nil {
		fail(w, code.Wrap(code.Disconnected, err, "the request"))
		return
	}
	result, err := v.call(r.Context(), agent, body)
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, result)
}

func fail(w http.ResponseWriter, err error) {
	f := FaultOf(err)
	write(w, f.status(), f)
}

func write(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		raw, status = []byte(`{"code":1,"name":"internal","text":"the answer has no JSON form"}`), http.StatusInternalServerError
	}
	head(w, status, "application/json")
	_, _ = w.Write(append(raw, '\n')) // a caller who is gone needs no answer
}

func head(w http.ResponseWriter, status int, contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set(versionHeader, version)
	w.WriteHeader(status)
}

// event is one line of a stream: a message, or the fault that ended it.
type event struct {
	Message *client.Message `json:"message,omitempty"`
	Fault   *Fault          `json:"fault,omitempty"`
}

// listen streams messages until the caller goes, the agent stops or ctx ends. The headers go
// out at once, so that the caller knows that it is heard.
func listen(stop context.Context, agent API, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	head(w, http.StatusOK, "application/x-ndjson")
	out, enc := http.NewResponseController(w), json.NewEncoder(w)
	if out.Flush() != nil {
		return
	}
	err := agent.Listen(ctx, func(m client.Message) error {
		if err := enc.Encode(event{Message: &m}); err != nil {
			return err
		}
		return out.Flush()
	})
	switch {
	case stop.Err() != nil:
		err = code.New(code.ShuttingDown, "the agent stops")
	case err == nil || r.Context().Err() != nil:
		return
	}
	f := FaultOf(err)
	_ = enc.Encode(event{Fault: &f}) // a caller who is gone needs no reason
}
