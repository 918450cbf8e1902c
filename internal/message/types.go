package message

import "fmt"

// Type numbers a message. Numbers are never reused.
type Type uint16

// The messages of the protocol: the only place with their numbers.
const (
	TypeHello         Type = 1
	TypeHelloRelay    Type = 2
	TypeAuth          Type = 3
	TypeWelcome       Type = 4
	TypeError         Type = 5
	TypePing          Type = 6
	TypePong          Type = 7
	TypeWrite         Type = 10
	TypeWritten       Type = 11
	TypeRead          Type = 12
	TypeReadData      Type = 13
	TypeInventory     Type = 14
	TypeInventoryPage Type = 15
	TypeListen        Type = 16
	TypeListenEvent   Type = 17
	TypeDelete        Type = 18
	TypeDeleted       Type = 19
	TypeAcknowledge   Type = 20
	TypeAcknowledged  Type = 21
	TypeRequestUsage  Type = 22
	TypeUsageReport   Type = 23
	TypePutIdentity   Type = 24
	TypeOK            Type = 25
	TypeGetIdentity   Type = 26
	TypeIdentity      Type = 27
	TypeGetOffer      Type = 28
	TypeOffer         Type = 29
	TypeAccount       Type = 30
	TypeAccountInfo   Type = 31
	TypeGrant         Type = 32
	TypeGranted       Type = 33
	TypeRequestLane   Type = 34
	TypeLane          Type = 35
	TypeChallenge     Type = 36
	TypeChallenged    Type = 37
	TypeContract      Type = 40
	TypeCancel        Type = 41
)

// Sender says which side sends a message.
type Sender uint8

// The two sides of a session, and messages that both send.
const (
	FromClient Sender = iota + 1
	FromRelay
	FromEither
)

// String names the side.
func (s Sender) String() string {
	switch s {
	case FromClient:
		return "client"
	case FromRelay:
		return "relay"
	case FromEither:
		return "either"
	}
	return fmt.Sprintf("sender(%d)", uint8(s))
}

// Info describes a message type: one row of the table in PROTOCOL.md.
type Info struct {
	Type Type
	Name string
	From Sender
	// Answers are the types that may answer it, besides error; empty for a message that is
	// itself an answer.
	Answers []Type
	// Streams tells that many answers may come for one request; Final finds the last one.
	Streams bool
	// Anonymous tells that a session without a proven client identity may send it.
	Anonymous bool

	make func() Message
}

