package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/logfile"
	"github.com/lectern/lectern/cmd/lectern/internal/once"
	"github.com/lectern/lectern/emit"
)

// emitSaveInterval is how often the place in a log is remembered.
const emitSaveInterval = time.Second

// emitSaveLines is how many lines share one look at the clock.
const emitSaveLines = 256

// emitLogOnce keeps account of what was sent of a log. A nil one keeps none.
//
// Over TCP, what was added is in the queue, which outlives a kill, and the queue
// knows how many events were ever added. So the place is remembered with that
// number; what was added behind it, the next run learns from the queue, and leaves
// out as many events behind the place. Over UDP the place is remembered when all
// before it was handed to the kernel.
type emitLogOnce struct {
	memory *once.Memory
	log    once.Log
	file   *logfile.File // nil before the first
	owed   uint64        // events behind log.Offset that were sent
	out    emitter
	mark   once.Mark
	saved  time.Time
	lines  int
	broken error // the memory cannot be written, so nothing more is sent
}

// openEmitLogOnce opens what --once remembers. It goes before the queue is opened
// for this run.
func openEmitLogOnce(o *emitOptions) (*emitLogOnce, error) {
	memory, err := once.Open(o.log.once, fmt.Sprintf("%s://%s as stream %d", o.network, o.address, o.client.Stream))
	if err != nil {
		return nil, err
	}
	p := &emitLogOnce{memory: memory}
	if o.client.Queue == "" {
		return p, nil
	}
	at, there, err := emit.QueuePosition(o.client.Queue)
	if err != nil || !there {
		return p, nil // one that cannot be read is set aside when it is opened
	}
	if err := p.recover(at); err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	return p, nil
}

// recover takes what was added since the place was remembered from where the
// queue is. A queue of another source is new, or its collector has forgotten the
// one before since: a moment, of which nobody knows how much it added.
func (p *emitLogOnce) recover(at emit.Position) error {
	was := p.memory.Mark()
	if was.Source == 0 || at.Source != was.Source || at.Events < was.Events {
		return nil
	}
	return p.memory.Owe(at.Events-was.Events, once.Mark(at))
}

// renamed returns what the log that was sent from last has become, where another
// one has its name now.
func (p *emitLogOnce) renamed(path string) (string, bool) {
	last, ok := p.memory.Last()
	if !ok || last.Name != path {
		return "", false
	}
	same := func(info fs.FileInfo, head []byte) bool {
		l, known := p.memory.Find(last.Name, info, head)
		return known && l.Offset == last.Offset && l.Events == last.Events
	}
	f, err := logfile.Open(path, logfile.HeadSize)
	if err != nil {
		return "", false // whoever opens it next says so
	}
	defer f.Close() // only read
	if same(f.Info(), f.Head()) {
		return "", false
	}
	return logfile.Renamed(path, logfile.HeadSize, same)
}

// begin takes a file up, and returns where its log was left.
func (p *emitLogOnce) begin(path string, f *logfile.File) (offset int64) {
	p.log, _ = p.memory.Find(path, f.Info(), f.Head())
	p.file, p.owed = f, p.log.Events
	return p.log.Offset
}

// sentAlready reports whether the next event was added by a run that was killed.
func (p *emitLogOnce) sentAlready() bool {
	if p == nil || p.owed == 0 {
		return false
	}
	p.owed--
	return true
}

// taken is called behind each line: the place is remembered now and then, and at
// once when the source has changed.
func (p *emitLogOnce) taken() error {
	if p == nil {
		return nil
	}
	if at, ok := p.position(); ok && at.Source != p.mark.Source {
		return p.save()
	}
	if p.lines++; p.lines%emitSaveLines != 0 {
		return nil
	}
	return p.tick()
}

// tick remembers the place if it is time to.
func (p *emitLogOnce) tick() error {
	if p == nil || time.Since(p.saved) < emitSaveInterval || p.file.Offset() == p.log.Offset && p.owed == p.log.Events {
		return nil
	}
	return p.save()
}

// position is where the client library is, false where it keeps no account, or is
// closed.
func (p *emitLogOnce) position() (once.Mark, bool) {
	if out, ok := p.out.(interface{ Position() (emit.Position, bool) }); ok {
		at, ok := out.Position()
		return once.Mark(at), ok
	}
	return once.Mark{}, false
}

// save remembers the place.
func (p *emitLogOnce) save() error {
	if p.broken != nil {
		return nil // it was said
	}
	var mark once.Mark
	switch out := p.out.(type) {
	case interface{ Position() (emit.Position, bool) }:
		at, open := out.Position()
		if !open {
			return nil // the queue tells the next run
		}
		mark = once.Mark(at)
	case interface{ Flush() error }:
		_ = out.Flush() // closed: then everything was sent
	}
	p.log.Know(p.file.Head())
	p.log.Offset, p.log.Events = p.file.Offset(), p.owed
	p.mark, p.saved = mark, time.Now()
	p.broken = p.memory.Save(p.log, mark)
	return p.broken
}

// close lets another run go on.
func (p *emitLogOnce) close() error {
	if p == nil {
		return nil
	}
	return p.memory.Close()
}
