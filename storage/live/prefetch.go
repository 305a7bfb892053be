package live

import "github.com/lectern/lectern/storage/pages"

// prefetchNameless prefetches where those of some visits would be who are nameless.
func (r *Readers) prefetchNameless(of []uint8) {
	if r.nameless == 0 {
		return
	}
	for i, at := range of {
		v := &r.visits[at]
		r.lines[i] = r.table.line(r.table.namelessPrint(v.stream, v.user))
	}
	pages.Prefetch(&r.lines[0], len(of))
}

// prefetchPlaces prefetches where contents are found, and the rest of what those want who
// get a slot.
func (r *Readers) prefetchPlaces(of []uint8) {
	lines := r.lines[:0]
	for _, at := range of {
		v := &r.visits[at]
		stream, known := r.streams.find(v.stream)
		lines = append(lines, r.contents.homeLine(stream, v.content))
		if !known || !r.hasRoom(stream) {
			continue
		}
		if _, known := r.knownNameless(v); !known {
			lines = append(lines, r.table.userLine(v.print), r.wholes.line(stream, v.user))
		}
	}
	pages.Prefetch(&lines[0], len(lines))
}

// prefetchContents prefetches the contents of visits.
func (r *Readers) prefetchContents(of []uint8) {
	lines := r.lines[:0]
	for _, at := range of {
		v := &r.visits[at]
		stream, _ := r.streams.find(v.stream)
		content, opens := r.contents.lines(stream, v.content, r.to)
		if lines = append(lines, content); v.opens != 0 {
			lines = append(lines, opens[0], opens[1])
		}
	}
	pages.Prefetch(&lines[0], len(lines))
}
