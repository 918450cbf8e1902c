package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"relaymarket/internal/code"
	"relaymarket/relay"
)

// admin asks the running relay over its admin port. A nil request is a GET.
func (o *options) admin(ctx context.Context, path string, request, result any) error {
	cfg, err := relay.LoadConfig(o.dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	method, body := http.MethodGet, io.Reader(nil)
	if request != nil {
		raw, err := json.Marshal(request)
		if err != nil {
			return err
		}
		method, body = http.MethodPost, bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+cfg.Admin+path, body)
	if err != nil {
		return code.Wrap(code.BadConfig, err, "admin")
	}
	client := &http.Client{Transport: &http.Transport{Proxy: nil, DialContext: (&net.Dialer{}).DialContext}}
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return code.New(code.NoAgent, "no relay answers at %s: start it with relay run", cfg.Admin)
	} else if err != nil {
		return code.Wrap(code.NoAgent, err, "asking the relay")
	}
	defer resp.Body.Close()
	return decodeAdmin(resp, result)
}

func decodeAdmin(resp *http.Response, result any) error {
	body := io.LimitReader(resp.Body, 64<<20)
	if resp.StatusCode == http.StatusOK {
		return json.NewDecoder(body).Decode(result)
	}
	var e relay.AdminError
	if json.NewDecoder(body).Decode(&e) != nil || e.Code == 0 {
		return code.New(code.Internal, "the relay answered %s", resp.Status)
	}
	return code.New(e.Code, "%s", e.Text)
}
