package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/lectern/lectern/wire"
)

// Streams says what becomes of streams that have no [stream.NAME], and what holds
// for all.
type Streams struct {
	Unknown        string // "take" or "refuse"
	UnknownShare   int    // of all of them together, as the next ones; see Stream
	UnknownKeysMax int
	UnknownRateMax int
	UnknownUsers   string
	SaltFile       string // what the salts of "daily" are made of; empty: drawn by each collector
}

// Stream is one [stream.NAME].
type Stream struct {
	Name    string
	Number  int    // as frames have it
	Secret  string // the directory of its keys; empty: none
	Seal    string // "off", "allow" or "require"
	Share   int    // its weight among the streams when room is short
	KeysMax int    // between two cuts; 0: no limit of its own
	RateMax int    // events a second; 0: no limit
	Users   string // "stored", "daily" or "none"
	Clients string // names in certificates of TLS, with commas between them; empty: anybody

	// What an edge takes for it.
	Readers string // by what it tells readers apart: "account", "daily" or "none"
	Origins string // of pages that may send for it, with commas between them; empty: all
	KeyFile string // what it seals its frames with; empty: nothing
}

// streamDefaults is what holds for every key of a [stream.NAME] that nobody sets,
// but its number.
func streamDefaults(name string) Stream {
	return Stream{Name: name, Number: noNumber, Seal: "off", Share: 1, Users: "stored", Readers: "account"}
}

// noNumber is the number of a stream that has none.
const noNumber = -1

// streamNameMax is the longest name of a stream: that of a label of DNS.
const streamNameMax = 63

// The largest weight and the largest rate of a stream.
const (
	shareMax   = 10_000
	rateMaxMax = 1_000_000_000
)

// usersWords is what may be kept of who read.
var usersWords = []string{"stored", "daily", "none"}

// settings is every key of the stream.
func (s *Stream) settings() []setting {
	key := func(name string) string { return "stream." + s.Name + "." + name }
	return []setting{
		count(key("number"), &s.Number, 0, wire.StreamReserved-1),
		opened(key("secret"), &s.Secret),
		word(key("seal"), &s.Seal, "off", "allow", "require"),
		count(key("share"), &s.Share, 1, shareMax),
		count(key("keys_max"), &s.KeysMax, 0, 1<<28),
		count(key("rate_max"), &s.RateMax, 0, rateMaxMax),
		word(key("users"), &s.Users, usersWords...),
		list(names(key("clients"), &s.Clients)),
		word(key("readers"), &s.Readers, "account", "daily", "none"),
		list(origins(key("origins"), &s.Origins)),
		opened(key("key_file"), &s.KeyFile),
	}
}

// names are those that a certificate has, or none.
func names(key string, to *string) setting {
	return texts(key, to, `a string, such as "edge.example.org" or "edge.example.org,spiffe://example.org/edge"`, func(name string) error {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf(`%s is not a name, such as "edge.example.org" or "spiffe://example.org/edge"`, quote(name))
		}
		return nil
	})
}

// ClientNames are those of Clients, one by one; nil where anybody may send.
func (s *Stream) ClientNames() []string {
	if s.Clients == "" {
		return nil
	}
	return strings.Split(s.Clients, ",")
}

// streamName says what is wrong with a stream's name. Capitals and underscores are
// left to the variables of the environment, so that each is of one key.
func streamName(name string) error {
	good := name != "" && len(name) <= streamNameMax && name[0] != '-'
	for _, r := range name {
		good = good && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}
	if !good {
		return fmt.Errorf("%s is no name of a stream: small letters, digits and dashes, %d at the most", quote(name), streamNameMax)
	}
	return nil
}

// takeStreams takes all [stream.NAME] of the file.
func (l *loader) takeStreams(meta *toml.MetaData, section toml.Primitive) {
	var tables map[string]toml.Primitive
	_ = meta.PrimitiveDecode(section, &tables) // it is a table
	keys := make(map[string]map[string]toml.Primitive)
	for name, table := range tables {
		raw, line := locate(meta, table)
		key := toml.Key{"stream", name}.String()
		l.from[key] = origin{file: l.path, line: line}
		if _, ok := raw.(map[string]any); !ok {
			l.problem(key, "wants a table: [stream.NAME] with a number")
			continue
		}
		if err := streamName(name); err != nil {
			l.problem(key, "%v", err)
			continue
		}
		var of map[string]toml.Primitive
		_ = meta.PrimitiveDecode(table, &of) // it is a table
		keys[name] = of
		l.config.Named = append(l.config.Named, streamDefaults(name))
	}
	slices.SortFunc(l.config.Named, func(a, b Stream) int { return cmp.Compare(a.Name, b.Name) })
	l.settings = l.config.settings()
	for name, of := range keys {
		for key, value := range of {
			l.takeFromFile(meta, toml.Key{"stream", name, key}, value)
		}
	}
}

// checkStreams sees to it that every stream has a number of its own, and that what
// is said of sealing fits together.
func (l *loader) checkStreams() {
	first := make(map[int]string)
	for _, s := range l.config.Named {
		at := "stream." + s.Name
		other, taken := first[s.Number]
		switch {
		case s.Number != noNumber && taken:
			l.contradiction([]string{at + ".number"}, "[stream.%s] has the number %d already", other, s.Number)
		case s.Number != noNumber:
			first[s.Number] = s.Name
		case !l.from[at+".number"].bad:
			l.problem(at, "has no number: which frames are its own is not known")
		}
		if s.Clients != "" && l.config.TLS.ClientCA == "" {
			l.contradiction([]string{at + ".clients", "tls.client_ca"},
				"clients names certificates, and without tls.client_ca no client shows one: nobody could send this stream")
		}
		if s.KeyFile != "" && l.config.Edge.Audience == "" {
			l.contradiction([]string{at + ".key_file", "edge.audience"}, "there is a key, and edge.audience is empty: an edge seals for its collector by that name")
		}
		switch {
		case s.Secret == "" && s.Seal != "off":
			l.contradiction([]string{at + ".seal", at + ".secret"}, "seal %q needs the stream's secret, a directory of keys", s.Seal)
		case s.Secret != "" && l.config.Listen.Audience == "":
			l.contradiction([]string{at + ".secret", "listen.audience"},
				"there is a secret, and listen.audience is empty: emitters seal for an audience by its name")
		case s.Secret != "" && s.Seal == "off":
			l.contradiction([]string{at + ".secret", at + ".seal"},
				`there is a secret, and seal is "off", so that frames sealed with it are refused; set seal to "allow" or "require"`)
		}
	}
}

// Guarantee is the part of the room that a stream may use whatever the others want.
// All unknown streams together are one more, if they are taken.
func (c *Config) Guarantee(share int) float64 {
	all := 0
	if c.Streams.Unknown == "take" {
		all = c.Streams.UnknownShare
	}
	for _, s := range c.Named {
		all += s.Share
	}
	return float64(share) / float64(all)
}
