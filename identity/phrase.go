package identity

import (
	"io"
	"strings"

	"github.com/btcsuite/btcd/btcutil/v2/hdkeychain"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/tyler-smith/go-bip39"

	"relaymarket/internal/code"
)

// phraseEntropy is the strength of a new phrase: 128 bits, twelve words (BIP39).
const phraseEntropy = 16

// The roles that keys are derived for, as hardened children of m/1017'/coin'. A key serves
// one role only: whoever learns a money key must not be able to speak as the identity, and
// the other way round.
const (
	RoleIdentity       uint32 = 0 // signs statements
	RoleClientContract uint32 = 1 // parent of the client's contract keys
	RoleRelayContract  uint32 = 2 // parent of the relay's contract keys
)

// purpose is the first level of the project's derivation path (BIP43).
const purpose = 1017

// NewPhrase draws a recovery phrase of twelve English words (BIP39) from rand.
func NewPhrase(rand io.Reader) (string, error) {
	entropy := make([]byte, phraseEntropy)
	if _, err := io.ReadFull(rand, entropy); err != nil {
		return "", code.Wrap(code.Internal, err, "random bytes for a phrase")
	}
	words, err := bip39.NewMnemonic(entropy)
	return words, code.Wrap(code.Internal, err, "phrase")
}

// Seed turns a phrase and an optional passphrase into the 64-byte seed of BIP39. Words may be
// separated by any white space and written in any case; a wrong word or checksum is refused
// with code BadPhrase.
func Seed(phrase, passphrase string) ([]byte, error) {
	words := strings.Fields(strings.ToLower(phrase))
	list := bip39.GetWordList()
	for i, w := range words {
		if !contains(list, w) {
			return nil, code.New(code.BadPhrase, "word %d (%q) is not in the word list", i+1, w)
		}
	}
	seed, err := bip39.NewSeedWithErrorChecking(strings.Join(words, " "), passphrase)
	if err != nil {
		return nil, code.New(code.BadPhrase, "the %d words do not fit together", len(words))
	}
	return seed, nil
}

func contains(list []string, w string) bool {
	for _, x := range list {
		if x == w {
			return true
		}
	}
	return false
}

// CoinType is the second level of derivation paths (SLIP-44): 0 on mainnet, 1 elsewhere.
func (n Network) CoinType() uint32 {
	if n == Mainnet {
		return 0
	}
	return 1
}

// RoleKey derives the 32-byte private key at m/1017'/coin'/role' (BIP32, all hardened).
func RoleKey(seed []byte, network Network, role uint32) ([]byte, error) {
	// The parameters only colour the text form of extended keys, which is never used here.
	key, err := hdkeychain.NewMaster(seed, &chaincfg.MainNetParams)
	if err != nil {
		return nil, code.Wrap(code.BadPhrase, err, "seed")
	}
	for _, i := range []uint32{purpose, network.CoinType(), role} {
		if key, err = key.Derive(hdkeychain.HardenedKeyStart + i); err != nil {
			return nil, code.Wrap(code.Internal, err, "derive")
		}
	}
	priv, err := key.ECPrivKey()
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "derive")
	}
	return priv.Serialize(), nil
}

// FromSeed derives the identity key of a seed on a network.
func FromSeed(seed []byte, network Network) (PrivateKey, error) {
	raw, err := RoleKey(seed, network, RoleIdentity)
	if err != nil {
		return PrivateKey{}, err
	}
	return NewPrivateKey(raw)
}
