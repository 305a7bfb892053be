package config

import (
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lectern/lectern/storage/spool"
)

// findContradictions reports keys that are right one by one and wrong together.
func (l *loader) findContradictions() {
	c := l.config
	if c.Window.FlushInterval < c.Window.AckInterval {
		l.contradiction([]string{"window.flush_interval", "window.ack_interval"},
			"flush_interval %s is shorter than ack_interval %s: nothing can be flushed before it is cut",
			FormatDuration(c.Window.FlushInterval), FormatDuration(c.Window.AckInterval))
	}
	if c.Stop.DrainTime > c.Stop.Grace-StopRest {
		l.contradiction([]string{"stop.drain_time", "stop.grace"},
			"drain_time %s leaves less than %s of grace %s for the last cut, its seal and its block",
			FormatDuration(c.Stop.DrainTime), FormatDuration(StopRest), FormatDuration(c.Stop.Grace))
	}
	if c.Listen.SharePort && runtime.GOOS != "linux" {
		l.contradiction([]string{"listen.share_port"}, "share_port works on Linux only")
	}
	if sharePort(c.Listen.Address, c.Ops.Address) {
		l.contradiction([]string{"ops.address", "listen.address"},
			"ops.address %s and listen.address %s have the same port", c.Ops.Address, c.Listen.Address)
	}
	if need := c.Listen.Loops * slotsMin; c.Limits.KeysMax < need {
		l.contradiction([]string{"limits.keys_max", "listen.loops"},
			"keys_max %d is too small for %d loops: each needs %d, together %d",
			c.Limits.KeysMax, c.Listen.Loops, slotsMin, need)
	}
	l.checkRows()
	l.checkSpool()
	l.checkClickHouse()
	l.checkTLS()
	l.checkStreams()
	if (c.Edge.TLSCert == "") != (c.Edge.TLSKey == "") {
		l.contradiction([]string{"edge.tls_cert", "edge.tls_key"}, "a certificate and its key go together")
	}
	if sharePort(c.Edge.Address, c.Edge.OpsAddress) {
		l.contradiction([]string{"edge.ops_address", "edge.address"},
			"edge.ops_address %s and edge.address %s have the same port", c.Edge.OpsAddress, c.Edge.Address)
	}
	l.checkSyslogStream()
}

// checkSyslogStream sees to it that the lines of proxies are for a stream.
func (l *loader) checkSyslogStream() {
	of, names := l.config.Edge.SyslogStream, []string{"default"}
	if named := l.config.Named; len(named) > 0 {
		names = nil
		for _, s := range named {
			if of == strconv.Itoa(s.Number) {
				return
			}
			names = append(names, s.Name)
		}
	}
	switch {
	case l.config.Edge.Syslog == "" || slices.Contains(names, of) || of == "" && len(names) == 1 || of == "0" && len(l.config.Named) == 0:
	case of == "":
		l.contradiction([]string{"edge.syslog", "edge.syslog_stream"}, "edge.syslog_stream is to say for which stream the lines are: %s", strings.Join(names, ", "))
	default:
		l.contradiction([]string{"edge.syslog_stream", "edge.syslog"}, "there is no stream %s: the lines can be for %s", quote(of), strings.Join(names, ", "))
	}
}

// checkTLS sees to it that whoever asks for TLS has said all that it takes.
func (l *loader) checkTLS() {
	t := &l.config.TLS
	switch {
	case t.Address != "" && (t.Certificate == "" || t.Key == ""):
		l.contradiction([]string{"tls.address", "tls.certificate", "tls.key"}, "TLS needs certificate and key, both files in PEM")
	case t.Address == "" && t.ClientCA != "":
		l.contradiction([]string{"tls.client_ca", "tls.address"}, "there is no tls.address: nobody is asked for a certificate")
	}
	for key, other := range map[string]string{"listen.address": l.config.Listen.Address, "ops.address": l.config.Ops.Address} {
		if t.Address != "" && sharePort(t.Address, other) {
			l.contradiction([]string{"tls.address", key}, "tls.address %s and %s %s have the same port", t.Address, key, other)
		}
	}
}

// checkClickHouse sees to it that no receipt goes before its block is released.
func (l *loader) checkClickHouse() {
	c := &l.config.ClickHouse
	late := l.config.Window.LateMax
	switch {
	case c.Retention > 0 && late == 0:
		l.contradiction([]string{"clickhouse.retention", "window.late_max"},
			"retention %s with late_max 0s: an event of any age may come, and would be gone before it is surely stored", FormatDuration(c.Retention))
	case c.Retention > 0 && c.Retention < late+24*time.Hour:
		l.contradiction([]string{"clickhouse.retention", "window.late_max"},
			"retention %s is shorter than late_max %s and a day: a late event would be gone before it is surely stored",
			FormatDuration(c.Retention), FormatDuration(late))
	}
	if c.Password != "" && c.PasswordFile != "" {
		l.contradiction([]string{"clickhouse.password_file", "clickhouse.password"}, "password and password_file are both set: which one holds is not clear")
	}
}

// checkRows sees to it that the rows of one cut can wait. Otherwise a cut of
// full tables would never find room.
func (l *loader) checkRows() {
	rows, keys := l.config.Limits.RowsWaitingMax, l.config.Limits.KeysMax
	most := l.config.Loops() * keysPerTable(l.config.slots())
	switch {
	case rows < keys:
		l.contradiction([]string{"limits.rows_waiting_max", "limits.keys_max"},
			"rows_waiting_max %d is less than keys_max %d: the rows of one cut must find room", rows, keys)
	case rows < most:
		l.contradiction([]string{"limits.rows_waiting_max", "limits.keys_max", "listen.loops"},
			"rows_waiting_max %d is less than the %d rows that one cut may bring here: keys_max %d, for each of %d loops rounded up to a power of two",
			rows, most, keys, l.config.Loops())
	}
}

// checkSpool sees to it that the rows of one cut find room in an empty spool.
func (l *loader) checkSpool() {
	c := l.config
	most, room := c.Loops()*keysPerTable(c.slots()), spool.RoomMost(int64(c.Spool.SizeMax), c.Limits.SourcesMax)
	if most > room {
		l.contradiction([]string{"limits.keys_max", "spool.size_max", "limits.sources_max", "listen.loops"},
			"size_max %d of the spool, with sources_max %d, has room for %d rows, and one cut may bring %d with keys_max %d: full tables would never be emptied",
			c.Spool.SizeMax, c.Limits.SourcesMax, room, most, c.Limits.KeysMax)
	}
}

// contradiction reports keys that do not fit each other, at the first of them
// that somebody set. It is silent where one of them is wrong by itself.
func (l *loader) contradiction(keys []string, format string, args ...any) {
	at := ""
	for _, key := range keys {
		o, set := l.from[key]
		if o.bad {
			return
		}
		if set && at == "" {
			at = key
		}
	}
	l.problem(at, format, args...)
}

// sharePort says that two addresses cannot both be listened on.
func sharePort(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	numberA, _ := strconv.Atoi(portA)
	numberB, _ := strconv.Atoi(portB)
	if numberA != numberB || numberA == 0 {
		return false
	}
	ipA, ipB := net.ParseIP(hostA), net.ParseIP(hostB)
	apart := ipA != nil && ipB != nil && !ipA.IsUnspecified() && !ipB.IsUnspecified() && !ipA.Equal(ipB)
	return !apart
}
