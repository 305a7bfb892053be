package main

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/cmd/lectern/internal/keys"
	"github.com/lectern/lectern/wire"
)

// streamKeys are the secrets of the streams, by their directories, and follow these.
// Where one cannot be read any more, its last good secrets stay.
type streamKeys struct {
	logger *slog.Logger

	mu      sync.Mutex // protects what follows
	of      map[string][]*wire.Secret
	trouble map[string]string // by directory: why it could not be read, when it was last tried
}

// load reads the directories of all streams, at the start: without them nothing is
// received.
func (k *streamKeys) load(c *config.Config) error {
	k.of, k.trouble = make(map[string][]*wire.Secret), make(map[string]string)
	err := k.add(c)
	if len(k.of) > 0 && !keys.Fast() {
		k.logger.Warn("this machine has no AES and carry-less multiplication for Go's GCM: to check the tag of a sealed frame costs some ten times as much here")
	}
	return err
}

// add reads the directories of streams that were not there before. With an error
// all is as it was.
func (k *streamKeys) add(c *config.Config) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	more := make(map[string][]*wire.Secret)
	for _, s := range c.Named {
		if _, ok := k.of[s.Secret]; ok || s.Secret == "" {
			continue
		}
		secrets, err := keys.Secrets(s.Secret)
		if err != nil {
			return fmt.Errorf("the keys of stream %s: %w", s.Name, err)
		}
		more[s.Secret] = secrets
	}
	maps.Copy(k.of, more)
	return nil
}

// secrets are those of a directory.
func (k *streamKeys) secrets(dir string) []*wire.Secret {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.of[dir]
}

// look reads the directories again, and says whether any has other secrets by now.
func (k *streamKeys) look(c *config.Config) (changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range c.Named {
		if s.Secret == "" {
			continue
		}
		secrets, err := keys.Secrets(s.Secret)
		if err != nil {
			if said := err.Error(); k.trouble[s.Secret] != said {
				k.trouble[s.Secret] = said
				k.logger.Error("the keys of a stream cannot be read: those that were read before stay", "stream", s.Name, "error", err)
			}
			continue
		}
		delete(k.trouble, s.Secret)
		if before := k.of[s.Secret]; !keys.Same(before, secrets) {
			k.of[s.Secret], changed = secrets, true
			k.logger.Info("a stream has other keys", "stream", s.Name, "keys", fmt.Sprint(secrets), "before", fmt.Sprint(before))
		}
	}
	return changed
}

// writeMetrics writes how many directories cannot be read.
func (k *streamKeys) writeMetrics(w io.Writer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	const name = "lectern_key_directories_unreadable"
	metrics.WriteMetadataIfNeeded(w, name, "gauge")
	fmt.Fprintf(w, "%s %d\n", name, len(k.trouble))
}
