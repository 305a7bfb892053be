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
	read  func() (wall time.Time, steady time.Duration)
	begin time.Duration // of the running time
}

// newClocks returns the clocks of Options whose running time begins at from, in
// milliseconds.
func newClocks(o *Options, from int64) *clocks {
	read := o.Clock
	if read == nil {
		start := time.Now()
		read = func() (time.Time, time.Duration) {
			now := time.Now() // one look at the kernel's clocks gives both
			return now, now.Sub(start)
		}
	}
	return &clocks{read, time.Duration(from) * time.Millisecond}
}

// now is both times in milliseconds, the wall's of Unix.
func (c *clocks) now() (wall, steady int64) {
	w, s := c.read()
	return w.UnixMilli(), (c.begin + s).Milliseconds()
}

// steady is the running time in milliseconds.
func (c *clocks) steady() int64 {
	_, s := c.read()
	return (c.begin + s).Milliseconds()
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
