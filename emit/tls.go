package emit

import (
	"context"
	"crypto/tls"
	"net"
)

// DialTLS is DialTCP over TLS 1.3, to a collector's tls.address: what is
// acknowledged, resent and kept is the same. A queue (Options.Queue) belongs to one
// address, so frames that are in it go on over TLS only.
//
// config says whom to believe and which certificate to show; nil is good where the
// system knows who signed the collector's certificate and the collector asks for
// none. Without a ServerName the certificate has to be for the host in addr. It is
// copied; GetClientCertificate is called for each connection, so that a certificate
// that was renewed meanwhile can be shown.
func DialTLS(ctx context.Context, addr string, config *tls.Config, o Options) (*TCP, error) {
	if config == nil {
		config = new(tls.Config)
	}
	config = config.Clone()
	config.MinVersion = tls.VersionTLS13
	dial := func(ctx context.Context) (net.Conn, error) {
		// Its timeout is for the handshake, too.
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: connectTimeout}, Config: config}
		return d.DialContext(ctx, "tcp", addr)
	}
	return dialBy(ctx, "tls", addr, dial, o)
}
