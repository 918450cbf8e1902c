package contract

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/chainhash/v2"

	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

// Recovery is what a client must have besides its phrase to get out of a contract with no database and no
// peer: the agreed terms and the funding transaction's id. It never changes after the opening, so
// one copy, made then, is enough for the contract's whole life. With the relay's help it brings back
// everything else, because the relay returns the latest update (contractReestablish).
//
// Encoding: version byte 1, then TLV 0 terms, 2 funding txid in the order in which it is hashed.
type Recovery struct {
	Terms   Terms
	Funding chainhash.Hash
}

const (
	recoveryVersion = 1
	recoveryPrefix  = "relaymarket-recovery:"
	// MaxRecovery bounds the text of a sealed Recovery, in bytes.
	MaxRecovery = 4096
	gcmNonce    = 12
)

// Recovery is the client's way back into the contract; not ok before the terms are complete, and on
// the relay's side.
func (c Contract) Recovery() (Recovery, bool) {
	return Recovery{c.terms, c.funding}, c.role == Client && c.complete()
}

func (r *Recovery) fields(terms *[]byte) []codec.Field {
	return []codec.Field{codec.Bytes(0, terms, 1, maxTerms), codec.Fixed(2, r.Funding[:])}
}

// Seal encrypts the recovery with a key that only the phrase's seed gives (HKDF-SHA256, info
// "relaymarket/v1/recovery"; AES-256-GCM with the random nonce in front) and writes it as one line
// of text that can be printed and typed.
func (r Recovery) Seal(seed []byte, nonce [gcmNonce]byte) (string, error) {
	terms, err := r.Terms.Encode()
	if err != nil {
		return "", err
	}
	plain, err := codec.Append([]byte{recoveryVersion}, r.fields(&terms)...)
	if err != nil {
		return "", code.Wrap(code.Internal, err, "the recovery cannot be written")
	}
	box, err := recoveryBox(seed)
	if err != nil {
		return "", err
	}
	return recoveryPrefix + base64.RawURLEncoding.EncodeToString(box.Seal(nonce[:], nonce[:], plain, nil)), nil
}

// OpenRecovery reads what Seal wrote; spaces and line breaks do no harm. Codes: Malformed for what is
// no recovery or was typed wrongly, WalletWrongPhrase for that of another phrase or passphrase.
func OpenRecovery(seed []byte, text string) (Recovery, error) {
	text = strings.Join(strings.Fields(text), "")
	body, ok := strings.CutPrefix(text, recoveryPrefix)
	if !ok || len(text) > MaxRecovery {
		return Recovery{}, code.New(code.Malformed, "a recovery begins with %s", recoveryPrefix)
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || len(raw) <= gcmNonce {
		return Recovery{}, code.New(code.Malformed, "letters of the recovery are missing or wrong")
	}
	box, err := recoveryBox(seed)
	if err != nil {
		return Recovery{}, err
	}
	plain, err := box.Open(nil, raw[:gcmNonce], raw[gcmNonce:], nil)
	if err != nil {
		return Recovery{}, code.New(code.WalletWrongPhrase, "the recovery is not of this phrase and passphrase, or a letter of it is wrong")
	}
	return decodeRecovery(plain)
}

func decodeRecovery(plain []byte) (Recovery, error) {
	if len(plain) == 0 || plain[0] != recoveryVersion {
		return Recovery{}, code.New(code.Unsupported, "not a recovery of version %d", recoveryVersion)
	}
	var r Recovery
	var terms []byte
	if err := codec.Decode(plain[1:], MaxRecovery, r.fields(&terms)...); err != nil {
		return Recovery{}, code.Wrap(code.Malformed, err, "not a recovery")
	}
	var err error
	if r.Terms, err = DecodeTerms(terms); err != nil {
		return Recovery{}, err
	}
	return r, r.Terms.Check()
}

// recoveryBox is the cipher of recoveries under a seed.
func recoveryBox(seed []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, seed, nil, "relaymarket/v1/recovery", 32)
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "recovery key")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "recovery key")
	}
	box, err := cipher.NewGCM(block)
	return box, code.Wrap(code.Internal, err, "recovery key")
}

// Recover (client) brings a contract back of which nothing is left but its Recovery: StateNew →
// StateFunding, until the chain shows more. The first payment is signed again, as it was; the
// relay returns the later ones. Without the relay the refund at E is the way out, as ever.
type Recover struct {
	Recovery Recovery
	Key      *btcec.PrivateKey // C, derived from the nonce in the terms
	Tip      usage.Height
}

func (e Recover) apply(c *Contract) ([]Effect, error) {
	if c.stage != stageNew {
		return nil, code.New(code.BadState, "the contract is known and %s", c.State())
	}
	t := e.Recovery.Terms
	if err := t.Check(); err != nil {
		return nil, err
	}
	if err := checkPrivate(e.Key, t.ClientKey); err != nil {
		return nil, err
	}
	c.begin(Client, t, nil, Change{}, e.Tip)
	c.funding, c.stage, c.facts.fundingSeen = e.Recovery.Funding, stageFunding, true
	ladder, err := c.signLadder(t.FirstPayment, e.Key)
	if err != nil {
		return nil, err
	}
	c.n, c.acked, c.paid, c.ladder = 1, 1, t.FirstPayment, ladder
	return nil, nil
}

// recovered tells whether the coins and the opening of the contract are unknown here.
func (c Contract) recovered() bool { return c.complete() && len(c.coins) == 0 }
