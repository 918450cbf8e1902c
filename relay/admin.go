package relay

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// adminHandler serves the loopback admin port: health for supervisors, metrics, and the door
// of the relay's own commands. It has no password; what protects it is that it listens on
// loopback only and refuses requests that a web page in a browser could have caused.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, map[string]bool{"ok": true}) })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status", adminJSON(func(ctx context.Context, _ struct{}) (Status, error) { return s.Status(ctx) }))
	mux.HandleFunc("POST /wallet/address", adminJSON(func(ctx context.Context, _ struct{}) (map[string]string, error) {
		a, err := s.WalletAddress()
		return map[string]string{"address": a}, err
	}))
	mux.HandleFunc("GET /wallet/balance", adminJSON(func(ctx context.Context, _ struct{}) (WalletStatus, error) { return s.WalletBalance() }))
	mux.HandleFunc("POST /wallet/send", adminJSON(s.WalletSend))
	mux.HandleFunc("POST /contracts/close", adminJSON(func(ctx context.Context, r CloseRequest) (ContractStatus, error) {
		return s.CloseContract(ctx, r.Contract)
	}))
	mux.HandleFunc("POST /clock/confirm", adminJSON(func(ctx context.Context, _ struct{}) (ClockStatus, error) { return s.ConfirmClock(ctx) }))
	return onlyLocal(mux)
}

// CloseRequest names a contract to be closed at the relay's wish.
type CloseRequest struct {
	Contract usage.ContractID `json:"contract"`
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if why := s.notReady(); why != "" {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, map[string]bool{"ready": true})
}

// onlyLocal refuses what does not name this machine as host (DNS rebinding) or bears an
// Origin (a web page).
func onlyLocal(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !isLoopback(host) || r.Header.Get("Origin") != "" {
			http.Error(w, "the admin port answers local commands only", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// maxAdminBody bounds a command's request.
const maxAdminBody = 64 << 10

// AdminError is how the admin port reports a failure.
type AdminError struct {
	Code code.Code `json:"code"`
	Name string    `json:"name"`
	Text string    `json:"text"`
	Hint string    `json:"hint"`
}

// adminJSON makes a handler from a function of a request to a result.
func adminJSON[Req, Res any](f func(context.Context, Req) (Res, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req Req
		if r.Method == http.MethodPost {
			dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdminBody))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&req); err != nil {
				writeError(w, code.Wrap(code.BadArgument, err, "request"))
				return
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Minute)
		defer cancel()
		res, err := f(ctx, req)
		if err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, res)
	}
}

func writeError(w http.ResponseWriter, err error) {
	c := code.Of(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnprocessableEntity)
	_ = json.NewEncoder(w).Encode(AdminError{Code: c, Name: c.String(), Text: err.Error(), Hint: c.Hint()})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the reader has gone if this fails
}
