package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Pin is what an offer says of a certificate: the SHA-256 of its SubjectPublicKeyInfo
// (RFC 7469 §2.4), so that a certificate can be renewed under the same key.
func Pin(cert *x509.Certificate) identity.Digest {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// noEnd is RFC 5280's date for "no well-defined expiration" (§4.1.2.5). Nobody checks it: a
// certificate is trusted for its pin and given up by publishing another.
var noEnd = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// GenerateCertificate makes a self-signed ECDSA P-256 certificate for a relay, and its key,
// both in PEM, with the pin that belongs into the relay's offer. rand is asked for the
// certificate's serial number; where the Go version draws keys from its own secure source it
// is not asked for the key.
func GenerateCertificate(rand io.Reader, now time.Time) (certPEM, keyPEM []byte, pin identity.Digest, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, nil, pin, fmt.Errorf("certificate key: %w", err)
	}
	var serial [16]byte
	if _, err := io.ReadFull(rand, serial[:]); err != nil {
		return nil, nil, pin, fmt.Errorf("certificate serial: %w", err)
	}
	serial[0] = serial[0]&0x7f | 0x01 // positive and not zero (RFC 5280 §4.1.2.2)
	tmpl := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:]), Subject: pkix.Name{CommonName: "relay"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: noEnd,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, nil, pin, fmt.Errorf("certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, pin, fmt.Errorf("certificate key: %w", err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	_, pin, err = ParseCertificate(certPEM, keyPEM)
	return certPEM, keyPEM, pin, err
}

// ParseCertificate reads a certificate and its key from PEM and gives its pin. Any
// certificate will do, also one from an authority.
func ParseCertificate(certPEM, keyPEM []byte) (tls.Certificate, identity.Digest, error) {
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, identity.Digest{}, code.Wrap(code.BadConfig, err, "TLS certificate and key")
	}
	return c, Pin(c.Leaf), nil
}

// ServerTLS is the only TLS configuration of a relay: version 1.3, HTTP/1.1, no session
// tickets (a resumed session would show no certificate).
func ServerTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true,
	}
}

// clientTLS trusts a certificate for its pin alone. InsecureSkipVerify turns off chain and
// host name; that the server holds the certificate's key is part of TLS 1.3 itself.
func clientTLS(host string, pins []identity.Digest) *tls.Config {
	return &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		SessionTicketsDisabled: true, InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error { return checkPin(cs, pins) },
	}
}

func checkPin(cs tls.ConnectionState, pins []identity.Digest) error {
	if cs.Version < tls.VersionTLS13 || len(cs.PeerCertificates) == 0 || cs.DidResume {
		return code.New(code.PinMismatch, "the relay shows no certificate")
	}
	if got := Pin(cs.PeerCertificates[0]); !slices.Contains(pins, got) {
		return code.New(code.PinMismatch, "the relay shows certificate key %s…, which is not pinned", got.Short())
	}
	return nil
}

// exporter is the tls-exporter channel binding: label and length of RFC 9266 §2, no context.
func exporter(cs *tls.ConnectionState) (out [32]byte, err error) {
	if cs == nil {
		return out, nil
	}
	if !cs.HandshakeComplete || cs.Version < tls.VersionTLS13 {
		return out, errors.New("no TLS 1.3 handshake to bind to")
	}
	b, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, len(out))
	if err != nil {
		return out, fmt.Errorf("channel binding: %w", err)
	}
	return [32]byte(b), nil
}
