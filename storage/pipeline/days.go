package pipeline

import "github.com/lectern/lectern/storage"

// days are the days of the rows that wait to be flushed together. Each becomes a
// block at least, which costs a store as much as a thousand rows do, so their number
// is bounded.
type days struct {
	max  int // 0: no bound
	open map[uint32]struct{}
}

// clamp moves rows of days that would be too many into the minute in which the seal
// ends, when they arrived at the latest, and counts their events as clamped in its
// books. To close the window early would bound nothing: the next one would open as
// many days. Yesterday, today and tomorrow are never too many, so whoever fills the
// others takes nothing from those who read now. The rows and books are changed in
// place; the result is how many events were moved.
func (d *days) clamp(seal *storage.Seal) (moved uint64) {
	if d.max == 0 {
		return 0
	}
	minute := uint32(seal.Window.End / 60_000 * 60)
	today := minute / storage.SecondsPerDay
	books := map[uint16]*storage.Book(nil)
	fits, last := true, today
	for i := range seal.Rows {
		r := &seal.Rows[i]
		if day := r.Day(); day != last {
			fits, last = d.fits(day, today), day
		}
		if fits {
			continue
		}
		if books == nil {
			books = make(map[uint16]*storage.Book, len(seal.Books))
			for i := range seal.Books {
				books[seal.Books[i].Stream] = &seal.Books[i] // of whichever class: rows have none
			}
		}
		r.Minute, r.First, r.Last = minute, seal.Window.End, seal.Window.End
		moved += r.Events()
		if b := books[r.Stream]; b != nil {
			b.Counts[storage.Clamped] += r.Events()
		}
	}
	return moved
}

// fits says whether a day is open, and opens it if it may.
func (d *days) fits(day, today uint32) bool {
	if day+1 >= today && day <= today+1 {
		return true
	}
	if _, ok := d.open[day]; ok {
		return true
	}
	if len(d.open) >= d.max {
		return false
	}
	d.add(day)
	return true
}

func (d *days) add(day uint32) {
	if d.open == nil {
		d.open = make(map[uint32]struct{})
	}
	d.open[day] = struct{}{}
}

// follow opens the days of all rows that are there, or come, however many they are.
func (d *days) follow(rows *storage.Minutes) {
	if d.max > 0 {
		rows.Opened = d.add
	}
	d.are(rows)
}

// are opens the days of the rows that are left, and no others.
func (d *days) are(rows *storage.Minutes) {
	clear(d.open)
	if d.max > 0 {
		rows.Days(d.add)
	}
}
