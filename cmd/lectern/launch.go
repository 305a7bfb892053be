package main

import (
	"log/slog"
	"os"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
)

// launch is what a command begins with that works until it is told to stop.
type launch struct {
	config  config.Config
	read    func() (config.Config, []config.Problem) // the configuration, once more
	output  *logOutput
	logger  *slog.Logger
	level   *slog.LevelVar
	hangups <-chan os.Signal
}

// launch runs such a command, and returns its exit status.
func (p *process) launch(command, help string, args []string, work func(*launch) error) int {
	flags := newFlags(command)
	path := flags.String("config", "", "")
	if code, done := p.parse(flags, args, help); done {
		return code
	}
	c, ok := p.load(flags, *path)
	if !ok {
		return 1
	}
	l := &launch{config: c, output: newLogOutput(p.stderr)}
	l.read = func() (config.Config, []config.Problem) {
		return config.Load(*path, flags.Changed("config"), p.environ)
	}
	l.logger, l.level = newLogger(&c, l.output)
	hangups, undo := outliveTerminal()
	defer undo()
	l.hangups = hangups
	err := work(l)
	l.output.close()
	if err != nil {
		return p.fail(command, err)
	}
	return 0
}
