package store

import (
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/records"
)

var updateClient = flag.Bool("update-client", false, "write testdata/client-v1 again; only when no such store is in anybody's hands")

const oldClient = "testdata/client-v1"

// writeOldClient makes a store with something of everything that lives long.
func writeOldClient(t *testing.T) {
	m := newMarket(t)
	o := m.compose(t, 2)
	ok(t, m.c.Enqueue(cctx, cnow, o))
	ok(t, m.c.SaveReceipt(cctx, m.receipt(t, o.Order)))
	ok(t, m.c.Enqueue(cctx, cnow, m.compose(t, 1)))
	val(m.c.SaveReceived(cctx, cnow, m.incoming(t)))(t)
	ok(t, m.c.SaveContact(cctx, cnow, m.friend.Public(), "friend"))
	ok(t, m.c.SaveDocument(cctx, cnow, m.document(t, m.friend, 1, "f")))
	ok(t, m.c.SaveOwnDocument(cctx, m.document(t, m.me, 1, "me")))
	ok(t, m.c.SetBudget(cctx, cnow, 1000, 0))
	val(m.c.ApprovePayment(cctx, Payment{Contract: m.contract, Cumulative: 500, Time: cnow}, false))(t)
	val(m.c.SaveContracts(cctx, ContractBatch{
		Rows: []ContractRow{{Nonce: [32]byte{1}, Row: []byte("row")}}, Effects: []Pending{{Data: []byte("effect")}}, Cursor: []byte("tip"),
	}))(t)
	report, rows := m.report(t, 1, 2)
	ok(t, m.c.SaveReport(cctx, report, 0, rows))
	ok(t, m.c.SaveOffers(cctx, cnow, []broadcast.VerifiedOffer{m.offer(t, 1)}))
	val(m.c.SaveEvidence(cctx, Evidence{Name: "paper", Bytes: []byte("paper")}))(t)
	ok(t, m.c.Close())
	ok(t, os.RemoveAll(oldClient))
	ok(t, os.MkdirAll(oldClient, 0o755))
	_, err := vfs.Clone(m.fs, vfs.Default, "client", oldClient)
	ok(t, err)
}

// TestClientOpensAnOldStore: what this version's first users have on disk can be read for ever.
func TestClientOpensAnOldStore(t *testing.T) {
	if *updateClient {
		writeOldClient(t)
	}
	m := newMarket(t)
	ok(t, m.c.Close())
	fs := vfs.NewMem()
	_, err := vfs.Clone(vfs.Default, fs, oldClient, "client")
	ok(t, err)
	c := val(OpenClient(m.options(fs)))(t)
	if sent := val(c.Outbox(cctx, 0, 9))(t); len(sent) != 3 || sent[0].Stored == 0 || sent[2].Stored != 0 || !sent[0].HasPlain {
		t.Fatalf("%+v", sent)
	}
	queue, box := val(c.Queue(cctx, identity.PublicKey{}))(t), val(c.Inbox(cctx, 0, 9))(t)
	if len(queue) != 1 || len(val(c.QueuedWrite(cctx, queue[0].Order))(t).Contents) != 1 || len(box) != 1 {
		t.Fatal("queue or inbox")
	}
	if e := val(c.SendEpoch(cctx, m.friend.Public()))(t); e.Counter != 3 {
		t.Fatalf("counter %d", e.Counter)
	}
	if len(val(c.SealingKeys(cctx))(t)) != 1 || val(c.RecvThread(cctx, m.friend.Public()))(t).Highest != 1 {
		t.Fatal("keys or conversation")
	}
	if p := val(c.AuditPapers(cctx, m.contract))(t); len(p.Orders) != 2 || p.Orders[0].Receipt.IsZero() {
		t.Fatal("audit papers")
	}
	oldMoney(t, m, c)
	oldSummaries(t, c, box[0].Digest)
	content := val(records.DecodeContent(val(c.Plain(cctx, box[0].Digest))(t)))(t)
	if string(content.Body) != "from a friend" || len(val(c.DeliveryAcks(cctx, m.relay.Public(), 9))(t)) != 1 {
		t.Fatal("received")
	}
	ok(t, c.Close())
}

// oldSummaries: that store is from before summaries, so they can be added, to what is still kept.
func oldSummaries(t *testing.T, c *Client, record identity.Digest) {
	if _, kept, err := c.Summary(cctx, record); kept || err != nil {
		t.Fatalf("a summary that was never made: %v", err)
	}
	want := Summary{MediaType: records.MediaText, Body: 13, Preview: "from a friend"}
	ok(t, c.SaveSummaries(cctx, map[identity.Digest]Summary{record: want, {1}: want}))
	if s, kept, err := c.Summary(cctx, record); !kept || err != nil || !reflect.DeepEqual(s, want) {
		t.Fatalf("%+v %v", s, err)
	}
	if _, kept, err := c.Summary(cctx, identity.Digest{1}); kept || err != nil {
		t.Fatalf("a summary of nothing: %v", err)
	}
}

func oldMoney(t *testing.T, m *market, c *Client) {
	if b := val(c.Budget(cctx, cnow))(t); b.Spent != 500 || len(val(c.Payments(cctx, m.contract))(t)) != 1 {
		t.Fatal("money")
	}
	if len(val(c.Contracts(cctx))(t)) != 1 || len(val(c.PendingEffects(cctx))(t)) != 1 || string(val(c.ChainCursor(cctx))(t)) != "tip" {
		t.Fatal("contracts")
	}
	if len(val(c.Rows(cctx, m.contract, 0, 0, 9))(t)) != 2 || len(val(c.Offers(cctx))(t)) != 1 || len(val(c.Evidence(cctx))(t)) != 1 {
		t.Fatal("papers")
	}
	val(c.LastReport(cctx, m.contract))(t)
	if f := val(c.Contact(cctx, m.friend.Public()))(t); f.Label != "friend" || val(c.OwnDocument(cctx))(t).IsZero() {
		t.Fatal("contacts")
	}
}
