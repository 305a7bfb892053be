package collector

import "github.com/panjf2000/gnet/v2"

// writeDouble is for connections without a socket: what they are told goes through their
// Write.
func writeDouble(c gnet.Conn, b []byte) (int, error) { return c.Write(b) }

// doubled has a shard whose TCP clients are such connections.
func doubled(s *shard) *shard {
	s.direct = writeDouble
	return s
}

// way is how a source sends: datagrams, a connection without acks, or sessions.
type way uint8

const (
	datagrams way = iota
	plain
	acknowledged
	ways
)

var wayWords = [ways]string{"datagrams", "plain connection", "session"}

// deaf is a connection on which nothing is heard.
type deaf struct{ gnet.Conn }

func (deaf) Write(b []byte) (int, error)                         { return len(b), nil }
func (deaf) AsyncWrite(_ []byte, _ gnet.AsyncCallback) error     { return nil }
func (deaf) CloseWithCallback(callback gnet.AsyncCallback) error { return nil }
func (deaf) OutboundBuffered() int                               { return 0 }
func (deaf) Fd() int                                             { return -1 }
func (deaf) SetContext(any)                                      {}
