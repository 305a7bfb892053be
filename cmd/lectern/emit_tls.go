package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	flag "github.com/spf13/pflag"

	"github.com/lectern/lectern/emit"
)

// emitTLS says whom an emitter believes, and what it shows.
type emitTLS struct {
	ca, certificate, key string // files
	named                string // what messages call them, before "ca", "cert" and "key"
}

func (t *emitTLS) flags(flags *flag.FlagSet) {
	t.named = "--tls-"
	flags.StringVar(&t.ca, "tls-ca", "", "")
	flags.StringVar(&t.certificate, "tls-cert", "", "")
	flags.StringVar(&t.key, "tls-key", "", "")
}

// config reads the files.
func (t *emitTLS) config() (*tls.Config, error) {
	c := new(tls.Config)
	if t.ca != "" {
		text, err := os.ReadFile(t.ca)
		if err != nil {
			return nil, fmt.Errorf("cannot read %sca: %w", t.named, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%sca %s has no certificate in PEM", t.named, t.ca)
		}
	}
	if t.certificate == "" {
		return c, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(t.certificate, t.key)
		if err != nil {
			return nil, fmt.Errorf("%[1]scert %[2]s with %[1]skey %[3]s: %[4]w", t.named, t.certificate, t.key, err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return c, nil
}

// dialTCP connects as --to says, where something is acknowledged.
func (o *emitOptions) dialTCP(ctx context.Context) (*emit.TCP, error) {
	if o.network != "tls" {
		return emit.DialTCP(ctx, o.address, o.client)
	}
	config, err := o.tls.config()
	if err != nil {
		return nil, err
	}
	return emit.DialTLS(ctx, o.address, config, o.client)
}
