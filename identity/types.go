package identity

import "fmt"

// Type numbers a kind of statement. Numbers and names are never reused: the name is part of
// the digest.
type Type uint16

// The statements of the protocol. PROTOCOL.md lists them with their fields.
const (
	TypeRecord           Type = 1
	TypeStoreOrder       Type = 2
	TypeReceipt          Type = 3
	TypeReadRequest      Type = 4
	TypeAcknowledgement  Type = 5
	TypeDelete           Type = 6
	TypeDeleteReceipt    Type = 7
	TypeDenial           Type = 8
	TypeUsageReport      Type = 9
	TypeDissent          Type = 10
	TypeStorageChallenge Type = 11
	TypeStorageProof     Type = 12
	TypeGrantReceipt     Type = 15

	TypeServerBroadcast Type = 16
	TypeIdentity        Type = 17

	TypeContractOpen            Type = 32
	TypeContractServerAddInputs Type = 33
	TypeContractClientSigned    Type = 34
	TypeContractOpened          Type = 35
	TypeContractRequestPayment  Type = 36
	TypeContractPaymentUpdate   Type = 37
	TypeContractPaymentAck      Type = 38
	TypeContractRefundPayment   Type = 39
	TypeContractAbort           Type = 40
	TypeContractReady           Type = 41
	TypeContractReestablish     Type = 42
	TypeContractCloseNonce      Type = 43
	TypeContractCloseSig        Type = 44
	TypeContractNotice          Type = 45
	TypeAccountGrant            Type = 46
	TypeAccountRevoke           Type = 47
)

// Rule says what the `to` field of a statement type must be.
type Rule uint8

const (
	// ToParty: a key of another party, not zero.
	ToParty Rule = iota
	// ToNobody: zero, because the statement speaks to whoever reads it.
	ToNobody
)

// TypeInfo describes a statement type.
type TypeInfo struct {
	Type Type
	Name string // part of the digest tag: "relaymarket/v1/stmt/" + Name
	From string // who signs it
	To   string // who it is addressed to
	Rule Rule
	Max  int // largest encoding in bytes
}

// typeTable is the registry of statements; Types and PROTOCOL.md show it.
var typeTable = []TypeInfo{
	{TypeRecord, "record", "sender", "receiver", ToParty, 512},
	{TypeStoreOrder, "storeOrder", "payer", "relay", ToParty, 512},
	{TypeReceipt, "receipt", "relay", "payer", ToParty, 512},
	{TypeReadRequest, "readRequest", "receiver", "relay", ToParty, 256},
	{TypeAcknowledgement, "acknowledgement", "receiver", "relay or sender", ToParty, 512},
	{TypeDelete, "delete", "sender", "relay", ToParty, 256},
	{TypeDeleteReceipt, "deleteReceipt", "relay", "sender", ToParty, 512},
	{TypeDenial, "denial", "relay", "requester", ToParty, 4096},
	{TypeUsageReport, "usageReport", "relay", "client", ToParty, 8192},
	{TypeDissent, "dissent", "client", "relay", ToParty, 65536},
	{TypeStorageChallenge, "storageChallenge", "sender", "relay", ToParty, 256},
	{TypeStorageProof, "storageProof", "relay", "sender", ToParty, 1024},
	{TypeGrantReceipt, "grantReceipt", "relay", "sponsor", ToParty, 512},
	{TypeServerBroadcast, "serverBroadcast", "relay", "nobody", ToNobody, 8192},
	{TypeIdentity, "identity", "owner", "nobody", ToNobody, 16384},
	{TypeContractOpen, "contractOpen", "client", "relay", ToParty, 65536},
	{TypeContractServerAddInputs, "contractServerAddInputs", "relay", "client", ToParty, 65536},
	{TypeContractClientSigned, "contractClientSigned", "client", "relay", ToParty, 65536},
	{TypeContractOpened, "contractOpened", "relay", "client", ToParty, 65536},
	{TypeContractRequestPayment, "contractRequestPayment", "relay", "client", ToParty, 65536},
	{TypeContractPaymentUpdate, "contractPaymentUpdate", "client", "relay", ToParty, 8192},
	{TypeContractPaymentAck, "contractPaymentAck", "relay", "client", ToParty, 1024},
	{TypeContractRefundPayment, "contractRefundPayment", "client", "relay", ToParty, 65536},
	{TypeContractAbort, "contractAbort", "either side", "the other", ToParty, 1024},
	{TypeContractReady, "contractReady", "either side", "the other", ToParty, 1024},
	{TypeContractReestablish, "contractReestablish", "either side", "the other", ToParty, 65536},
	{TypeContractCloseNonce, "contractCloseNonce", "either side", "the other", ToParty, 4096},
	{TypeContractCloseSig, "contractCloseSig", "either side", "the other", ToParty, 1024},
	{TypeContractNotice, "contractNotice", "relay", "client", ToParty, 1024},
	{TypeAccountGrant, "accountGrant", "sponsor", "relay", ToParty, 512},
	{TypeAccountRevoke, "accountRevoke", "sponsor", "relay", ToParty, 256},
}

var typeIndex = func() map[Type]TypeInfo {
	m := make(map[Type]TypeInfo, len(typeTable))
	for _, t := range typeTable {
		m[t.Type] = t
	}
	return m
}()

// Types lists all statement types in ascending order.
func Types() []TypeInfo { return append([]TypeInfo(nil), typeTable...) }

// Info finds the description of a type.
func (t Type) Info() (TypeInfo, bool) {
	i, ok := typeIndex[t]
	return i, ok
}

// String is the registered name.
func (t Type) String() string {
	if i, ok := typeIndex[t]; ok {
		return i.Name
	}
	return fmt.Sprintf("type(%d)", uint16(t))
}
