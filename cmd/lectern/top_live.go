package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	flag "github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/lectern/lectern/cmd/lectern/internal/now"
	"github.com/lectern/lectern/cmd/lectern/internal/progress"
)

// topLive are the arguments of `lectern top --live`.
type topLive struct {
	on      bool
	ops     string
	streams []uint16
	named   []string // likewise, by their names
	limit   int
	url     string // to be asked
}

const (
	liveInterval = time.Second
	liveWait     = 5 * time.Second
	liveLimitMax = 100
)

// runTopLive is `lectern top --live`.
func (p *process) runTopLive(ctx context.Context, store *storeFlags, o topLive) int {
	wrong := ""
	store.flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "by", "since", "all", "sort", "dir":
			wrong = f.Name
		}
	})
	switch {
	case !o.on:
		return p.usage("top", errors.New("--ops is for --live"))
	case wrong != "":
		return p.usage("top", fmt.Errorf("--%s asks the store, and --live asks a daemon", wrong))
	case o.limit < 1 || o.limit > liveLimitMax:
		return p.usage("top", fmt.Errorf("-n %d is outside of 1 to %d, which --live shows", o.limit, liveLimitMax))
	}
	if o.ops == "" || len(o.named) > 0 {
		c, ok := p.load(store.flags, store.config)
		if !ok {
			return 1
		}
		store.loaded = &c
		o.ops = cmp.Or(o.ops, "http://"+reachable(c.Ops.Address))
	}
	named, err := store.numbers(o.named)
	if err != nil {
		return p.usage("top", err)
	}
	o.streams = append(o.streams, named...)
	u, err := url.Parse(o.ops)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return p.usage("top", fmt.Errorf("--ops %q is no URL such as http://127.0.0.1:8421", o.ops))
	}
	values := url.Values{"limit": {fmt.Sprint(o.limit)}}
	for _, n := range o.streams {
		values.Add("stream", fmt.Sprint(n))
	}
	o.url = strings.TrimSuffix(o.ops, "/") + nowPath + "?" + values.Encode()
	in, fromTerminal := p.stdin.(*os.File)
	if store.json || !progress.IsTerminal(p.stdout) || !fromTerminal || !term.IsTerminal(int(in.Fd())) {
		return p.showOnce(ctx, &o, store.json)
	}
	return p.showLive(ctx, &o, in, p.stdout.(*os.File))
}

// reachable is an address to connect to where a server listens on this one.
func reachable(address string) string {
	host, port, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// fetch asks the daemon.
func (o *topLive) fetch(ctx context.Context) ([]byte, *now.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, liveWait)
	defer cancel()
	body, err := ask(ctx, http.MethodGet, o.url, "")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot ask the daemon at %s what is read now; is one running there? %w", o.ops, err)
	}
	page := new(now.Page)
	if err := json.Unmarshal(body, page); err != nil {
		return nil, nil, fmt.Errorf("%s answered what is not that of docs/NOW.md: %w", o.ops, err)
	}
	return body, page, nil
}

// showOnce prints one answer.
func (p *process) showOnce(ctx context.Context, o *topLive, asJSON bool) int {
	body, page, err := o.fetch(ctx)
	if err != nil {
		return p.fail("top", err)
	}
	if asJSON {
		return p.print("top", string(body))
	}
	return p.print("top", strings.Join(livePage(page, 0), "\n")+"\n")
}

// The terminal's own words.
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l" // another screen, without a cursor
	screenClose = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	lineEnd     = "\x1b[K\r\n" // behind a line, what stood there before goes
	screenRest  = "\x1b[J"     // and below the last
)

// showLive shows answers until somebody wants no more.
func (p *process) showLive(ctx context.Context, o *topLive, in, out *os.File) int {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return p.showOnce(ctx, o, false)
	}
	fmt.Fprint(out, screenOpen)
	defer func() {
		fmt.Fprint(out, screenClose)
		_ = term.Restore(int(in.Fd()), before)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // until the program ends: nothing ends a read from a terminal
		quitKey(in)
		cancel()
	}()
	tick := time.NewTicker(liveInterval)
	defer tick.Stop()
	var page *now.Page
	for {
		_, next, err := o.fetch(ctx)
		if ctx.Err() != nil {
			return 0
		}
		if err == nil {
			page = next
		}
		columns, lines, sizeErr := term.GetSize(int(out.Fd()))
		if sizeErr != nil {
			columns, lines = 80, 24
		}
		fmt.Fprint(out, liveScreen(page, err, columns, lines))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0
		}
	}
}

// quitKey returns when q, Ctrl-C or Ctrl-D is pressed, or nothing more can be.
func quitKey(in io.Reader) {
	var key [1]byte
	for {
		if n, err := in.Read(key[:]); err != nil || n == 1 && strings.IndexByte("qQ\x03\x04", key[0]) >= 0 {
			return
		}
	}
}

// liveScreen is what is drawn: the page, or what is known of it, and what went wrong.
func liveScreen(page *now.Page, err error, columns, lines int) string {
	var all []string
	if page != nil {
		all = livePage(page, columns)
	}
	if err != nil {
		all = append([]string{cutColumns(printable(err.Error()), columns)}, all...)
	}
	all = all[:min(len(all), max(1, lines-1))]
	return screenHome + strings.Join(all, lineEnd) + lineEnd + screenRest
}
