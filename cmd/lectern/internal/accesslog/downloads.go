package accesslog

// downloadSilence is how long a download may pause between two of its parts, in
// milliseconds: a player that is paused asks for the next part when it goes on.
const downloadSilence = 30 * 60 * 1000

// downloadsMax is how many downloads are remembered at least.
const downloadsMax = 1 << 16

// Downloads tells a further part of a download from a new one: players and
// download managers ask for one file in many ranges, each answered 206. It is not
// safe for concurrent use.
type Downloads struct {
	now, before map[download]int64 // when the last part was
}

type download struct{ content, user uint64 }

// Further reports whether a line with this status at this time (Unix
// milliseconds) only goes on with what the same user opened before.
func (d *Downloads) Further(content, user uint64, status int, at int64) bool {
	key := download{content, user}
	last, known := d.now[key]
	if !known {
		last, known = d.before[key]
	}
	if len(d.now) >= downloadsMax || d.now == nil {
		d.now, d.before = make(map[download]int64), d.now
	}
	further := known && status == 206 && at-last <= downloadSilence && last-at <= downloadSilence
	if status == 206 || status == 200 {
		d.now[key] = max(at, last)
	}
	return further
}
