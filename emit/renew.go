package emit

import (
	"context"
	"time"

	"github.com/lectern/lectern/wire"
)

const (
	// renewWait is how old a socket gets at least, and how long a failed attempt
	// to replace it is not repeated.
	renewWait = time.Second
	// resolveTimeout bounds the resolving of the collector's name.
	resolveTimeout = 10 * time.Second
)

// aged renews a socket that is old. One over which no events went is kept: who
// has nothing to send need not begin sources.
func (u *UDP) aged(now time.Time) {
	if u.sender.packer.position > 0 && now.Sub(u.born) >= u.socketAge {
		u.renewSoon(now)
	}
}

// renewSoon has the socket replaced by a goroutine, since resolving a name takes
// its time. Called with sender.mu held.
func (u *UDP) renewSoon(now time.Time) {
	if u.renewing || u.last || now.Sub(u.born) < renewWait || now.Sub(u.tried) < renewWait {
		return
	}
	u.renewing = true
	u.renewer.Add(1)
	go u.renew()
}

// renew goes on over a new socket with a new source. While there cannot be one,
// the old one stays.
func (u *UDP) renew() {
	defer u.renewer.Done()
	ctx, cancel := context.WithTimeout(u.context, resolveTimeout)
	defer cancel()
	conn, err := u.dial(ctx)
	m := &u.sender
	m.mu.Lock()
	u.renewing = false
	u.tried = time.Now()
	if err != nil || m.failed != nil {
		m.mu.Unlock()
		if err == nil {
			_ = conn.Close()
		}
		return
	}
	old, last := u.socket, m.packer.numbering()
	u.socket, u.born = &socket{Conn: conn}, u.tried
	m.packer.renew()
	m.stats.Renewals++
	for range beats {
		m.beat()
	}
	m.mu.Unlock()
	u.retire(old, &last)
}

// retire sends the final beats of a source over its own socket.
func (u *UDP) retire(old *socket, last *Packer) {
	m := &u.sender
	frame := make([]byte, 0, SizeMin+wire.TagSize)
	for i := range beats {
		if i > 0 {
			pause(u.context, beatGap)
		}
		frame = last.Beat(frame[:0], time.Now().UnixMilli())
		m.mu.Lock()
		m.count(frame, 0, u.send(old, frame, 0))
		m.mu.Unlock()
	}
	_ = old.Close()
}
