package testnet

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"relaymarket/client"
	"relaymarket/identity"
)

// send FROM TO file= pulls= ttl= relay= delete_on_ack, with the text below: the next message.
func (s *Scenario) send(ctx context.Context, c Command) (string, error) {
	a, err := c.args(2)
	if err != nil {
		return "", err
	}
	agent, err := s.agent(a[0])
	if err != nil {
		return "", err
	}
	req, l, err := s.request(a[1], c)
	if err != nil {
		return "", err
	}
	r, err := agent.Send(ctx, req)
	if err != nil {
		return "", err
	}
	l.digest, l.relay = r.Digest, s.relayOf(r.Relay)
	s.letters = append(s.letters, l)
	out := fmt.Sprintf("message %d: %s at %s, %d records, at most %d msat", len(s.letters), r.State, l.relay, r.Records, r.WorstCost)
	if r.Reason != "" {
		reason, _, _ := strings.Cut(r.Reason, ":")
		out += ", " + reason
	}
	return out, nil
}

// request makes a message of a command. A file is made of its own number, so that a part of another file in
// its place is noticed.
func (s *Scenario) request(to string, c Command) (client.SendRequest, letter, error) {
	var l letter
	file, pulls, ttl := uint64(0), uint64(2), uint64(7200)
	if err := c.numbers(map[string]*uint64{"file": &file, "pulls": &pulls, "ttl": &ttl}); err != nil {
		return client.SendRequest{}, l, err
	}
	req := client.SendRequest{To: to, Body: []byte(c.Text), TTLSeconds: uint32(ttl), MaxPulls: uint16(pulls)}
	_, req.DeleteOnAck = c.Options["delete_on_ack"]
	if name, ok := c.Options["relay"]; ok {
		key, err := s.key(name)
		if err != nil {
			return req, l, err
		}
		req.Relay = key
	}
	if file > 0 {
		line := fmt.Sprintf("file of message %d\n", len(s.letters)+1)
		l.file = bytes.Repeat([]byte(line), int(file)/len(line)+1)[:file]
		req.Attachments = []client.Attachment{{Name: "file", MediaType: "application/octet-stream", Data: l.file, Size: file}}
	}
	return req, l, nil
}

func (s *Scenario) relayOf(key identity.PublicKey) string {
	for name, k := range s.keys {
		if k == key {
			return name
		}
	}
	return "?"
}

// letterOf finds a message by its number.
func (s *Scenario) letterOf(number string) (letter, error) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(s.letters) {
		return letter{}, misused("there is no message %q", number)
	}
	return s.letters[n-1], nil
}

func (s *Scenario) numberOf(d identity.Digest) int {
	for i, l := range s.letters {
		if l.digest == d {
			return i + 1
		}
	}
	return 0
}

// inbox PERSON [until=N]: what has arrived, once it is so many.
func (s *Scenario) inbox(ctx context.Context, c Command) (string, error) {
	a, err := c.args(1)
	if err != nil {
		return "", err
	}
	until, err := c.number("until", 0)
	if err != nil {
		return "", err
	}
	return s.expect(ctx, func() (string, bool, error) {
		agent, err := s.agent(a[0])
		if err != nil {
			return "", false, err
		}
		in, err := agent.Inbox(ctx, false)
		out := make([]string, len(in))
		for i, m := range in {
			out[i] = s.tell(m, "from")
		}
		return lines(out), uint64(len(in)) >= until, err
	})
}

// tell is one message in a list.
func (s *Scenario) tell(m client.Message, way string) string {
	out := fmt.Sprintf("%d %s %s: %s, %q", s.numberOf(m.Digest), way, m.PeerLabel, m.State, m.Preview)
	for _, f := range m.Attachments {
		out += fmt.Sprintf(", file of %d bytes", f.Size)
	}
	if m.Gap {
		out += ", after a gap"
	}
	return out
}

// outbox PERSON [until=STATE]: what was sent, once all of it is in a state; settled stands for all states in
// which nothing more is awaited from the receiver.
func (s *Scenario) outbox(ctx context.Context, c Command) (string, error) {
	a, err := c.args(1)
	if err != nil {
		return "", err
	}
	return s.expect(ctx, func() (string, bool, error) {
		agent, err := s.agent(a[0])
		if err != nil {
			return "", false, err
		}
		sent, err := agent.Outbox(ctx)
		out, ok := make([]string, len(sent)), true
		for i, m := range sent {
			out[i] = s.tell(m, "to")
			ok = ok && reached(m.State, c.Options["until"])
		}
		return lines(out), ok, err
	})
}

func reached(state, until string) bool {
	switch until {
	case "":
		return true
	case "settled":
		return state != client.StateQueued && state != client.StateStored
	}
	return state == until
}

// read PERSON N: the whole message, and whether its file is the one that was sent.
func (s *Scenario) read(ctx context.Context, c Command) (string, error) {
	return s.withLetter(c, func(agent *client.Agent, l letter) (string, error) {
		m, err := agent.Read(ctx, l.digest.String())
		if err != nil {
			return "", err
		}
		out := fmt.Sprintf("%q", m.Body)
		for _, f := range m.Attachments {
			same := "as sent"
			if !bytes.Equal(f.Data, l.file) {
				same = "NOT AS SENT"
			}
			out += fmt.Sprintf(", file of %d bytes %s", len(f.Data), same)
		}
		return out, nil
	})
}

func (s *Scenario) withLetter(c Command, do func(*client.Agent, letter) (string, error)) (string, error) {
	a, err := c.args(2)
	if err != nil {
		return "", err
	}
	agent, err := s.agent(a[0])
	if err != nil {
		return "", err
	}
	l, err := s.letterOf(a[1])
	if err != nil {
		return "", err
	}
	return do(agent, l)
}

// delete PERSON N: an own message is taken from its relay, a received one from the own disk.
func (s *Scenario) delete(ctx context.Context, c Command) (string, error) {
	return s.withLetter(c, func(agent *client.Agent, l letter) (string, error) {
		m, err := agent.Delete(ctx, l.digest.String())
		return m.State, err
	})
}

// pull PERSON N: the message is read once more with the key of somebody whose agent is offline.
func (s *Scenario) pull(ctx context.Context, c Command) (string, error) {
	a, err := c.args(2)
	if err != nil {
		return "", err
	}
	l, err := s.letterOf(a[1])
	if err != nil {
		return "", err
	}
	p, err := s.w.Pull(ctx, a[0], l.relay, l.digest)
	if err != nil {
		return "", err
	}
	if p.Denied != 0 {
		return "denied: " + p.Denied.String(), nil
	}
	return fmt.Sprintf("%d bytes", p.Bytes), nil
}
