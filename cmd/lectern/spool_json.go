package main

import (
	"encoding/json"
	"fmt"
	"time"
)

// The lists below are never null, so that a script need not ask.

// spoolLine is what `lectern spool ls --json` prints.
type spoolLine struct {
	Places []placeLine `json:"places"`
}

// placeLine is one daemon's directory.
type placeLine struct {
	Dir       string      `json:"dir"`
	Collector string      `json:"collector"` // 16 hexadecimal digits, as everywhere
	Seals     int         `json:"seals"`     // in no block yet
	SealRows  int         `json:"seal_rows"`
	SealSince int64       `json:"seal_since,omitempty"` // of the oldest, Unix milliseconds
	Blocks    []blockLine `json:"blocks"`
	Damaged   []badLine   `json:"damaged"`
}

// blockLine is a block that waits for the store.
type blockLine struct {
	Block    uint64 `json:"block"`
	Day      string `json:"day,omitempty"` // of its rows; none where it has books alone
	Rows     int    `json:"rows"`
	Books    int    `json:"books"`
	Bytes    int64  `json:"bytes"`
	Received int64  `json:"received"` // when its window began, Unix milliseconds
}

// badLine is a file that was set aside.
type badLine struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// spoolListJSON is `lectern spool ls --json`.
func (p *process) spoolListJSON(places []place) int {
	list := spoolLine{Places: []placeLine{}}
	for _, c := range places {
		list.Places = append(list.Places, linesOf(c))
	}
	text, err := json.Marshal(list)
	if err != nil {
		return p.fail("spool", err)
	}
	return p.print("spool", string(text)+"\n")
}

func linesOf(c place) placeLine {
	seals, rows, since := c.Sealed()
	l := placeLine{
		Dir: c.dir, Collector: fmt.Sprintf("%016x", c.Collector), Seals: seals, SealRows: rows, SealSince: since,
		Blocks: []blockLine{}, Damaged: []badLine{},
	}
	for _, r := range c.Queue() {
		for _, b := range r.Blocks {
			line := blockLine{Block: b.Number, Rows: b.Rows, Books: b.Books, Bytes: b.Length, Received: r.Window.Start}
			if b.Rows > 0 {
				line.Day = dayOf(b.Day).Format(time.DateOnly)
			}
			l.Blocks = append(l.Blocks, line)
		}
	}
	for _, bad := range c.Bad {
		l.Damaged = append(l.Damaged, badLine{bad.Name, bad.Size})
	}
	return l
}

// dayOf is the beginning of a day that is counted from 1970.
func dayOf(n uint32) time.Time { return time.Unix(int64(n)*24*60*60, 0).UTC() }
