package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lectern/lectern/storage"
)

const exportHelp = `Write all that is known of a reader to standard output.

Usage:

  lectern export --user ID [--stream N] [flags]

What:

` + readerHelp + `
How:

  --format ndjson  a JSON object a line (the default)
  --format csv     comma-separated values, with a line of names
` + daemonsHelp + `
Each daemon first stores what it has received and not stored yet. A row is what the
reader did with one content in one minute, or part of it: where there are several of
one minute, add them up. Where variant is not 0 the row is of no reading, but of how
often that variant of the content's headline was shown to him (impressions), and
followed (clicks). resume is the progress that was told last, and resume_at when, if
any was. skipped is how many events were left out for each that is there, where a
sender samples. Times are UTC. In JSON, ids and streams are strings, since many
readers of JSON have no 64-bit integers.

Exit status: 0 when it is all, also when there is nothing; 1 when it may not be; 2
when the arguments make no sense.
`

// runExport is `lectern export`.
func (p *process) runExport(ctx context.Context, args []string) int {
	o := newForgetOptions("export")
	format := o.flags.String("format", "ndjson", "")
	if code, done := p.parse(o.flags, args, exportHelp); done {
		return code
	}
	write, ok := exportFormats[*format]
	switch {
	case !ok:
		return p.usage("export", fmt.Errorf("--format %q is neither ndjson nor csv", *format))
	case !o.flags.Changed("user"):
		return p.usage("export", errors.New("it wants --user ID"))
	}
	if code, ok := p.selection(o); !ok {
		return code
	}
	f, err := openForgetter(&o.loaded)
	if err != nil {
		return p.fail("export", err)
	}
	if err := p.bring(ctx, o, f); err != nil {
		return p.fail("export", err)
	}
	rows, err := f.Rows(ctx, o.meant)
	if err != nil {
		return p.fail("export", err)
	}
	out := bufio.NewWriter(p.stdout)
	if err = write(out, rows, namesOf(&o.loaded)); err == nil {
		err = out.Flush()
	}
	if err != nil {
		return p.fail("export", fmt.Errorf("cannot write the answer: %w", err))
	}
	return 0
}

var exportFormats = map[string]func(io.Writer, []storage.Row, streamNames) error{"ndjson": exportJSON, "csv": exportCSV}

// exportTime is how moments are written.
const exportTime = "2006-01-02T15:04:05.000Z"

// exportColumns are a row as it is exported, in order. How coarse it is, is none of
// them: a row of one reader is not.
func exportColumns(r *storage.Row, names streamNames) (all members) {
	all.add("stream", number(int(r.Stream)))
	all.add("stream_name", names[r.Stream])
	all.add("minute", time.Unix(int64(r.Minute), 0).UTC().Format(time.RFC3339))
	all.add("content", number(r.Content))
	all.add("user", number(r.User))
	all.add("opens", r.Opens)
	all.add("reads", r.Reads)
	all.add("finishes", r.Finishes)
	all.add("saves", r.Saves)
	all.add("shares", r.Shares)
	all.add("dwell_ms", r.Dwell)
	all.add("progress", r.Progress)
	all.add("first", time.UnixMilli(r.First).UTC().Format(exportTime))
	all.add("last", time.UnixMilli(r.Last).UTC().Format(exportTime))
	all.add("skipped", r.Skipped)
	all.add("impressions", r.Impressions)
	all.add("clicks", r.Clicks)
	all.add("variant", r.Variant)
	var resume, resumed any // null where no progress was told
	if r.Resume > 0 {
		resume, resumed = r.Resume-1, time.UnixMilli(r.Last-int64(r.ResumeLag)).UTC().Format(exportTime)
	}
	all.add("resume", resume)
	all.add("resume_at", resumed)
	return all
}

func exportJSON(w io.Writer, rows []storage.Row, names streamNames) error {
	encode := json.NewEncoder(w)
	for i := range rows {
		if err := encode.Encode(exportColumns(&rows[i], names)); err != nil {
			return err
		}
	}
	return nil
}

func exportCSV(w io.Writer, rows []storage.Row, names streamNames) error {
	out := csv.NewWriter(w)
	var head []string
	for _, c := range exportColumns(new(storage.Row), names) {
		head = append(head, c.key)
	}
	if err := out.Write(head); err != nil {
		return err
	}
	for i := range rows {
		if err := out.Write(exportColumns(&rows[i], names).values()); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