// table is the registry of messages; Types and PROTOCOL.md show it.
var table = []Info{
	{Type: TypeHello, Name: "hello", From: FromClient, Answers: []Type{TypeHelloRelay}, Anonymous: true, make: empty[Hello]},
	{Type: TypeHelloRelay, Name: "helloRelay", From: FromRelay, make: empty[HelloRelay]},
	{Type: TypeAuth, Name: "auth", From: FromClient, Answers: []Type{TypeWelcome}, Anonymous: true, make: empty[Auth]},
	{Type: TypeWelcome, Name: "welcome", From: FromRelay, make: empty[Welcome]},
	{Type: TypeError, Name: "error", From: FromRelay, make: empty[Error]},
	{Type: TypePing, Name: "ping", From: FromClient, Answers: []Type{TypePong}, Anonymous: true, make: empty[Ping]},
	{Type: TypePong, Name: "pong", From: FromRelay, make: empty[Pong]},
	{Type: TypeWrite, Name: "write", From: FromClient, Answers: []Type{TypeWritten}, make: empty[Write]},
	{Type: TypeWritten, Name: "written", From: FromRelay, make: empty[Written]},
	{Type: TypeRead, Name: "read", From: FromClient, Answers: []Type{TypeReadData}, Streams: true, make: empty[Read]},
	{Type: TypeReadData, Name: "readData", From: FromRelay, make: empty[ReadData]},
	{Type: TypeInventory, Name: "inventory", From: FromClient, Answers: []Type{TypeInventoryPage}, make: empty[Inventory]},
	{Type: TypeInventoryPage, Name: "inventoryPage", From: FromRelay, make: empty[InventoryPage]},
	{Type: TypeListen, Name: "listen", From: FromClient, Answers: []Type{TypeListenEvent}, Streams: true, make: empty[Listen]},
	{Type: TypeListenEvent, Name: "listenEvent", From: FromRelay, make: empty[ListenEvent]},
	{Type: TypeDelete, Name: "delete", From: FromClient, Answers: []Type{TypeDeleted}, make: empty[Delete]},
	{Type: TypeDeleted, Name: "deleted", From: FromRelay, make: empty[Deleted]},
	{Type: TypeAcknowledge, Name: "acknowledge", From: FromClient, Answers: []Type{TypeAcknowledged}, make: empty[Acknowledge]},
	{Type: TypeAcknowledged, Name: "acknowledged", From: FromRelay, make: empty[Acknowledged]},
	{Type: TypeRequestUsage, Name: "requestUsage", From: FromClient, Answers: []Type{TypeUsageReport}, make: empty[RequestUsage]},
	{Type: TypeUsageReport, Name: "usageReport", From: FromRelay, make: empty[UsageReport]},
	{Type: TypePutIdentity, Name: "putIdentity", From: FromClient, Answers: []Type{TypeOK}, make: empty[PutIdentity]},
	{Type: TypeOK, Name: "ok", From: FromRelay, make: empty[OK]},
	{Type: TypeGetIdentity, Name: "getIdentity", From: FromClient, Answers: []Type{TypeIdentity}, make: empty[GetIdentity]},
	{Type: TypeIdentity, Name: "identity", From: FromRelay, make: empty[Identity]},
	{Type: TypeGetOffer, Name: "getOffer", From: FromClient, Answers: []Type{TypeOffer}, Anonymous: true, make: empty[GetOffer]},
	{Type: TypeOffer, Name: "offer", From: FromRelay, make: empty[Offer]},
	{Type: TypeAccount, Name: "account", From: FromClient, Answers: []Type{TypeAccountInfo}, make: empty[Account]},
	{Type: TypeAccountInfo, Name: "accountInfo", From: FromRelay, make: empty[AccountInfo]},
	{Type: TypeGrant, Name: "grant", From: FromClient, Answers: []Type{TypeGranted}, make: empty[Grant]},
	{Type: TypeGranted, Name: "granted", From: FromRelay, make: empty[Granted]},
	{Type: TypeRequestLane, Name: "requestLane", From: FromClient, Answers: []Type{TypeLane}, make: empty[RequestLane]},
	{Type: TypeLane, Name: "lane", From: FromRelay, make: empty[Lane]},
	{Type: TypeChallenge, Name: "challenge", From: FromClient, Answers: []Type{TypeChallenged}, make: empty[Challenge]},
	{Type: TypeChallenged, Name: "challenged", From: FromRelay, make: empty[Challenged]},
	{Type: TypeContract, Name: "contract", From: FromEither, Answers: []Type{TypeContract, TypeOK}, make: empty[Contract]},
	{Type: TypeCancel, Name: "cancel", From: FromClient, Answers: []Type{TypeOK}, make: empty[Cancel]},
}

// empty makes a message of type T to decode into.
func empty[T any, P interface {
	*T
	Message
}]() Message {
	return P(new(T))
}

var byType = func() map[Type]*Info {
	m := make(map[Type]*Info, len(table))
	for i := range table {
		m[table[i].Type] = &table[i]
	}
	return m
}()

// Types lists all messages in ascending order of number.
func Types() []Info { return append([]Info(nil), table...) }

// Info finds the description of a type.
func (t Type) Info() (Info, bool) {
	if i, ok := byType[t]; ok {
		return *i, true
	}
	return Info{}, false
}

// String is the registered name, or message(N) for a number this version does not know.
func (t Type) String() string {
	if i, ok := byType[t]; ok {
		return i.Name
	}
	return fmt.Sprintf("message(%d)", uint16(t))
}

// AnsweredBy tells whether a message of type a may answer a request of type t. An error
// answers every request.
func (t Type) AnsweredBy(a Type) bool {
	i, ok := byType[t]
	if !ok || len(i.Answers) == 0 {
		return false
	}
	if a == TypeError {
		return true
	}
	for _, x := range i.Answers {
		if x == a {
			return true
		}
	}
	return false
}

// Final tells whether m ends its request: an error always does, a piece of a read only if it
// says so, a listen event never.
func Final(m Message) bool {
	switch m := m.(type) {
	case *ReadData:
		return m.End
	case *ListenEvent:
		return false
	}
	return true
}
