package message

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"

	"pgregory.net/rapid"
)

const testLimit = 4 << 20

// samples has at least one message of every type, with every field set in one of them.
func samples() []Message {
	row := Row{
		Digest: identity.Digest{1}, From: identity.PublicKey{2}, To: identity.PublicKey{3}, ID: "a.b-c_1", Arrival: 4,
		Size: 5, Expiry: 6, Home: 7, Tag: []byte("tag"), PullsLeft: 8, Statement: []byte{9},
	}
	results := []Result{{}, {code.NotFound, "not here"}}
	receipts := [][]byte{[]byte("receipt"), {}}
	return []Message{
		&Hello{MinVersion: 1, MaxVersion: 2, Features: 3, Genesis: [32]byte{4}, Nonce: [32]byte{5}},
		&HelloRelay{1, 2, 3, [32]byte{4}, [32]byte{5}, identity.PublicKey{6}, [64]byte{7}, []byte{8}, [16]byte{9}, 10},
		&Auth{identity.PublicKey{1}, [64]byte{2}}, &Welcome{identity.PublicKey{1}, 2},
		&Error{code.Busy, "wait", 3}, &Error{Code: 65535}, &Ping{}, &Ping{1}, &Pong{1, 2}, &OK{}, &Cancel{1},
		&Write{[][]byte{{1}, {2}}, [][]byte{{}, {3}}}, &Written{[]byte{1}},
		&Read{[]byte{1}, NewHomes(1, 512), 4096, [][]byte{{1}, {}}}, &ReadData{1, []byte{2}, 3, []byte{4}, true, []byte{5}, true}, &ReadData{},
		&Challenge{[]byte{1}, NewHomes(1), [][]byte{{1}, {}}},
		&Challenged{Answers: [][]byte{{1}, {}}, Chunks: [][]byte{{2}, {}}, Results: results},
		&Inventory{RoleSender, 1, 2, 3}, &InventoryPage{Rows: []Row{row, row}, Through: 1, More: true, StoreEpoch: [16]byte{2}},
		&Listen{1}, &ListenEvent{Rows: []Row{row}, Through: 1, More: true}, &ListenEvent{},
		&Delete{[]byte{1}, NewHomes(3)}, &Deleted{Receipts: receipts, Results: results},
		&Acknowledge{[]byte{1}, nil}, &Acknowledged{Results: results, Receipts: receipts},
		&RequestUsage{[32]byte{1}, 2, 3, 4, 5, true}, &UsageReport{[]byte{1}, [][]byte{{2}, {3}}, true},
		&PutIdentity{[]byte{1}}, &GetIdentity{identity.PublicKey{1}}, &Identity{[]byte{1}}, &GetOffer{}, &Offer{[]byte{1}},
		&Account{}, &AccountInfo{FreeUsed: 1, FreeLimit: 2, Contracts: []AccountContract{{[32]byte{1}, 2, 3, 4, 5, 6, 7, 8, 9}}},
		&Grant{[]byte{1}}, &Granted{[]byte{1}}, &RequestLane{[32]byte{1}, [32]byte{2}, 3, 4}, &Lane{Grant: []byte{1}},
		&Lane{[]byte{1}, []byte{2}, true, 3, [16]byte{4}, 5, 6, 7, 8, [][]byte{{9}, {10}}, true},
		&Contract{[]byte{1}},
	}
}

func TestEverySampleRoundTrips(t *testing.T) {
	seen := map[Type]bool{}
	for i, m := range samples() {
		seen[m.Type()] = true
		frame, err := Encode(uint64(i), m)
		if err != nil {
			t.Fatalf("%s: %v", m.Type(), err)
		}
		id, back, err := Decode(frame, testLimit)
		if err != nil || id != uint64(i) {
			t.Fatalf("%s: id %d, %v", m.Type(), id, err)
		}
		again, err := Encode(id, back)
		if err != nil || !bytes.Equal(frame, again) {
			t.Errorf("%s: %x re-encodes as %x (%v)", m.Type(), frame, again, err)
		}
		// Encoding the decoded one filled the same unexported raw lists, so that all of the
		// two structs must agree.
		if fmt.Sprintf("%+v", m) != fmt.Sprintf("%+v", back) {
			t.Errorf("%s: %+v became %+v", m.Type(), m, back)
		}
	}
	for _, info := range Types() {
		if !seen[info.Type] {
			t.Errorf("no sample of %s", info.Name)
		}
	}
}

