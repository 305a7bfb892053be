// Package certs keeps the certificates of the TLS port as their files have them.
package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files are where the certificates are, in PEM.
type Files struct {
	Certificate string // of this server, the authorities between behind it
	Key         string
	ClientCA    string // those who sign certificates of clients; "" takes clients without any
}

// Store has the certificates that were good last. Its methods may be called from
// any goroutine.
type Store struct {
	current atomic.Pointer[loaded]

	mu  sync.Mutex // held while the files are read; protects what follows
	bad bool       // what the files had last is of no use
}

// loaded is what was read once.
type loaded struct {
	config   *tls.Config
	notAfter time.Time
	sum      [sha256.Size]byte
}

// Open reads the files for the first time: then they must be good.
func Open(f Files) (*Store, error) {
	s := new(Store)
	if _, err := s.Load(f); err != nil {
		return nil, err
	}
	return s, nil
}

// Load reads the files, and says whether they hold anything new. With an error the
// certificates from before go on.
func (s *Store) Load(f Files) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := read(f)
	s.bad = err != nil
	if err != nil {
		return false, err
	}
	before := s.current.Load()
	if before != nil && before.sum == now.sum {
		return false, nil
	}
	s.current.Store(now)
	return true, nil
}

// Config is what the next handshake goes by.
func (s *Store) Config() *tls.Config { return s.current.Load().config }

// NotAfter is when the certificate that is shown to clients is over.
func (s *Store) NotAfter() time.Time { return s.current.Load().notAfter }

// Bad says that the files as they were last read are of no use.
func (s *Store) Bad() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad
}

// read reads the files.
func read(f Files) (*loaded, error) {
	sum := sha256.New()
	text := func(path string) ([]byte, error) {
		b, err := os.ReadFile(path)
		fmt.Fprintf(sum, "%d ", len(b))
		sum.Write(b)
		return b, err
	}
	certificate, err := text(f.Certificate)
	if err != nil {
		return nil, fmt.Errorf("read tls.certificate: %w", err)
	}
	key, err := text(f.Key)
	if err != nil {
		return nil, fmt.Errorf("read tls.key: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("tls.certificate %s with tls.key %s: %w", f.Certificate, f.Key, err)
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("tls.certificate %s is over since %s: have a new one issued", f.Certificate, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		// Each connection is proved anew, by the authorities that are there then.
		SessionTicketsDisabled: true,
	}
	if f.ClientCA != "" {
		authorities, err := text(f.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("read tls.client_ca: %w", err)
		}
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("tls.client_ca %s has no certificate in PEM", f.ClientCA)
		}
	}
	l := &loaded{config: config, notAfter: pair.Leaf.NotAfter}
	sum.Sum(l.sum[:0])
	return l, nil
}
