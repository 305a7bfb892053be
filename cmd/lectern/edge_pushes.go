package main

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/cmd/lectern/internal/edge"
	"github.com/lectern/lectern/cmd/lectern/internal/tokens"
)

// edgePushes says how logs are pushed to an edge.
func edgePushes(c *config.Edge, logger *slog.Logger) (edge.Pushes, error) {
	o := edge.Pushes{Fields: c.LogsNamed(), Paths: accesslog.Paths{Skip: splitList(c.LogsSkip)}, Fastly: splitList(c.FastlyServices)}
	if c.LogsTokenFile == "" {
		return o, nil
	}
	t := &tokensFile{path: c.LogsTokenFile, logger: logger}
	var err error
	if t.list, err = tokens.Read(t.path); err != nil {
		return o, fmt.Errorf("the tokens of those who push logs; check edge.logs_token_file: %w", err)
	}
	o.Tokens = t.all
	return o, nil
}

// tokensFile has tokens of a file, as it is when they are asked for.
type tokensFile struct {
	path   string
	logger *slog.Logger

	mu   sync.Mutex // protects the fields below
	list []string   // as the file was when it could be read
	told time.Time  // when the log last said that it cannot be
}

// tokensTold is how often the log says at the most that the file cannot be read.
const tokensTold = time.Minute

func (t *tokensFile) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, err := tokens.Read(t.path)
	if err == nil {
		t.list = list
		return list
	}
	if now := time.Now(); now.Sub(t.told) >= tokensTold {
		t.logger.Error("the tokens of those who push logs cannot be read; those from before hold", "error", err)
		t.told = now
	}
	return t.list
}