func TestTable(t *testing.T) {
	names, last := map[string]bool{}, Type(0)
	for _, info := range Types() {
		if info.Type <= last || names[info.Name] {
			t.Errorf("%s: numbers must ascend and names be unique", info.Name)
		}
		last, names[info.Name] = info.Type, true
		m := info.make()
		if m.Type() != info.Type || info.Type.String() != info.Name {
			t.Errorf("%s makes a %s", info.Name, m.Type())
		}
		if name := reflect.TypeOf(m).Elem().Name(); !strings.EqualFold(name, info.Name) {
			t.Errorf("%s is the struct %s", info.Name, name)
		}
		for _, a := range info.Answers {
			if ai, ok := a.Info(); !ok || ai.From == FromClient || !info.Type.AnsweredBy(a) {
				t.Errorf("%s cannot be answered by %s", info.Name, a)
			}
		}
		if len(info.Answers) > 0 != (info.From != FromRelay) {
			t.Errorf("%s: what a client sends is answered, what a relay sends is not", info.Name)
		}
		if info.Type.AnsweredBy(TypeError) != (len(info.Answers) > 0) || info.Type.AnsweredBy(TypeHello) {
			t.Errorf("%s: wrong answers", info.Name)
		}
	}
}

func TestAnonymousSeesOffersAndPingOnly(t *testing.T) {
	var got []string
	for _, info := range Types() {
		if info.Anonymous {
			got = append(got, info.Name)
		}
	}
	if want := []string{"hello", "auth", "ping", "getOffer"}; !reflect.DeepEqual(got, want) {
		t.Errorf("anonymous sessions may send %v, want %v", got, want)
	}
}

