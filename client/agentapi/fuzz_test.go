package agentapi

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"relaymarket/client"
	"relaymarket/identity"
)

// FuzzRequest: whatever is posted, the answer is JSON, and a failure has a name.
func FuzzRequest(f *testing.F) {
	c := client.DefaultConfig(identity.Regtest)
	c.Bitcoin.RPC = "127.0.0.1:1"
	dir := f.TempDir()
	if _, err := client.Init(dir, client.InitOptions{Config: c}); err != nil {
		f.Fatal(err)
	}
	a, err := client.Open(client.Options{Dir: dir, Config: c})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = a.Close() })
	for name := range verbs() {
		f.Add(name, []byte(`{}`))
		f.Add(name, []byte(`{"id":"0011223344","contract":"zz","sources":[""]}`))
	}
	h := handler(context.Background(), a)
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		if strings.ContainsAny(name, " /?#%\x00\n\r\t\x7f") || name == nameListen || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") != "" {
			return
		}
		if len(body) > 4096 || strings.Contains(string(body), "http") {
			return // no test leaves this machine
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", prefix+name, strings.NewReader(string(body))))
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s answers %q", name, w.Body)
		}
		var fault Fault
		if w.Code != 200 && (json.Unmarshal(w.Body.Bytes(), &fault) != nil || fault.Name == "") {
			t.Fatalf("%s fails without a name: %q", name, w.Body)
		}
	})
}
