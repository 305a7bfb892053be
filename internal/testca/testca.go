// Package testca makes certificates for tests.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// CA signs certificates.
type CA struct {
	PEM  []byte // its own certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority.
func New(t testing.TB) *CA {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &CA{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert, key}
}

// Pool is the authority as one that is believed.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.cert)
	return pool
}

// Issue makes a certificate, of a server and of a client, that is good until then.
// Its names are hosts, addresses, or URIs.
func (c *CA) Issue(t testing.TB, until time.Time, names ...string) (certificate, key []byte) {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if strings.Contains(name, "://") {
			uri, err := url.Parse(name)
			must(t, err)
			template.URIs = append(template.URIs, uri)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, &private.PublicKey, c.key)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// Certificate is Issue, ready for use, and good for an hour.
func (c *CA) Certificate(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	return pair(t)(c.Issue(t, time.Now().Add(time.Hour), names...))
}

// Expired is Certificate, but for its time.
func (c *CA) Expired(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	return pair(t)(c.Issue(t, time.Now().Add(-time.Minute), names...))
}

func pair(t testing.TB) func(certificate, key []byte) tls.Certificate {
	return func(certificate, key []byte) tls.Certificate {
		t.Helper()
		p, err := tls.X509KeyPair(certificate, key)
		must(t, err)
		return p
	}
}

// Replace is Write with new files in place of those that are there, as whoever renews
// certificates does: each is whole at every moment, and the three are not of one.
func (c *CA) Replace(t testing.TB, dir string, until time.Time, names ...string) {
	t.Helper()
	next := t.TempDir()
	c.Write(t, next, until, names...)
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		must(t, os.Rename(filepath.Join(next, name), filepath.Join(dir, name)))
	}
}

// Write puts a certificate, its key and the authority into a directory, as tls.crt,
// tls.key and ca.crt.
func (c *CA) Write(t testing.TB, dir string, until time.Time, names ...string) {
	t.Helper()
	certificate, key := c.Issue(t, until, names...)
	for name, text := range map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": c.PEM} {
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
