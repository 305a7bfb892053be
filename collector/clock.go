package collector

import (
	"time"

	"github.com/lectern/lectern/storage"
)

// clocks tell two times. The wall's dates events and frames; somebody may set it,
// so nothing is measured by it. The steady one measures silence. It is running
// time: it goes on from where the sources of a former process stood, so that
// what a spool says of a source's silence holds over a restart, and the time in
// which nobody could hear it counts as nothing.
type clocks struct {
	read func() (wall time.Time, steady time.Duration)
}

// newClocks returns the clocks of Options whose running time begins at from, in
// milliseconds.
func newClocks(o *Options, from int64) *clocks {
	begin, start := time.Duration(from)*time.Millisecond, time.Now()
	wall, steady := o.Clock, o.Steady
	switch {
	case wall == nil && steady == nil:
		return &clocks{func() (time.Time, time.Duration) {
			now := time.Now() // one look at the kernel's clocks gives both
			return now, begin + now.Sub(start)
		}}
	case wall == nil:
		wall = time.Now
	case steady == nil:
		steady = func() time.Duration { return time.Since(start) }
	}
	return &clocks{func() (time.Time, time.Duration) { return wall(), begin + steady() }}
}

// now is both times in milliseconds, the wall's of Unix.
func (c *clocks) now() (wall, steady int64) {
	w, s := c.read()
	return w.UnixMilli(), s.Milliseconds()
}

// steady is the running time in milliseconds.
func (c *clocks) steady() int64 {
	_, s := c.read()
	return s.Milliseconds()
}

// since is how long ago a moment of the running time was.
func (c *clocks) since(moment int64) time.Duration {
	return time.Duration(c.steady()-moment) * time.Millisecond
}

// runningTime is when the one of these sources that spoke last did: the time of
// a spool goes on from there.
func runningTime(all []storage.Source) (latest int64) {
	for i := range all {
		latest = max(latest, all[i].LastSeen)
	}
	return latest
}
