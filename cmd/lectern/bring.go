package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/cmd/lectern/internal/ops"
	"github.com/lectern/lectern/cmd/lectern/internal/tokens"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
)

// bringAgain is the time between two requests to a daemon that is not done.
const bringAgain = 250 * time.Millisecond

// bring has all daemons store what they have received so far, and returns when they have:
// then what the store has is all that there is. A daemon may be started anew meanwhile.
func (p *process) bring(ctx context.Context, o *forgetOptions, f storage.Forgetter) error {
	ctx, cancel := context.WithTimeout(ctx, o.wait)
	defer cancel()
	daemons := asking{collectors: make(map[uint64]bool)}
	if o.loaded.Ops.TokenFile != "" {
		list, err := tokens.Read(o.loaded.Ops.TokenFile)
		if err != nil {
			return fmt.Errorf("ops.token_file: %w", err)
		}
		daemons.token = list[0]
	}
	peers, err := peerAddresses(ctx, o.loaded.Ops.PeerNames())
	if err != nil {
		return fmt.Errorf("ops.peers: %w", err)
	}
	for _, address := range append(peers, o.daemons...) {
		if err := until(ctx, func() error { return daemons.flush(ctx, address) }); err != nil {
			return fmt.Errorf("the daemon at %s: %w", address, err)
		}
	}
	if err := until(ctx, func() error { return daemons.local(ctx, &o.loaded) }); err != nil {
		return err
	}
	p.setAside(o)
	return p.unasked(ctx, o, f, daemons.collectors)
}

// peerAddresses are the operations addresses behind the names of ops.peers: those of all
// daemons of a cluster.
func peerAddresses(ctx context.Context, names []string) (all []string, err error) {
	for _, name := range names {
		host, port, err := net.SplitHostPort(name)
		if err != nil {
			return nil, err
		}
		addresses, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return nil, err
		}
		for _, address := range addresses {
			all = append(all, net.JoinHostPort(address, port))
		}
	}
	return all, nil
}

// asking is what daemons are asked with, and the collectors of those that have stored what
// they had.
type asking struct {
	token      string // the first of ops.token_file
	collectors map[uint64]bool
}

// until calls f until it succeeds, or ctx ends: then its last error says why, and not that
// of a call that ctx cut short.
func until(ctx context.Context, f func() error) (last error) {
	for {
		err := f()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if pauseFor(ctx, bringAgain) != nil {
			return last
		}
	}
}

// local has the daemon that has spool.dir store what it has. Where no process has it,
// nothing may wait there.
func (a *asking) local(ctx context.Context, c *config.Config) error {
	places, err := spool.Places(c.Spool.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there is no daemon on this machine
	}
	if err != nil {
		return err
	}
	for _, place := range places {
		switch running, err := spool.Running(place); {
		case err != nil:
			return err
		case running:
			if err := a.flush(ctx, c.Ops.Address); err != nil {
				return fmt.Errorf("the daemon that has %s, at ops.address %s: %w", place, c.Ops.Address, err)
			}
			return nil // it answers for all places
		}
	}
	if w := waiting(c); w.any() {
		return fmt.Errorf("%s, and no daemon runs that brings it to the store: start `lectern serve`", w.say(time.Now(), c))
	}
	return nil
}

// flush asks a daemon to store what it has, and notes its collector.
func (a *asking) flush(ctx context.Context, address string) error {
	text, err := ask(ctx, http.MethodPost, "http://"+address+"/flush", a.token)
	if err != nil {
		return err
	}
	var said ops.Flushed
	if err := json.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("it answers %.100q: %w", text, err)
	}
	id, err := strconv.ParseUint(said.Collector, 16, 64)
	a.collectors[id] = true
	return err
}

// setAside names what may hold more of it and is a person's alone: files that were set
// aside, what a spool held before it was renewed, and the logs of a daemon that does not
// run, which go at its next start.
func (p *process) setAside(o *forgetOptions) {
	var kept []string
	for _, pattern := range []string{"*.bad", "renewed-*", "*/*.bad", "*/renewed-*"} {
		names, _ := filepath.Glob(filepath.Join(o.loaded.Spool.Dir, pattern))
		kept = append(kept, names...)
	}
	places, _ := spool.Places(o.loaded.Spool.Dir)
	for _, place := range places {
		running, err := spool.Running(place)
		contents, unread := spool.Inspect(place)
		if running || err != nil || unread != nil {
			continue
		}
		for _, l := range contents.Logs {
			if slices.ContainsFunc(l.Records, func(r spool.RecordContents) bool { return r.Rows > 0 }) {
				kept = append(kept, filepath.Join(place, l.Name))
			}
		}
	}
	if len(kept) > 0 {
		fmt.Fprintf(p.stderr, "lectern %s: these files may hold more of it, and are left alone: %s. Logs go at the next start of the daemon; look at the others and remove what is not needed\n",
			o.flags.Name(), strings.Join(kept, ", "))
	}
}

// recently is how long ago a collector has stored a block for it to be one that may hold
// something still.
const recently = time.Hour

// unasked says which collectors have stored something lately and were not asked, where the
// store can tell. They may be of daemons that are gone.
func (p *process) unasked(ctx context.Context, o *forgetOptions, f storage.Forgetter, asked map[uint64]bool) error {
	store, ok := f.(interface {
		Collectors(ctx context.Context, since time.Time) ([]uint64, error)
	})
	if !ok {
		return nil
	}
	all, err := store.Collectors(ctx, p.now().Add(-recently))
	if err != nil {
		return err
	}
	var missed []string
	for _, id := range all {
		if !asked[id] {
			missed = append(missed, fmt.Sprintf("%016x", id))
		}
	}
	if len(missed) > 0 {
		fmt.Fprintf(p.stderr, "lectern %s: collectors that were not asked have stored something within %s: %s. Where their daemons run, name them with --daemon, or run this there as well\n",
			o.flags.Name(), config.FormatDuration(recently), strings.Join(missed, ", "))
	}
	return nil
}
