package evidence

import (
	"fmt"
	"strings"

	"relaymarket/identity"
)

// Class is a kind of fraud that can be proven. Numbers are never reused.
type Class uint8

// The classes. PROTOCOL.md says of each exactly when it is proven.
const (
	NoEvidence       Class         = 1
	Duplicate        Class         = 2
	WrongSum         Class         = 3
	OverCap          Class         = 4
	Oversize         Class         = 5
	Lost             Class         = 6
	FalseDenial      Class         = 7
	AfterEnd         Class         = 8
	TwoReports       Class         = 9
	BadConsistency   Class         = 10
	TwoRoots         Class         = 11
	OtherRow         Class         = 12
	AfterDenial      Class         = 13
	TwoOffers        Class         = 14
	TwoUpdates       Class         = 15
	DishonouredOffer Class         = 16
	RewrittenLog     Class         = 17
	FalseReceipt     Class         = 18
	BrokenRow        Class         = 19
	LostChallenged   Class         = 20
	FalseProof       Class         = 21
	lastClass                      = FalseProof
	anyType          identity.Type = 0
)

// slot is a place for a statement in the files of a class.
type slot struct {
	typ      identity.Type // anyType: whatever a denial names
	optional bool
}

func one(t identity.Type) slot   { return slot{t, false} }
func maybe(t identity.Type) slot { return slot{t, true} }

// rule is the shape of the files of one class.
type rule struct {
	name    string
	what    string // the fraud in a sentence
	slots   []slot // the statements, in this order
	minRows int
	maxRows int
	terms   bool // the contract's terms may be shown
	place   bool // the record's place in its order is shown, where record and order are
}

// custody are the statements that show a record in a relay's custody.
var custody = []slot{one(identity.TypeRecord), one(identity.TypeStoreOrder), one(identity.TypeReceipt)}

