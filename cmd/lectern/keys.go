package main

import (
	"context"
	"fmt"

	"github.com/lectern/lectern/cmd/lectern/internal/keys"
)

const keysHelp = `Make and look at the keys that frames are sealed with.

Usage:

  lectern keys new --dir DIR
  lectern keys ls --dir DIR
  lectern keys check [--config FILE]

  new      draws a key and writes it to a new file in DIR, which is made where
           there is none, for its owner alone. Its epoch is the next of 0 to 3
           that is free
  ls       the keys in DIR: file, epoch, and a fingerprint, by which the two ends
           can be compared. No key is shown
  check    reads the keys of all streams of the configuration, and says what is
           wrong with them, and whether this machine checks tags in hardware

A directory has the keys of one stream, a file for each epoch: it is a stream's
"secret" in the configuration. Emitters get one of the files (lectern emit
--key-file). To replace a key: make a new one, give it to the collectors, then to
the emitters, and remove the old one when lectern_key_last_used_timestamp_seconds
of its epoch stands still. Nobody needs a restart. docs/SECURITY.md has it step by
step.

Flags:

  --dir DIR        the directory of a stream's keys
  --config FILE    the configuration (default ./config.toml)

Exit status: 0 when all is well; 1 when a key cannot be read or made; 2 when the
arguments make no sense.
`

// runKeys is `lectern keys`.
func (p *process) runKeys(_ context.Context, args []string) int {
	flags := newFlags("keys")
	dir := flags.String("dir", "", "")
	path := flags.String("config", "", "")
	action, code, done := p.parseAction(flags, args, keysHelp, "what to do")
	if done {
		return code
	}
	err := goWith(flags, action, map[string]string{"dir": "new and ls", "config": "check"})
	switch {
	case err != nil:
		return p.usage("keys", err)
	case action != "check" && *dir == "":
		return p.usage("keys", fmt.Errorf("%s needs --dir DIR", action))
	case action == "new":
		return p.keysNew(*dir)
	case action == "ls":
		return p.keysList(*dir)
	}
	c, ok := p.load(flags, *path)
	if !ok {
		return 1
	}
	t := table{left: 5}
	t.add("STREAM", "NAME", "EPOCH", "FINGERPRINT", "FILE")
	for _, s := range c.Named {
		if s.Secret == "" {
			continue
		}
		files, err := keys.Read(s.Secret)
		if err != nil {
			code = p.fail("keys", fmt.Errorf("stream %s: %w", s.Name, err))
		}
		for _, f := range files {
			t.add(number(s.Number), s.Name, fmt.Sprint(f.Secret.Epoch()), keys.Fingerprint(f.Secret), f.Path)
		}
	}
	speed := "This machine checks tags in hardware.\n"
	if !keys.Fast() {
		speed = "This machine has no AES and carry-less multiplication for Go's GCM: each tag costs some ten times as much.\n"
	}
	if printed := p.print("keys", t.String()+speed); printed != 0 {
		return printed
	}
	return code
}

func (p *process) keysNew(dir string) int {
	path, secret, err := keys.New(dir)
	if err != nil {
		return p.fail("keys", fmt.Errorf("make a key in %s: %w", dir, err))
	}
	return p.print("keys", fmt.Sprintf("%s: epoch %d, fingerprint %s\n", path, secret.Epoch(), keys.Fingerprint(secret)))
}

func (p *process) keysList(dir string) int {
	files, err := keys.Read(dir)
	if err != nil {
		return p.fail("keys", err)
	}
	t := table{left: 4}
	t.add("EPOCH", "FINGERPRINT", "MODE", "FILE")
	for _, f := range files {
		t.add(fmt.Sprint(f.Secret.Epoch()), keys.Fingerprint(f.Secret), f.Info.Mode().String(), f.Path)
	}
	return p.print("keys", t.String())
}
