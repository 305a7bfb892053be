package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/lectern/lectern/storage/clickhouse"
	"github.com/lectern/lectern/wire"
)

// shownMax bounds how much of a wrong value a message repeats.
const shownMax = 80

// quote shows a value that somebody wrote.
func quote(text string) string {
	if len(text) > shownMax {
		text = text[:shownMax] + "…"
	}
	return strconv.Quote(text)
}

// count is a whole number.
func count(key string, to *int, least, most int) setting {
	return setting{
		key: key, wants: "an integer", takes: asInteger,
		set: func(text string) error {
			n, err := strconv.ParseInt(text, 10, 64)
			switch {
			case errors.Is(err, strconv.ErrSyntax):
				return fmt.Errorf("%s is not an integer", quote(text))
			case err != nil || n < int64(least) || n > int64(most):
				return fmt.Errorf("%s is out of range: %d to %d", text, least, most)
			}
			*to = int(n)
			return nil
		},
		show: func() string { return strconv.Itoa(*to) },
	}
}

var sizeUnits = []struct {
	word  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// size is a number of bytes.
func size(key string, to *int, least, most int64) setting {
	return setting{
		key: key, wants: `a number of bytes, or a string such as "8MiB" (KiB, MiB, GiB)`, takes: asInteger | asString,
		set: func(text string) error {
			n, err := ParseSize(text)
			switch {
			case errors.Is(err, strconv.ErrSyntax):
				return fmt.Errorf(`%s is not a size: a number of bytes, or a string such as "8MiB" (KiB, MiB, GiB)`, quote(text))
			case err != nil || n < least || n > most:
				return fmt.Errorf("%s is out of range: %s to %s", text, FormatSize(least), FormatSize(most))
			}
			*to = int(n)
			return nil
		},
		show: func() string {
			text := FormatSize(int64(*to))
			if _, err := strconv.Atoi(text); err == nil {
				return text
			}
			return strconv.Quote(text)
		},
	}
}

// ParseSize reads a number of bytes, alone or with a unit: "8388608", "8MiB". Its
// error is strconv.ErrSyntax where it is none, strconv.ErrRange where it is too
// large.
func ParseSize(text string) (int64, error) {
	digits, unit := text, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.word); ok {
			digits, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, err
	}
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return 0, strconv.ErrRange
	}
	return n * unit, nil
}

// FormatSize writes bytes with the largest unit that leaves no rest.
func FormatSize(bytes int64) string {
	for _, u := range sizeUnits {
		if bytes >= u.bytes && bytes%u.bytes == 0 {
			return strconv.FormatInt(bytes/u.bytes, 10) + u.word
		}
	}
	return strconv.FormatInt(bytes, 10)
}

// choice is yes or no.
func choice(key string, to *bool) setting {
	return setting{
		key: key, wants: "true or false", takes: asBool,
		set: func(text string) error {
			if text != "true" && text != "false" {
				return fmt.Errorf("%s is neither true nor false", quote(text))
			}
			*to = text == "true"
			return nil
		},
		show: func() string { return strconv.FormatBool(*to) },
	}
}

// duration is a span of time.
func duration(key string, to *time.Duration, least, most time.Duration) setting {
	return span(key, to, func(d time.Duration) bool { return d >= least && d <= most },
		fmt.Sprintf("%s to %s", FormatDuration(least), FormatDuration(most)))
}

// limit is a span of time, where 0 means that there is no limit.
func limit(key string, to *time.Duration, least, most time.Duration) setting {
	return span(key, to, func(d time.Duration) bool { return d == 0 || d >= least && d <= most },
		fmt.Sprintf("%s to %s, or 0s for no limit", FormatDuration(least), FormatDuration(most)))
}

func span(key string, to *time.Duration, within func(time.Duration) bool, bounds string) setting {
	return setting{
		key: key, wants: "a duration in quotes, " + durationUnits, takes: asString,
		set: func(text string) error {
			d, err := ParseDuration(text)
			switch {
			case err != nil:
				return fmt.Errorf("%s is not a duration, "+durationUnits, quote(text))
			case !within(d):
				return fmt.Errorf("%s is out of range: %s", text, bounds)
			}
			*to = d
			return nil
		},
		show: func() string { return strconv.Quote(FormatDuration(*to)) },
	}
}

// text is a string of which check says what is wrong.
func text(key string, to *string, wants string, check func(string) error) setting {
	return setting{
		key: key, wants: wants, takes: asString,
		set: func(text string) error {
			if err := check(text); err != nil {
				return err
			}
			*to = text
			return nil
		},
		show: func() string { return strconv.Quote(*to) },
	}
}

// texts are strings with commas between them, of each of which check says what is
// wrong; or none.
func texts(key string, to *string, wants string, check func(string) error) setting {
	return text(key, to, wants, func(text string) error {
		if text == "" {
			return nil
		}
		for _, part := range strings.Split(text, ",") {
			if err := check(part); err != nil {
				return err
			}
		}
		return nil
	})
}

