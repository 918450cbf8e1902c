package wallet

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2/hdkeychain"
	"github.com/btcsuite/btcd/chaincfg/v2"
)

const (
	// contractPurpose is the BIP43 purpose of contract keys.
	contractPurpose = 1017

	// contractInfo is the HKDF info string of contract keys, to which one counter byte is added.
	contractInfo = "relaymarket/v1/contract-key"
)

// The roles of ContractKey: one seed may serve a client and a relay, and their keys must differ
// even for the same nonce. Role 0 is the identity's own (identity.RoleIdentity), which no money
// key may share.
const (
	// RoleClient is the role byte of the key C, who pays.
	RoleClient byte = 1
	// RoleRelay is the role byte of the key R, who is paid.
	RoleRelay byte = 2
)

// ContractKey derives the private key that one side uses in one contract, from its 64-byte BIP39
// seed and the contract's random nonce. It is the recovery rule of PROTOCOL.md: whoever has the
// phrase and the nonce (which the contract record and both sides' messages hold) can spend.
//
//	account = BIP32 private key at m / 1017' / coin' / role'     coin = SLIP-44 type of the network
//	for i = 0, 1, …, 255:
//	    b = HKDF-SHA256(ikm = ser256(account), salt = nonce,
//	                    info = "relaymarket/v1/contract-key" ‖ byte(i), length = 32)
//	    k = int(b), big-endian
//	    if 0 < k < n: return k                                   n = order of secp256k1
//
// Chain codes take no part. The nonce replaces an index because an index that is read from an old
// backup would be used twice. A second round is needed with probability 2^-128.
func ContractKey(seed []byte, params *chaincfg.Params, nonce [32]byte, role byte) (*btcec.PrivateKey, error) {
	account, err := contractAccount(seed, params, role)
	if err != nil {
		return nil, fmt.Errorf("wallet: contract key: %w", err)
	}
	defer clear(account)
	for i := range 256 {
		b, err := hkdf.Key(sha256.New, account, nonce[:], contractInfo+string([]byte{byte(i)}), 32)
		if err != nil {
			return nil, fmt.Errorf("wallet: contract key: %w", err)
		}
		if key, ok := scalar(b); ok {
			return key, nil
		}
	}
	return nil, errors.New("wallet: contract key: no valid key for this nonce")
}

// contractAccount is ser256 of the account's private key.
func contractAccount(seed []byte, params *chaincfg.Params, role byte) ([]byte, error) {
	key, err := hdkeychain.NewMaster(seed, params)
	if err != nil {
		return nil, err
	}
	for _, index := range []uint32{contractPurpose, params.HDCoinType, uint32(role)} {
		child, err := key.Derive(hdkeychain.HardenedKeyStart + index)
		key.Zero()
		if err != nil {
			return nil, err
		}
		key = child
	}
	defer key.Zero()
	priv, err := key.ECPrivKey()
	if err != nil {
		return nil, err
	}
	defer priv.Zero()
	return priv.Serialize(), nil
}

// scalar is b as a private key, if it is one: above zero and below the order of the curve.
func scalar(b []byte) (*btcec.PrivateKey, bool) {
	var k btcec.ModNScalar
	if overflow := k.SetByteSlice(b); overflow || k.IsZero() {
		return nil, false
	}
	return btcec.PrivKeyFromScalar(&k), true
}
