package clickhouse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
)

// connection is one connection to one server, for one goroutine. After any error
// it is of no use any more: ch-go leaves open what is in the middle of something.
type connection struct {
	client  *ch.Client
	socket  net.Conn
	address string
}

// dialer connects to the addresses in turn.
type dialer struct {
	o    *Options
	next int // the address that is tried first
}

// The kernel gives up a peer that is gone after about this: without it a
// connection to a machine that lost its power would wait for ever.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 4}

// dial connects to the first address that answers, from the one after the last
// failure on. The error has all of theirs.
func (d *dialer) dial(ctx context.Context) (*connection, error) {
	var failed []error
	for range d.o.Addresses {
		address := d.o.Addresses[d.next%len(d.o.Addresses)]
		c, err := d.dialOne(ctx, address)
		if err == nil {
			return c, nil
		}
		failed = append(failed, fmt.Errorf("clickhouse: connect to %s: %w", address, err))
		d.next = (d.next + 1) % len(d.o.Addresses)
	}
	return nil, joined(failed)
}

// joined is the error of several addresses of which none would do.
func joined(failed []error) error {
	all := errors.Join(failed...)
	for _, err := range failed {
		if is, _ := classify(err); is != barred {
			// One that is away may be the one that would have us.
			return errors.New(all.Error())
		}
	}
	return all
}

// rotate makes the next dial begin with another address.
func (d *dialer) rotate() { d.next = (d.next + 1) % len(d.o.Addresses) }

func (d *dialer) dialOne(ctx context.Context, address string) (*connection, error) {
	o := d.o
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	password, err := o.password()
	if err != nil {
		return nil, err
	}
	secure, err := o.tls(address)
	if err != nil {
		return nil, err
	}
	plain := net.Dialer{KeepAliveConfig: keepAlive, Control: control}
	socket, err := plain.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; is a server running at clickhouse.address?", err)
	}
	if secure != nil {
		over := tls.Client(socket, secure)
		if err := over.HandshakeContext(ctx); err != nil {
			_ = socket.Close()
			return nil, fmt.Errorf("TLS: %w; is clickhouse.address its port for TLS (mostly 9440)?", err)
		}
		socket = over
	}
	client, err := ch.Connect(ctx, socket, ch.Options{
		Database: "", User: o.User, Password: password.Reveal(), ClientName: "lectern",
		Settings: settings, Compression: compressions[o.Compression], ReadTimeout: ch.NoTimeout, HandshakeTimeout: o.DialTimeout,
	})
	if err != nil {
		_ = socket.Close()
		if _, answered := ch.AsException(err); !answered {
			err = fmt.Errorf("%w; is clickhouse.address its port of the native protocol (mostly 9000), not of HTTP or TLS?", err)
		}
		return nil, err
	}
	return &connection{client, socket, address}, nil
}

var compressions = map[string]ch.Compression{
	"":     ch.CompressionLZ4,
	"lz4":  ch.CompressionLZ4,
	"zstd": ch.CompressionZSTD,
	"none": ch.CompressionDisabled,
}

// errUnanswered says that a server took longer than Options.AnswerMax.
var errUnanswered = errors.New("no answer came for so long that the connection was given up")

// do asks one question. Neither the end of ctx nor that of the patience cancels
// anything at the server: the connection is closed, as if this process had ended.
// ch-go would send a cancel, and a cancelled insert may be there in part, or its
// token spent for nothing.
func (c *connection) do(ctx context.Context, patience time.Duration, q ch.Query) error {
	var impatient atomic.Bool
	timer := time.AfterFunc(patience, func() {
		impatient.Store(true)
		_ = c.socket.Close()
	})
	defer timer.Stop()
	stop := context.AfterFunc(ctx, func() { _ = c.socket.Close() })
	defer stop()
	err := c.client.Do(context.WithoutCancel(ctx), q)
	if err == nil {
		return nil
	}
	c.close()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("clickhouse: %s: %w", c.address, ctx.Err())
	case impatient.Load():
		return fmt.Errorf("clickhouse: %s: after %v: %w", c.address, patience, errUnanswered)
	}
	return fmt.Errorf("clickhouse: %s: %w", c.address, err)
}

func (c *connection) close() { _ = c.client.Close() }

// row asks for one row of numbers.
func (c *connection) row(ctx context.Context, patience time.Duration, query string, to ...*uint64) error {
	columns := make([]proto.ColUInt64, len(to))
	results := make(proto.Results, len(to))
	for i := range columns {
		results[i].Data = &columns[i]
	}
	n := 0
	err := c.do(ctx, patience, ch.Query{Body: query, Result: results, OnResult: func(context.Context, proto.Block) error {
		for i := range columns {
			if columns[i].Rows() > 0 {
				*to[i] = columns[i].Row(0)
				n++
			}
		}
		return nil
	}})
	if err == nil && n != len(to) {
		return fmt.Errorf("clickhouse: %s: %d values where %d were asked for, by %s", c.address, n, len(to), query)
	}
	return err
}

// texts asks for rows of strings.
func (c *connection) texts(ctx context.Context, patience time.Duration, query string, width int) (rows [][]string, err error) {
	columns := make([]proto.ColStr, width)
	results := make(proto.Results, width)
	for i := range columns {
		results[i].Data = &columns[i]
	}
	err = c.do(ctx, patience, ch.Query{Body: query, Result: results, OnResult: func(context.Context, proto.Block) error {
		for n := range columns[0].Rows() {
			row := make([]string, width)
			for i := range columns {
				row[i] = columns[i].Row(n)
			}
			rows = append(rows, row)
		}
		return nil
	}})
	return slices.Clip(rows), err
}