var rules = [lastClass + 1]rule{
	NoEvidence: {
		name: "no-evidence", what: "a row of the log is billed without a valid order, request or deletion",
		slots: []slot{maybe(identity.TypeRecord), maybe(identity.TypeAccountGrant), one(identity.TypeUsageReport)}, minRows: 1, maxRows: 1, terms: true,
	},
	Duplicate: {
		name: "duplicate", what: "one order, request or deletion is billed twice",
		slots: []slot{one(identity.TypeUsageReport)}, minRows: 2, maxRows: 2, terms: true,
	},
	WrongSum: {
		name: "wrong-sum", what: "the totals of the log do not follow from the row before and the agreed prices",
		slots: []slot{maybe(identity.TypeReceipt), one(identity.TypeUsageReport)}, maxRows: 2, terms: true,
	},
	OverCap: {
		name: "over-cap", what: "a record is read more often than its sender allows",
		slots: []slot{one(identity.TypeRecord), one(identity.TypeUsageReport)}, minRows: 2, maxRows: MaxRows, terms: true,
	},
	Oversize: {
		name: "oversize", what: "a row bills more bytes than the record, the order or the request has",
		slots: []slot{maybe(identity.TypeRecord), one(identity.TypeUsageReport)}, minRows: 1, maxRows: 1, terms: true,
	},
	Lost: {
		name: "lost", what: "a record is lost within the custody that the relay signed for",
		slots: append(custody[:3:3], one(identity.TypeReadRequest), one(identity.TypeDenial)), place: true,
	},
	FalseDenial: {
		name: "false-denial", what: "a read is denied with a reason that its evidence contradicts",
		slots: []slot{
			one(identity.TypeRecord), maybe(identity.TypeStoreOrder), maybe(identity.TypeReceipt),
			one(identity.TypeReadRequest), one(identity.TypeDenial), maybe(anyType),
		},
		maxRows: 1, place: true,
	},
	AfterEnd: {
		name: "after-end", what: "something is billed after the deletion, the end of custody or the time of its own order",
		slots: []slot{
			maybe(identity.TypeRecord), maybe(identity.TypeStoreOrder), maybe(identity.TypeReceipt),
			maybe(identity.TypeDeleteReceipt), one(identity.TypeUsageReport),
		},
		minRows: 1, maxRows: 2, terms: true, place: true,
	},
	TwoReports: {
		name: "two-reports", what: "two different usage reports have one number",
		slots: []slot{one(identity.TypeUsageReport), one(identity.TypeUsageReport)},
	},
	BadConsistency: {
		name: "bad-consistency", what: "a usage report embeds a consistency proof that fails",
		slots: []slot{one(identity.TypeUsageReport)},
	},
	TwoRoots: {
		name: "two-roots", what: "two usage reports give one log of one size two roots",
		slots: []slot{one(identity.TypeUsageReport), one(identity.TypeUsageReport)},
	},
	OtherRow: {
		name: "other-row", what: "the log has another row where a receipt or another report puts one",
		slots: []slot{
			maybe(identity.TypeReceipt), maybe(identity.TypeDeleteReceipt), one(identity.TypeUsageReport), maybe(identity.TypeUsageReport),
		},
		minRows: 1, maxRows: 2,
	},
	AfterDenial: {
		name: "after-denial", what: "a record is billed after the relay's own signed denial of it",
		slots:   append(custody[:3:3], one(identity.TypeReadRequest), one(identity.TypeDenial), one(identity.TypeUsageReport)),
		minRows: 1, maxRows: 1, terms: true, place: true,
	},
	TwoOffers: {
		name: "two-offers", what: "two different offers have one sequence",
		slots: []slot{one(identity.TypeServerBroadcast), one(identity.TypeServerBroadcast)},
	},
	TwoUpdates: {
		name: "two-updates", what: "two payment updates of one contract contradict each other",
		slots: []slot{one(identity.TypeContractPaymentUpdate), one(identity.TypeContractPaymentUpdate)},
	},
	DishonouredOffer: {
		name: "dishonoured-offer", what: "the relay does not stand by its own signed offer",
		slots: []slot{
			one(identity.TypeServerBroadcast), maybe(identity.TypeContractOpen),
			maybe(identity.TypeContractServerAddInputs), maybe(identity.TypeContractAbort),
		},
	},
	RewrittenLog: {
		name: "rewritten-log", what: "a later usage report does not go on from an earlier one",
		slots: []slot{one(identity.TypeUsageReport), one(identity.TypeUsageReport)},
	},
	FalseReceipt: {
		name: "false-receipt", what: "a receipt contradicts the order that it answers",
		slots: []slot{one(identity.TypeStoreOrder), one(identity.TypeReceipt)},
	},
	BrokenRow: {
		name: "broken-row", what: "a leaf of the signed log is no row, or stands at another place than it says",
		slots: []slot{one(identity.TypeUsageReport)}, minRows: 1, maxRows: 1,
	},
	LostChallenged: {
		name: "lost-challenged", what: "a record is lost within the custody that the relay signed for, as its sender's challenge shows",
		slots: append(custody[:3:3], one(identity.TypeStorageChallenge), one(identity.TypeDenial)), place: true,
	},
	FalseProof: {
		name: "false-proof", what: "a storage proof does not lead to the content that the record's sender signed",
		slots: []slot{one(identity.TypeRecord), one(identity.TypeStorageChallenge), one(identity.TypeStorageProof)},
	},
}

func (c Class) known() bool { return c >= 1 && c <= lastClass }

// String is the name of the class.
func (c Class) String() string {
	if !c.known() {
		return fmt.Sprintf("class(%d)", uint8(c))
	}
	return rules[c].name
}

// What is the fraud in a sentence.
func (c Class) What() string {
	if !c.known() {
		return "unknown"
	}
	return rules[c].what
}

// Classes lists all classes in order of their number.
func Classes() []Class {
	out := make([]Class, 0, lastClass)
	for c := Class(1); c <= lastClass; c++ {
		out = append(out, c)
	}
	return out
}

// Shape is what a file of the class holds, as PROTOCOL.md prints it: its statements in order, those
// in brackets where they are needed, and its rows.
func (c Class) Shape() (statements, rows string) {
	if !c.known() {
		return "", ""
	}
	r := rules[c]
	var names []string
	for _, s := range r.slots {
		name := s.typ.String()
		if s.typ == anyType {
			name = "any"
		}
		if s.optional {
			name = "[" + name + "]"
		}
		names = append(names, name)
	}
	switch {
	case r.maxRows == 0:
	case r.minRows == r.maxRows:
		rows = fmt.Sprint(r.maxRows)
	default:
		rows = fmt.Sprintf("%d to %d", r.minRows, r.maxRows)
	}
	return strings.Join(names, ", "), rows
}
