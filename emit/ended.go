package emit

import "fmt"

// SourceEndedError says that a source ended before all that was sent under it
// was acknowledged, since its collector answered what does not fit: that it does
// not know this source, that it keeps another spool than the one that was sent to
// (a load balancer led to it, or it lost the first one), that it has what was never sent (a queue was restored
// from a copy, or a stranger sends under this number), or that a frame
// contradicts others. The emitter goes on under another source.
type SourceEndedError struct {
	Source uint64 // that ended
	Next   uint64 // that goes on
	// Unsure is how many events were sent under Source of which nobody knows
	// whether they were counted. They are not sent again.
	Unsure uint64
	Reason error // what the collector answered
}

func (e *SourceEndedError) Error() string {
	sure := "nothing that was sent under it is in doubt"
	if e.Unsure > 0 {
		sure = fmt.Sprintf("whether %d events that were sent under it were counted is not known, and they are not sent again", e.Unsure)
	}
	return fmt.Sprintf("emit: source %d ended: %v; %s; source %d goes on", e.Source, e.Reason, sure, e.Next)
}

// Unwrap returns the reason.
func (e *SourceEndedError) Unwrap() error { return e.Reason }

// endSource begins a new source and returns why. unsure says which of the frames
// that are not acknowledged may have been counted: they are given up. The others
// become the first of the new source.
func (t *TCP) endSource(reason error, unsure func(m mark, sequence uint64) bool) error {
	q := t.queue
	ended := &SourceEndedError{Source: q.source, Reason: reason}
	tried := q.tried()
	for !q.empty() {
		m := q.follow(q.head)
		frame := q.frame(m)
		if !unsure(m, frameSequence(frame)) {
			break
		}
		if !q.refused(m) {
			ended.Unsure += uint64(frameCount(frame))
		}
		q.release()
	}
	t.stats.Unsure += ended.Unsure
	t.stats.Buffered -= ended.Unsure
	q.renew()
	ended.Next = q.source
	t.recovered = 0
	// Whoever answers so to a source that has sent nothing will do it again: then
	// this is no progress, and the next connection waits.
	t.link.progress = t.link.progress || tried > 0
	t.renewIfEmpty()
	t.settle()
	return ended
}
