package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lectern/lectern/storage/spool"
)

// resendRisk is what a person has to know before.
const resendRisk = `Whether ClickHouse has these blocks is not known. A block that it does have, on a
replica that is away or on another shard, is there twice when that comes back,
and its rows count twice. Better ways, as long as there is hope:

  - bring the replica that had it back: the block is found by itself;
  - drop a replica that is gone for good from Keeper (SYSTEM DROP REPLICA 'NAME'):
    when nobody has the block any more it is sent again by itself.

`

// spoolResend is `lectern spool resend`.
func (p *process) spoolResend(s *spoolFlags) int {
	if s.flags.Changed("block") == s.all {
		return p.usage("spool", errors.New("resend needs --block N, or --all"))
	}
	places, ok := p.spoolContents(s)
	if !ok {
		return 1
	}
	wanted := make(map[string][]uint64)
	var dirs []string
	t := table{left: 1}
	t.add("BLOCK", "ROWS", "RECEIVED", "IN")
	for _, place := range places {
		for _, r := range place.Queue() {
			for _, block := range r.Blocks {
				if !s.all && block.Number != s.block {
					continue
				}
				if len(wanted[place.dir]) == 0 {
					dirs = append(dirs, place.dir)
				}
				wanted[place.dir] = append(wanted[place.dir], block.Number)
				t.add(number(block.Number), number(block.Rows), age(p.now(), r.Window.Start), place.dir)
			}
		}
	}
	switch {
	case len(dirs) == 0 && s.all:
		return p.print("spool", "No blocks wait for the store.\n")
	case len(dirs) == 0:
		return p.fail("spool", fmt.Errorf("no block %d waits in %q; `lectern spool ls` shows those that do", s.block, s.dir))
	case len(dirs) > 1 && !s.all:
		return p.fail("spool", fmt.Errorf("block %d waits in several places: name one of them with --dir: %s", s.block, strings.Join(dirs, ", ")))
	}
	if code := p.print("spool", resendRisk+t.String()+"\n"); code != 0 {
		return code
	}
	if !s.yes {
		return p.fail("spool", errors.New("nothing was changed: with --yes they are sent again"))
	}
	for _, dir := range dirs {
		if err := spool.AskResend(dir, wanted[dir]...); err != nil {
			return p.fail("spool", err)
		}
	}
	return p.print("spool", fmt.Sprintf("%d blocks are sent again, each once, if they are in doubt: by the daemon within two minutes, or by the next one.\n", len(t.rows)-1))
}
