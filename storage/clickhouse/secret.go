package clickhouse

import "log/slog"

// Secret is a text that no log, error or print shows. Reveal gives it away.
type Secret string

const hidden = "(hidden)"

// String says that there is one, or nothing.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString is for %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue is for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is for encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal is the text itself.
func (s Secret) Reveal() string { return string(s) }
