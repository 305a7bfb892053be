package config

import (
	"time"

	"github.com/lectern/lectern/storage/spool"
)

// setting is one key: where it is kept, and how its text is read and written.
type setting struct {
	key   string // section.key
	wants string // what may stand there, for a value of the wrong type
	takes types
	set   func(text string) error // leaves the value alone when it fails
	show  func() string           // as it would stand in config.toml

	secret bool // no message shows what it was set to
	opens  bool // its text is the path of a file or directory that is read
}

// types are the TOML types that a key may have.
type types uint8

const (
	asString types = 1 << iota
	asInteger
	asBool
)

// settings is every key there is, in the order of config.toml; the streams' are
// behind all others.
func (c *Config) settings() []setting {
	all := []setting{
		address("listen.address", &c.Listen.Address),
		choice("listen.share_port", &c.Listen.SharePort),
		count("listen.loops", &c.Listen.Loops, 0, 1024),
		size("listen.receive_buffer", &c.Listen.ReceiveBuffer, 4<<10, 1<<30),
		audience("listen.audience", &c.Listen.Audience),

		optional(address("tls.address", &c.TLS.Address), &c.TLS.Address),
		opened("tls.certificate", &c.TLS.Certificate),
		opened("tls.key", &c.TLS.Key),
		opened("tls.client_ca", &c.TLS.ClientCA),
		count("tls.connections_max", &c.TLS.ConnectionsMax, 1, 1_000_000),

		address("ops.address", &c.Ops.Address),
		list(hosts("ops.allowed_hosts", &c.Ops.AllowedHosts)),
		opened("ops.token_file", &c.Ops.TokenFile),
		list(peers("ops.peers", &c.Ops.Peers)),

		duration("stop.drain_time", &c.Stop.DrainTime, 0, time.Hour),
		duration("stop.unready_time", &c.Stop.UnreadyTime, 0, time.Hour),
		duration("stop.grace", &c.Stop.Grace, StopRest, time.Hour),

		duration("window.ack_interval", &c.Window.AckInterval, time.Millisecond, time.Minute),
		duration("window.flush_interval", &c.Window.FlushInterval, 10*time.Millisecond, time.Hour),
		duration("window.settle", &c.Window.Settle, 0, time.Minute),
		limit("window.late_max", &c.Window.LateMax, time.Second, 3650*day),
		limit("window.future_max", &c.Window.FutureMax, time.Second, 3650*day),
		count("window.days_max", &c.Window.DaysMax, 1, 100_000),

		count("limits.keys_max", &c.Limits.KeysMax, slotsMin, 1<<28),
		count("limits.sources_max", &c.Limits.SourcesMax, 1, 100_000_000),
		count("limits.address_sources_max", &c.Limits.AddressSourcesMax, 0, 100_000_000),
		limit("limits.source_idle_max", &c.Limits.SourceIdleMax, time.Second, 365*day),
		limit("limits.session_idle_max", &c.Limits.SessionIdleMax, time.Second, 365*day),
		count("limits.connections_max", &c.Limits.ConnectionsMax, 1, 1_000_000),
		limit("limits.connection_idle_max", &c.Limits.ConnectionIdleMax, time.Second, day),
		size("limits.credit_max", &c.Limits.CreditMax, 64<<10, 1<<30),
		count("limits.rows_waiting_max", &c.Limits.RowsWaitingMax, slotsMin, 1_000_000_000),
		count("limits.names_a_minute", &c.Limits.NamesAMinute, 0, 100_000_000),
		size("limits.names_memory", &c.Limits.NamesMemory, 64<<10, 64<<30),

		count("now.readers_max", &c.Now.ReadersMax, 0, 1<<28),
		count("now.contents_max", &c.Now.ContentsMax, 1, 1<<24),

		word("streams.unknown", &c.Streams.Unknown, "take", "refuse"),
		count("streams.unknown_share", &c.Streams.UnknownShare, 1, shareMax),
		count("streams.unknown_keys_max", &c.Streams.UnknownKeysMax, 0, 1<<28),
		count("streams.unknown_rate_max", &c.Streams.UnknownRateMax, 0, rateMaxMax),
		word("streams.unknown_users", &c.Streams.UnknownUsers, usersWords...),
		opened("streams.salt_file", &c.Streams.SaltFile),

		path("spool.dir", &c.Spool.Dir),
		choice("spool.share", &c.Spool.Share),
		size("spool.size_max", &c.Spool.SizeMax, spool.SizeMin, 1<<50),

		word("storage.driver", &c.Storage.Driver, "parquet", "clickhouse"),

		path("parquet.dir", &c.Parquet.Dir),
		duration("parquet.merge_interval", &c.Parquet.MergeInterval, time.Second, day),

		list(addresses("clickhouse.address", &c.ClickHouse.Address)),
		optional(name("clickhouse.cluster", &c.ClickHouse.Cluster), &c.ClickHouse.Cluster),
		name("clickhouse.database", &c.ClickHouse.Database),
		name("clickhouse.user", &c.ClickHouse.User),
		secret("clickhouse.password", &c.ClickHouse.Password),
		opened("clickhouse.password_file", &c.ClickHouse.PasswordFile),
		word("clickhouse.compression", &c.ClickHouse.Compression, "lz4", "zstd", "none"),
		word("clickhouse.tls", &c.ClickHouse.TLS, "off", "on"),
		opened("clickhouse.tls_ca", &c.ClickHouse.TLSCA),
		duration("clickhouse.answer_max", &c.ClickHouse.AnswerMax, 5*time.Second, day),
		limit("clickhouse.retention", &c.ClickHouse.Retention, day, 36500*day),
	}
	all = append(all, c.Edge.settings()...)
	all = append(all,
		level("log.level", &c.Log.Level),
		word("log.format", &c.Log.Format, "text", "json"),
	)
	for i := range c.Named {
		all = append(all, c.Named[i].settings()...)
	}
	return all
}

// Setting is one key with its value, as they would stand in config.toml.
type Setting struct{ Key, Value string }

// Settings is every key with its value, in the order of config.toml, and behind
// them those of the streams.
func (c *Config) Settings() []Setting {
	var all []Setting
	for _, s := range c.settings() {
		all = append(all, Setting{s.key, s.show()})
	}
	return all
}