func TestFinal(t *testing.T) {
	for _, c := range []struct {
		m    Message
		want bool
	}{{&ReadData{}, false}, {&ReadData{End: true}, true}, {&ListenEvent{}, false}, {&Error{Code: 1}, true}, {&OK{}, true}} {
		if Final(c.m) != c.want {
			t.Errorf("Final(%+v) is %v", c.m, !c.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, _ := Encode(7, &Ping{1})
	for name, c := range map[string]struct {
		frame []byte
		limit int
		want  code.Code
		id    uint64
	}{
		"nothing":      {nil, testLimit, code.Malformed, 0},
		"half header":  {good[:HeaderLen-1], testLimit, code.Malformed, 0},
		"over limit":   {good, len(good) - 1, code.TooLarge, 7},
		"cut off":      {good[:len(good)-1], testLimit, code.Malformed, 7},
		"trailing":     {append(bytes.Clone(good), 0), testLimit, code.Malformed, 7},
		"unknown type": {append([]byte{0xff, 0xff}, good[2:]...), testLimit, code.Unsupported, 7},
	} {
		id, m, err := Decode(c.frame, c.limit)
		if code.Of(err) != c.want || id != c.id || m != nil {
			t.Errorf("%s: id %d, %v, %v", name, id, m, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, m := range map[string]Message{
		"no bundle":         &Write{Contents: [][]byte{{1}}},
		"no content":        &Write{Bundles: [][]byte{{1}}},
		"three bundles":     &Write{Bundles: [][]byte{{1}, {1}, {1}}, Contents: [][]byte{{1}}},
		"long content":      &Write{Bundles: [][]byte{{1}}, Contents: [][]byte{make([]byte, MaxContent+1)}},
		"inside a chunk":    &Read{Requests: []byte{1}, Offset: 4095},
		"half a home":       &Read{Requests: []byte{1}, Homes: Homes{1}},
		"no role":           &Inventory{},
		"third role":        &Inventory{Role: 3},
		"row without id":    &ListenEvent{Rows: []Row{{}}},
		"long tag":          &ListenEvent{Rows: []Row{{ID: "a", Tag: make([]byte, 33)}}},
		"long statement":    &ListenEvent{Rows: []Row{{ID: "a", Statement: make([]byte, 513)}}},
		"shown too much":    &Read{Requests: []byte{1}, Statements: [][]byte{make([]byte, 513)}},
		"uneven outcomes":   &Deleted{Receipts: [][]byte{{}}},
		"uneven outcomes 2": &Acknowledged{Results: []Result{{}}},
		"success with text": &Deleted{Receipts: [][]byte{{}}, Results: []Result{{Text: "x"}}},
		"error ok":          &Error{},
		"error with escape": &Error{Code: 1, Text: "\x1b[2J"},
		"error not utf8":    &Error{Code: 1, Text: "\xff"},
		"error too long":    &Error{Code: 1, Text: strings.Repeat("x", MaxText+1)},
		"no statement":      &Contract{},
		"half a home more":  &Challenge{Challenges: []byte{1}, Homes: Homes{1}},
		"uneven answers":    &Challenged{Answers: [][]byte{{1}}, Chunks: [][]byte{{}, {}}, Results: []Result{{}}},
		"long chunk":        &Challenged{Answers: [][]byte{{1}}, Chunks: [][]byte{make([]byte, 4097)}, Results: []Result{{}}},
	} {
		if _, err := Encode(1, m); code.Of(err) != code.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorMapping(t *testing.T) {
	inside := errors.New("open /var/lib/relay: permission denied")
	for name, c := range map[string]struct {
		err  error
		code code.Code
		text string
		wait uint32
	}{
		"coded":         {code.New(code.NoFunds, "pay %d", 7), code.NoFunds, "pay 7", 0},
		"cause stays":   {code.Wrap(code.NotFound, inside, "no such record"), code.NotFound, "no such record", 0},
		"around":        {fmt.Errorf("handler: %w", code.New(code.Busy, "later")), code.Busy, "later", 0},
		"uncoded":       {inside, code.Internal, "", 0},
		"internal":      {code.Wrap(code.Internal, inside, "sign"), code.Internal, "", 0},
		"canceled":      {context.Canceled, code.Internal, "", 0},
		"eof":           {io.EOF, code.Internal, "", 0},
		"nil":           {nil, code.Internal, "", 0},
		"retry":         {WithRetry(code.New(code.Busy, "later"), 250), code.Busy, "later", 250},
		"control bytes": {code.New(code.Conflict, "a\nb\x1b[31m\xff"), code.Conflict, "a b [31m?", 0},
	} {
		m := NewError(c.err)
		if m.Code != c.code || m.Text != c.text || m.RetryAfter != c.wait {
			t.Errorf("%s: %+v", name, m)
		}
		frame, err := Encode(1, m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, back, err := Decode(frame, testLimit)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := back.(*Error).Err()
		if code.Of(got) != c.code || code.Text(got) != c.text || RetryAfter(got) != c.wait {
			t.Errorf("%s: came out as %v", name, got)
		}
	}
	if WithRetry(nil, 5) != nil || (Result{}).Err() != nil || RetryAfter(nil) != 0 {
		t.Error("no error must stay no error")
	}
}

func TestAnyErrorTextFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "text")
		err := code.New(code.Code(rapid.Uint16Range(2, 65535).Draw(t, "code")), "%s", raw)
		if _, e := Encode(1, NewError(err)); e != nil {
			t.Fatal(e)
		}
		if _, e := Encode(1, &Deleted{Receipts: [][]byte{nil}, Results: []Result{NewResult(err)}}); e != nil {
			t.Fatal(e)
		}
	})
}

func TestHomes(t *testing.T) {
	h := NewHomes(0, 65535)
	if v, ok := h.At(1); h.Len() != 2 || v != 65535 || !ok {
		t.Errorf("%v: %d %v", h, v, ok)
	}
	for _, i := range []int{-1, 2} {
		if _, ok := h.At(i); ok {
			t.Errorf("hint %d of 2", i)
		}
	}
}

// TestDecodeKeepsNothingOfTheFrame holds because readers reuse their buffer.
func TestDecodeKeepsNothingOfTheFrame(t *testing.T) {
	for _, m := range samples() {
		frame, _ := Encode(1, m)
		want := bytes.Clone(frame)
		_, back, err := Decode(frame, testLimit)
		if err != nil {
			t.Fatal(err)
		}
		for i := range frame {
			frame[i] ^= 0xff
		}
		if again, err := Encode(1, back); err != nil || !bytes.Equal(again, want) {
			t.Errorf("%s changed with the buffer it came in", m.Type())
		}
	}
}

func FuzzDecode(f *testing.F) {
	for i, m := range samples() {
		frame, _ := Encode(uint64(i), m)
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		id, m, err := Decode(frame, testLimit)
		if err != nil {
			if c := code.Of(err); c != code.Malformed && c != code.TooLarge && c != code.Unsupported {
				t.Fatalf("a bad frame is %v", err)
			}
			return
		}
		again, err := Encode(id, m)
		if err != nil || !bytes.Equal(frame, again) {
			t.Fatalf("accepted %x, writes %x (%v)", frame, again, err)
		}
	})
}
