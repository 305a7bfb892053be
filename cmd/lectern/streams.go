package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/collector"
)

// The words of the configuration.
var (
	seals = map[string]collector.Seal{"off": collector.SealOff, "allow": collector.SealAllow, "require": collector.SealRequire}
	users = map[string]collector.Users{"stored": collector.UsersStored, "daily": collector.UsersDaily, "none": collector.UsersNone}
)

// streamsOf is what the configuration says of streams, as the collector has it.
func streamsOf(c *config.Config, keys *streamKeys) collector.Streams {
	all := collector.Streams{
		Audience:      c.Listen.Audience,
		RefuseUnknown: c.Streams.Unknown == "refuse",
		Unknown: collector.Stream{
			Share: c.Streams.UnknownShare, KeysMax: c.Streams.UnknownKeysMax, RateMax: c.Streams.UnknownRateMax,
			Users: users[c.Streams.UnknownUsers],
		},
	}
	for _, s := range c.Named {
		all.Known = append(all.Known, collector.Stream{
			Name: s.Name, Number: uint16(s.Number), Seal: seals[s.Seal], Secrets: keys.secrets(s.Secret),
			Share: s.Share, KeysMax: s.KeysMax, RateMax: s.RateMax, Users: users[s.Users],
			Clients: s.ClientNames(),
		})
	}
	return all
}

// streamsTable lists the streams, and what each may do.
func streamsTable(c *config.Config) string {
	t := table{left: 3}
	t.add("  STREAM", "NAME", "SEAL", "SHARE", "SURE OF", "KEYS MAX", "RATE MAX", "USERS")
	row := func(stream, name, seal string, share, keys, rate int, users string) {
		t.add("  "+stream, name, seal, number(share), fmt.Sprintf("%.1f%%", 100*c.Guarantee(share)), limitWord(keys), limitWord(rate), users)
	}
	for _, s := range slices.SortedFunc(slices.Values(c.Named), func(a, b config.Stream) int { return cmp.Compare(a.Number, b.Number) }) {
		row(number(s.Number), s.Name, s.Seal, s.Share, s.KeysMax, s.RateMax, s.Users)
	}
	if o := &c.Streams; o.Unknown == "take" {
		row("others", "", "off", o.UnknownShare, o.UnknownKeysMax, o.UnknownRateMax, o.UnknownUsers)
	} else {
		t.add("  others", "refused")
	}
	return t.String()
}

// limitWord is a limit, or a dash where there is none.
func limitWord(n int) string {
	if n == 0 {
		return "-"
	}
	return number(n)
}
