package edge

import (
	"container/list"
	"time"
)

// page is one page that a browser has loaded, or had.
type page struct {
	id uint64
	numbers
	last time.Time // when something of it came
}

// pages are those that are known, at most max of them.
type pages struct {
	max    int
	idle   time.Duration // a page that is silent for so long is forgotten
	of     map[uint64]*list.Element
	recent list.List // of *page, the one that came last first
}

func newPages(most int, idle time.Duration) *pages {
	return &pages{max: most, idle: idle, of: make(map[uint64]*list.Element)}
}

// find returns a page, nil where it is not known.
func (p *pages) find(id uint64) *page {
	if e := p.of[id]; e != nil {
		return e.Value.(*page)
	}
	return nil
}

// put makes a page the one that came last.
func (p *pages) put(one page) {
	if e := p.of[one.id]; e != nil {
		*e.Value.(*page) = one
		p.recent.MoveToFront(e)
		return
	}
	kept := one // or each call would allocate one
	p.of[one.id] = p.recent.PushFront(&kept)
}

// over returns the page that is to be forgotten next, nil where none is: one that
// was silent for too long, or that has no room.
func (p *pages) over(now time.Time) *page {
	last := p.recent.Back()
	if last == nil {
		return nil
	}
	if one := last.Value.(*page); len(p.of) > p.max || now.Sub(one.last) >= p.idle {
		return one
	}
	return nil
}

// forget removes a page.
func (p *pages) forget(id uint64) {
	if e := p.of[id]; e != nil {
		p.recent.Remove(e)
		delete(p.of, id)
	}
}

// each calls f with every page, the one that came first first.
func (p *pages) each(f func(*page)) {
	for e := p.recent.Back(); e != nil; e = e.Prev() {
		f(e.Value.(*page))
	}
}
