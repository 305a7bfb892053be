package clickhouse

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// streamReserved is the stream of receipts; no emitter has it.
const streamReserved = 65535

// Options say where ClickHouse is, and how a Store uses it.
type Options struct {
	Addresses    []string // host:port of the native protocol; tried in turn
	Cluster      string   // whose shards and replicas a Store finds in system.clusters; empty: Addresses are one shard's
	Database     string
	User         string
	Password     Secret
	PasswordFile string // read at each connect, and stronger than Password; empty for none
	Compression  string // "lz4", "zstd" or "none"
	TLS          bool
	TLSCA        string // file of PEM certificates; empty for the system's

	DialTimeout time.Duration // to connect and shake hands; 0: 5 s
	// AnswerMax is how long an answer may take before the connection is given
	// up. Nothing is cancelled by that, and what was sent is looked for by its
	// receipt; 0: 5 min.
	AnswerMax time.Duration

	// These are a Store's alone.

	Collector uint64        // who numbers the blocks
	Tried     uint64        // blocks up to this number may have been tried by an earlier process
	LateMax   time.Duration // the oldest that a row may be, which the table must keep; 0: any
	Logger    *slog.Logger  // nil: the default one
	Metrics   *metrics.Set  // nil: one that nobody sees
	Clock     func() time.Time
	Journal   Journal // nil: what a Store has to know after a restart is not kept
}

const (
	dialTimeoutDefault = 5 * time.Second
	answerMaxDefault   = 5 * time.Minute
)

// fill checks the options and puts in what is left out.
func (o *Options) fill() error {
	if len(o.Addresses) == 0 {
		return errors.New("clickhouse: no address: set clickhouse.address")
	}
	for _, address := range o.Addresses {
		if MoreThanAddress(address) {
			return errors.New("clickhouse: clickhouse.address wants host:port alone: a user and a password go to clickhouse.user and clickhouse.password_file")
		}
	}
	if o.Database == "" {
		o.Database = "default"
	}
	if o.User == "" {
		o.User = "default"
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = dialTimeoutDefault
	}
	if o.AnswerMax == 0 {
		o.AnswerMax = answerMaxDefault
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Journal == nil {
		o.Journal = new(noJournal)
	}
	return nil
}

// MoreThanAddress says that a text is more than host:port, as a URL is, so that
// there may be a password in it. No message may repeat it.
func MoreThanAddress(text string) bool { return strings.ContainsAny(text, "@/?&=") }

// password is what the file holds now, so that one can be changed under a
// running daemon.
func (o *Options) password() (Secret, error) {
	if o.PasswordFile == "" {
		return o.Password, nil
	}
	text, err := os.ReadFile(o.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read the password of clickhouse.password_file: %w", err)
	}
	return Secret(strings.TrimRight(string(text), "\r\n")), nil
}

// tls is the configuration for an address, nil without TLS.
func (o *Options) tls(address string) (*tls.Config, error) {
	if !o.TLS {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if o.TLSCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(o.TLSCA)
	if err != nil {
		return nil, fmt.Errorf("read the certificates of clickhouse.tls_ca: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("clickhouse.tls_ca: %s holds no certificate in PEM", o.TLSCA)
	}
	return c, nil
}

// name quotes a table of the database.
func (o *Options) name(table string) string { return quote(o.Database) + "." + quote(table) }

// quote makes an identifier of a name.
func quote(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

// text makes a string literal.
func text(s string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'").Replace(s) + "'"
}
