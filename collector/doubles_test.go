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

// forget forgets the sources of a stripe that have been silent since idle, or sessionIdle.
func (s *sources) forget(n int, idle, sessionIdle int64) { s.sweep(n, before(0, 0), idle, sessionIdle) }

// forgetSilent forgets those that have been silent for longer than the limits allow.
func (s *sources) forgetSilent(n int, now int64, limits *Options) {
	s.forget(n, before(now, limits.SourceIdleMax), before(now, limits.SessionIdleMax))
}
