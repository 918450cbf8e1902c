package contract

import (
	"bytes"
	"sync"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/btcec/v2/schnorr/musig2"
	"github.com/btcsuite/btcd/txscript/v2"

	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

// numsKey is the x coordinate H of BIP341, whose discrete logarithm nobody knows: the internal key
// of an output that can be spent by its leaf only.
var numsKey = [33]byte{
	0x02,
	0x50, 0x92, 0x9b, 0x74, 0xc1, 0xa0, 0x49, 0x54, 0xb7, 0x8b, 0x4b, 0x60, 0x35, 0xe9, 0x7a, 0x5e,
	0x07, 0x8a, 0x5a, 0x0f, 0x28, 0xec, 0x96, 0xd5, 0x47, 0xbf, 0xee, 0x9a, 0xce, 0x80, 0x3a, 0xc0,
}

// maxScript bounds an output script of this protocol: native segwit, 34 bytes at most.
const maxScript = 34

// settleLeaf is L_settle: <C> OP_CHECKSIGVERIFY <R> OP_CHECKSIG, 68 bytes.
func (t Terms) settleLeaf() ([]byte, error) {
	c, r := t.ClientKey.xonly(), t.RelayKey.xonly()
	return txscript.NewScriptBuilder().
		AddData(c[:]).AddOp(txscript.OP_CHECKSIGVERIFY).
		AddData(r[:]).AddOp(txscript.OP_CHECKSIG).Script()
}

// refundLeaf is L_refund: <C> OP_CHECKSIGVERIFY <E> OP_CHECKLOCKTIMEVERIFY. E stays on the stack as
// the true result, which saves an OP_DROP; it is pushed minimally, so the script has 39 bytes at
// mainnet heights and fewer on a young chain.
func (t Terms) refundLeaf() ([]byte, error) { return lockedLeaf(t.ClientKey, t.Expiry) }

// lockedLeaf lets one key alone spend from a height on.
func lockedLeaf(k Key, from usage.Height) ([]byte, error) {
	x := k.xonly()
	return txscript.NewScriptBuilder().
		AddData(x[:]).AddOp(txscript.OP_CHECKSIGVERIFY).
		AddInt64(int64(from)).AddOp(txscript.OP_CHECKLOCKTIMEVERIFY).Script()
}

// delayLeaf is L_csv: <C> OP_CHECKSIGVERIFY OP_1 OP_CHECKSEQUENCEVERIFY, 36 bytes.
func (t Terms) delayLeaf() ([]byte, error) {
	c := t.ClientKey.xonly()
	return txscript.NewScriptBuilder().
		AddData(c[:]).AddOp(txscript.OP_CHECKSIGVERIFY).
		AddOp(txscript.OP_1).AddOp(txscript.OP_CHECKSEQUENCEVERIFY).Script()
}

// taproot is an output script with what is needed to spend it by a leaf.
type taproot struct {
	script  []byte           // OP_1 <output key>
	leaf    txscript.TapLeaf // the leaf to spend by
	control []byte           // its control block
	root    [32]byte         // of the tree of leaves
}

// escrow is the escrow output, opened for its settlement or its refund leaf.
func (t Terms) escrow(refund bool) (taproot, error) {
	settle, err := t.settleLeaf()
	if err != nil {
		return taproot{}, badScript(err)
	}
	back, err := t.refundLeaf()
	if err != nil {
		return taproot{}, badScript(err)
	}
	internal, err := t.aggregateKey()
	if err != nil {
		return taproot{}, err
	}
	spend := settle
	if refund {
		spend = back
	}
	return buildTaproot(internal, spend, settle, back)
}

// delayed is the client's output of a settlement, spendable one block later by L_csv.
func (t Terms) delayed() (taproot, error) {
	leaf, err := t.delayLeaf()
	if err != nil {
		return taproot{}, badScript(err)
	}
	h, err := numsPoint()
	if err != nil {
		return taproot{}, badScript(err)
	}
	return buildTaproot(h, leaf, leaf)
}

// numsPoint is H as a point of the curve.
var numsPoint = sync.OnceValues(func() (*btcec.PublicKey, error) { return btcec.ParsePubKey(numsKey[:]) })

var (
	aggregates memo[[2]Key, *btcec.PublicKey]
	taproots   memo[string, taproot]
)

// aggregateKey is KeyAgg(KeySort(C, R)) of BIP327: the internal key of the escrow.
func (t Terms) aggregateKey() (*btcec.PublicKey, error) {
	return aggregates.get([2]Key{t.ClientKey, t.RelayKey}, t.aggregate)
}

func (t Terms) aggregate() (*btcec.PublicKey, error) {
	c, err := t.ClientKey.point()
	if err != nil {
		return nil, err
	}
	r, err := t.RelayKey.point()
	if err != nil {
		return nil, err
	}
	agg, _, _, err := musig2.AggregateKeys([]*btcec.PublicKey{c, r}, true)
	if err != nil {
		return nil, code.Wrap(code.BadKey, err, "the contract keys do not aggregate")
	}
	return agg.PreTweakedKey, nil
}

// buildTaproot makes the output of internal key and leaves, opened for the leaf to spend by. What it gives is the caller's.
func buildTaproot(internal *btcec.PublicKey, spend []byte, leaves ...[]byte) (taproot, error) {
	of := codec.AppendList(nil, append([][]byte{internal.SerializeCompressed(), spend}, leaves...))
	out, err := taproots.get(string(of), func() (taproot, error) { return computeTaproot(internal, spend, leaves) })
	out.script, out.control, out.leaf.Script = bytes.Clone(out.script), bytes.Clone(out.control), bytes.Clone(out.leaf.Script)
	return out, err
}

func computeTaproot(internal *btcec.PublicKey, spend []byte, leaves [][]byte) (taproot, error) {
	taps := make([]txscript.TapLeaf, len(leaves))
	for i, l := range leaves {
		taps[i] = txscript.NewBaseTapLeaf(l)
	}
	tree := txscript.AssembleTaprootScriptTree(taps...)
	root := tree.RootNode.TapHash()
	script, err := txscript.PayToTaprootScript(txscript.ComputeTaprootOutputKey(internal, root[:]))
	if err != nil {
		return taproot{}, badScript(err)
	}
	leaf := txscript.NewBaseTapLeaf(spend)
	proof := tree.LeafMerkleProofs[tree.LeafProofIndex[leaf.TapHash()]]
	block := proof.ToControlBlock(internal)
	control, err := block.ToBytes()
	return taproot{script, leaf, control, root}, badScript(err)
}

func badScript(err error) error { return code.Wrap(code.BadScript, err, "a script cannot be built") }

// EscrowScript is the output script of the escrow; it needs both contract keys and E.
func (t Terms) EscrowScript() ([]byte, error) {
	out, err := t.escrow(false)
	return out.script, err
}

// DelayedScript is the script of the client's output in a settlement.
func (t Terms) DelayedScript() ([]byte, error) {
	out, err := t.delayed()
	return out.script, err
}

// checkPayout refuses payout scripts other than native segwit of a known kind: P2WPKH, P2WSH and
// P2TR. Their size is known, they are standard, and they have a dust limit of at most 330 sat.
func checkPayout(script []byte) error {
	switch {
	case txscript.IsPayToWitnessPubKeyHash(script), txscript.IsPayToWitnessScriptHash(script):
		return nil
	case txscript.IsPayToTaproot(script):
		_, err := schnorr.ParsePubKey(script[2:])
		return code.Wrap(code.BadScript, err, "a payout key is not on the curve")
	}
	return code.New(code.BadScript, "a payout script of %d bytes is not native segwit", len(script))
}

// isFundable tells whether a coin's script may fund a contract (check 16): P2TR or P2WPKH, so that
// the txid is fixed before anybody signs and the size of the witness is known.
func isFundable(script []byte) bool {
	return txscript.IsPayToTaproot(script) || txscript.IsPayToWitnessPubKeyHash(script)
}

// dustLimit is the least output of this protocol: the dust limit of P2TR and P2WSH. Below it a
// settlement leaves the client's output out.
const dustLimit usage.Sat = 330

// changeLimit is the dust limit of a change output, which is lower for P2WPKH.
func changeLimit(script []byte) usage.Sat {
	if txscript.IsPayToWitnessPubKeyHash(script) {
		return 294
	}
	return dustLimit
}

// snap is the payment that is really made when P is agreed: all of V where the client's rest
// would be dust.
func snap(v, p usage.Sat) usage.Sat {
	if p < v && v-p < dustLimit {
		return v
	}
	return p
}

func sameScript(a, b []byte) bool { return bytes.Equal(a, b) }
