package native

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/chdb"
)

// A conn is a client's connection.
type conn struct {
	server  *Server
	net     net.Conn
	reader  *proto.Reader
	out     proto.Buffer
	version int // the protocol's, which both sides speak
	session session
	cleared context.Context // ends when the faults are cleared that the query may be under
}

// serve answers a client until it goes.
func (c *conn) serve() error {
	if err := c.hello(); err != nil {
		return err
	}
	for {
		code, err := c.packet()
		if err != nil {
			return err
		}
		switch code {
		case proto.ClientCodePing:
			proto.ServerCodePong.Encode(&c.out)
			err = c.flush()
		case proto.ClientCodeQuery:
			err = c.query()
		case proto.ClientCodeCancel: // of a query that has ended
		case proto.ClientCodeData: // of an insert that was refused
			_, err = c.data(proto.CompressionDisabled)
		default:
			err = fmt.Errorf("a packet of type %d", code)
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) packet() (proto.ClientCode, error) {
	code, err := c.reader.UVarInt()
	return proto.ClientCode(code), err
}

func (c *conn) flush() error {
	_, err := c.net.Write(c.out.Buf)
	c.out.Reset()
	return err
}

func (c *conn) hello() error {
	code, err := c.packet()
	if err != nil {
		return err
	}
	if code != proto.ClientCodeHello {
		return fmt.Errorf("a packet of type %d in place of hello", code)
	}
	var client proto.ClientHello
	if err := client.Decode(c.reader); err != nil {
		return err
	}
	if err := c.admit(client); err != nil {
		c.exception(err)
		return errors.Join(err, c.flush())
	}
	c.version = min(proto.Version, client.ProtocolVersion)
	c.session = session{engine: c.server.engine, database: client.Database, profile: c.server.options.Profile}
	hello := c.server.hello
	hello.EncodeAware(&c.out, c.version)
	if err := c.flush(); err != nil {
		return err
	}
	if proto.FeatureAddendum.In(c.version) { // the quota key
		_, err = c.reader.Str()
	}
	return err
}

// admit checks who a client is and which database it wants.
func (c *conn) admit(client proto.ClientHello) error {
	o := &c.server.options
	user, password := []byte(client.User), []byte(client.Password)
	if subtle.ConstantTimeCompare(user, []byte(o.User))&subtle.ConstantTimeCompare(password, []byte(o.Password)) != 1 {
		return &chdb.Error{Code: badPassword, Name: "AUTHENTICATION_FAILED", Message: client.User +
			": Authentication failed: password is incorrect, or there is no user with such name."}
	}
	check := session{engine: c.server.engine, database: client.Database}
	conn, err := check.open(nil, nil)
	if err != nil {
		return err
	}
	conn.Close()
	return nil
}

func (c *conn) exception(err error) {
	e := exceptionOf(err)
	proto.ServerCodeException.Encode(&c.out)
	e.EncodeAware(&c.out, c.version)
}

// data reads a packet of data behind its code.
func (c *conn) data(compression proto.Compression) (block, error) {
	var head proto.ClientData
	if err := head.DecodeAware(c.reader, c.version); err != nil {
		return block{}, err
	}
	if compression == proto.CompressionEnabled {
		c.reader.EnableCompression()
		defer c.reader.DisableCompression()
	}
	b, err := readBlock(c.reader, c.version)
	if err == nil && head.TableName != "" {
		err = fmt.Errorf("external table %s: the test server takes none", head.TableName)
	}
	return b, err
}

// frame is the most bytes that are compressed as one, as in ClickHouse.
const frame = 1 << 20

// send puts a packet of data into the buffer.
func (c *conn) send(b *block, compression proto.Compression) error {
	proto.ServerCodeData.Encode(&c.out)
	c.out.PutString("") // no temporary table
	if compression == proto.CompressionDisabled {
		c.out.Buf = b.appendTo(c.out.Buf, c.version)
		return nil
	}
	w := compress.NewWriter(compress.LevelZero, compress.LZ4)
	for data := b.appendTo(nil, c.version); len(data) > 0; {
		n := min(frame, len(data))
		if err := w.Compress(data[:n]); err != nil {
			return err
		}
		c.out.Buf = append(c.out.Buf, w.Data...)
		data = data[n:]
	}
	return nil
}

// cut closes the connection with a reset.
func (c *conn) cut() {
	type lingers interface{ SetLinger(sec int) error }
	under := c.net
	if secured, ok := under.(interface{ NetConn() net.Conn }); ok {
		under = secured.NetConn()
	}
	if tcp, ok := under.(lingers); ok {
		_ = tcp.SetLinger(0)
	}
	_ = under.Close()
}

// tableColumns is the text that the packet of that name carries.
func tableColumns(h head) string {
	var text strings.Builder
	fmt.Fprintf(&text, "columns format version: 1\n%d columns:\n", len(h))
	for _, column := range h {
		text.WriteString(quoteName(column.name) + " " + column.kind + "\n")
	}
	return text.String()
}