// address is a place to listen on.
func address(key string, to *string) setting {
	return text(key, to, `a string, such as "127.0.0.1:8420"`, checkAddress)
}

func checkAddress(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil || strings.ContainsFunc(host, notInHost) {
		return fmt.Errorf(`%s is not an address, such as "127.0.0.1:8420" or "[::]:8420"`, quote(text))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s has no port from 0 to 65535", quote(text))
	}
	return nil
}

// notInHost says that a character is in no host name, nor in an IP address with
// or without a zone.
func notInHost(r rune) bool {
	return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("-._:%", r)
}

// path is a place in the file system.
func path(key string, to *string) setting {
	return text(key, to, "a string", func(text string) error {
		if text == "" || strings.ContainsRune(text, 0) {
			return fmt.Errorf("%s is not a path", quote(text))
		}
		return nil
	})
}

// word is one of a few words.
func word(key string, to *string, words ...string) setting {
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, strconv.Quote(w))
	}
	one := strings.Join(quoted, ", ")
	return text(key, to, "one of "+one, func(text string) error {
		if !slices.Contains(words, text) {
			return fmt.Errorf("%s is not one of %s", quote(text), one)
		}
		return nil
	})
}

// addresses are one or more places to connect to.
func addresses(key string, to *string) setting {
	return text(key, to, `a string, such as "127.0.0.1:9000" or "a:9000,b:9000"`, func(text string) error {
		if clickhouse.MoreThanAddress(text) {
			return errors.New(`wants host:port alone, such as "127.0.0.1:9000" or "a:9000,b:9000"; a user and a password go to ` +
				`clickhouse.user and clickhouse.password_file (or clickhouse.password). What it has is not shown`)
		}
		for _, part := range strings.Split(text, ",") {
			if err := checkAddress(part); err != nil {
				return err
			}
			if host, _, _ := net.SplitHostPort(part); host == "" {
				return fmt.Errorf("%s has no host", quote(part))
			}
		}
		return nil
	})
}

// peers are where other daemons' operations servers are: addresses, or one name that
// leads to all of them; or none.
func peers(key string, to *string) setting {
	return text(key, to, `a string, such as "dns:lectern-ops:8421" or "a:8421,b:8421"`, func(text string) error {
		for _, name := range (&Ops{Peers: text}).PeerNames() {
			host, port, err := net.SplitHostPort(name)
			if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
				return fmt.Errorf(`%s is not where daemons are: wants "dns:NAME:PORT", or host:port with commas between them`, quote(name))
			}
		}
		return nil
	})
}

// hosts are names of hosts, or none.
func hosts(key string, to *string) setting {
	return texts(key, to, `a string, such as "lectern" or "lectern,lectern.example.org"`, func(host string) error {
		if host == "" || strings.ContainsFunc(host, notInHost) || strings.ContainsRune(host, ':') {
			return fmt.Errorf(`%s is not the name of a host without a port, such as "lectern.example.org"`, quote(host))
		}
		return nil
	})
}

// audience is what emitters call a collector where they seal; it may be empty.
func audience(key string, to *string) setting {
	return text(key, to, "a string", func(text string) error {
		if err := wire.CheckAudience(text); text != "" && err != nil {
			return fmt.Errorf("%s is no audience: %w", quote(text), err)
		}
		return nil
	})
}

// name is what something is called elsewhere.
func name(key string, to *string) setting {
	return text(key, to, "a string", func(text string) error {
		if text == "" || strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("%s is not a name", quote(text))
		}
		return nil
	})
}

// secret is a text that is never shown.
func secret(key string, to *clickhouse.Secret) setting {
	return setting{
		key: key, wants: "a string", takes: asString, secret: true,
		set: func(text string) error {
			*to = clickhouse.Secret(text)
			return nil
		},
		show: func() string { return strconv.Quote(to.String()) },
	}
}

// file is a place in the file system, or none.
func file(key string, to *string) setting { return optional(path(key, to), to) }

// opened is a file or directory that must be there when it is used, or none.
func opened(key string, to *string) setting {
	s := file(key, to)
	s.opens = true
	return s
}

// optional is a setting that may be empty.
func optional(s setting, to *string) setting {
	set := s.set
	s.set = func(text string) error {
		if text == "" {
			*to = ""
			return nil
		}
		return set(text)
	}
	return s
}

// list is a setting of several values with commas between them: blanks around a
// value are no part of it.
func list(s setting) setting {
	set := s.set
	s.set = func(text string) error {
		parts := strings.Split(text, ",")
		for i, part := range parts {
			parts[i] = strings.TrimSpace(part)
		}
		return set(strings.Join(parts, ","))
	}
	return s
}

// level is the least that is logged.
func level(key string, to *slog.Level) setting {
	text := strings.ToLower(to.String())
	s := word(key, &text, "debug", "info", "warn", "error")
	name := s.set
	s.set = func(text string) error {
		if err := name(text); err != nil {
			return err
		}
		return to.UnmarshalText([]byte(text))
	}
	return s
}
