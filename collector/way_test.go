package collector

// way is how a source sends: datagrams, a connection without acks, or sessions.
type way uint8

const (
	datagrams way = iota
	plain
	acknowledged
	ways
)

var wayWords = [ways]string{"datagrams", "plain connection", "session"}
