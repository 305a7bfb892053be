//go:build go1.26

package emit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority signs certificates for 127.0.0.1, of servers and clients.
type authority struct {
	*testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{T: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	return a
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) issue() *tls.Certificate {
	a.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsFake is a fake collector that speaks TLS, and wants certificates.
type tlsFake struct {
	*fakeCollector
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func listenTLSFake(a *authority) *tlsFake {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{*a.issue()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool(),
	})
	if err != nil {
		a.Fatal(err)
	}
	f := &tlsFake{fakeCollector: newFake(nil), Listener: l}
	a.Cleanup(func() { l.Close(); f.cut() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, conn)
			f.mu.Unlock()
			go f.serve(f.spools[0], conn)
		}
	}()
	return f
}

// cut ends every connection without a word.
func (f *tlsFake) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		conn.(*tls.Conn).NetConn().Close()
	}
	f.conns = nil
}

// What a lost connection of TLS took with it comes again, and counts once.
func TestTLSResumes(t *testing.T) {
	a := newAuthority(t)
	f := listenTLSFake(a)
	var shown int
	config := &tls.Config{RootCAs: a.pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		shown++ // by one goroutine after the other
		return a.issue(), nil
	}}
	s, err := DialTLS(t.Context(), f.Addr().String(), config, Options{Stream: 4, FrameSize: 1000, FlushAge: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	const events = 5000
	for i := range uint64(events) {
		if err := s.Add(Event{Time: instant + int64(i), Content: i, User: i, Kind: Read}); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			f.cut()
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	stats := s.Stats()
	for _, bad := range f.check(events, stats) {
		t.Error(bad)
	}
	if stats.Acked != events || stats.Reconnects == 0 || uint64(shown) != stats.Reconnects+1 {
		t.Errorf("%d certificates were shown; %+v", shown, stats)
	}
}

// Whom nobody knows is not believed, on either side, and the error says so.
func TestTLSIsProved(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	f := listenTLSFake(a)
	_, port, _ := net.SplitHostPort(f.Addr().String())
	show := func(c *tls.Certificate) []tls.Certificate { return []tls.Certificate{*c} }
	for _, c := range []struct {
		name, host string
		config     *tls.Config
		want       string
	}{
		{"a collector of another authority", "127.0.0.1", &tls.Config{RootCAs: other.pool(), Certificates: show(a.issue())}, "signed by unknown authority"},
		{"a collector of nobody that the system knows", "127.0.0.1", nil, "signed by unknown authority"},
		{"another host's certificate", "localhost", &tls.Config{RootCAs: a.pool(), Certificates: show(a.issue())}, "localhost"},
		{"no certificate", "127.0.0.1", &tls.Config{RootCAs: a.pool()}, "certificate required"},
		{"a certificate of another authority", "127.0.0.1", &tls.Config{RootCAs: a.pool(), Certificates: show(other.issue())}, "unknown certificate authority"},
	} {
		s, err := DialTLS(t.Context(), net.JoinHostPort(c.host, port), c.config, Options{})
		if err == nil {
			_ = s.Close(context.Background())
		}
		if err == nil || !strings.Contains(err.Error(), "tls://"+c.host+":") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// A server that speaks nothing newer than TLS 1.2 is none.
func TestTLSIsNew(t *testing.T) {
	a := newAuthority(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*a.issue()}, MaxVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	config := &tls.Config{RootCAs: a.pool()}
	if _, err := DialTLS(t.Context(), l.Addr().String(), config, Options{}); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("%v", err)
	}
	if config.MinVersion != 0 {
		t.Error("the caller's configuration was changed")
	}
}
