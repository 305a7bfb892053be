package config

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// Reload is what is in force when a daemon that runs by c is given next: c, with
// what can be taken while it runs of next. The keys whose values differ, and that
// take a restart, are named.
func (c *Config) Reload(next *Config) (taken Config, restart []string) {
	taken = *c
	taken.Log.Level = next.Log.Level
	taken.Streams, taken.Named = next.Streams, next.Named
	taken.Edge = next.Edge // another process'
	if c.TLS.Address != "" && next.TLS.Address != "" {
		taken.TLS.Certificate, taken.TLS.Key, taken.TLS.ClientCA = next.TLS.Certificate, next.TLS.Key, next.TLS.ClientCA
	}
	return taken, taken.Differs(next)
}

// Differs are the keys that have other values in another configuration, or are not
// there.
func (c *Config) Differs(other *Config) (keys []string) {
	values := make(map[string]string)
	for _, s := range c.settings() {
		values[s.key] = s.show()
	}
	for _, s := range other.settings() {
		if value, ok := values[s.key]; !ok || value != s.show() {
			keys = append(keys, s.key)
		}
		delete(values, s.key)
	}
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Hash names a configuration: the same values, wherever they come from, have the
// same. A password has no part in it.
func (c *Config) Hash() uint64 {
	hash := sha256.New()
	for _, s := range c.Settings() {
		fmt.Fprintf(hash, "%s = %s\n", s.Key, s.Value)
	}
	return binary.BigEndian.Uint64(hash.Sum(nil))
}
