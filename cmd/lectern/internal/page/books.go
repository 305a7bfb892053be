package page

import (
	"math"
	"strconv"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// sums is a book as it is told: every event sent is one of the others above the line.
type sums struct {
	Sent     int64            `json:"sent"`
	Accepted int64            `json:"accepted"`
	Refused  map[string]int64 `json:"refused"` // by reason, where there are any
	Shed     int64            `json:"shed"`
	Lost     int64            `json:"lost"` // less what was found
	Off      int64            `json:"off"`  // sent less all of them: 0 where the book balances

	Duplicate int64            `json:"duplicate"`
	Stale     int64            `json:"stale"`
	Reordered int64            `json:"reordered"`
	Clamped   int64            `json:"clamped"`
	Coarse    int64            `json:"coarse"` // of users, and of contents
	Saturated int64            `json:"saturated"`
	Unplaced  map[string]int64 `json:"unplaced"`
}

// balance finds out by how much a book is off.
func (s *sums) balance() {
	s.Off = s.Sent - s.Accepted - s.Shed - s.Lost
	for _, n := range s.Refused {
		s.Off -= n
	}
}

func sumsOf(b *storage.Book) *sums {
	s := &sums{
		Sent: b.Net(storage.Sent), Accepted: b.Net(storage.Accepted), Shed: b.Net(storage.Shed), Lost: b.Net(storage.Lost),
		Refused: reasons(b, storage.RefusedEvents), Unplaced: reasons(b, storage.UnplacedEvents),
		Duplicate: b.Net(storage.Duplicate), Stale: b.Net(storage.Stale), Reordered: b.Net(storage.Reordered), Clamped: b.Net(storage.Clamped),
		Coarse: b.Net(storage.Userless) + b.Net(storage.Contentless), Saturated: b.Net(storage.Saturated),
	}
	s.balance()
	return s
}

// reasons are a family's numbers above 0.
func reasons(b *storage.Book, f storage.Family) map[string]int64 {
	all := make(map[string]int64)
	for why := wire.Accepted + 1; int(why) < wire.Refusals; why++ {
		if n := b.Net(f.Of(why)); n > 0 {
			all[why.String()] = n
		}
	}
	return all
}

// lately is what was booked in the last d, by /metrics.
func (h *history) lately(d time.Duration) *sums {
	n := func(name string) int64 { return int64(math.Round(h.increase(name, d))) }
	s := &sums{
		Sent: n("lectern_events_sent_total"), Accepted: n("lectern_events_accepted_total"), Shed: n("lectern_events_shed_total"),
		Lost:    n("lectern_events_lost_total") - n("lectern_events_found_total"),
		Refused: make(map[string]int64), Unplaced: make(map[string]int64),
		Duplicate: n("lectern_events_duplicate_total"), Stale: n("lectern_events_stale_total"), Reordered: n("lectern_events_reordered_total"),
		Clamped: n("lectern_events_clamped_total"), Saturated: n("lectern_events_saturated_total"),
		Coarse: n("lectern_events_coarse_users_total") + n("lectern_events_coarse_contents_total"),
	}
	for why := wire.Accepted + 1; int(why) < wire.Refusals; why++ {
		for metric, to := range map[string]map[string]int64{"lectern_events_refused_total": s.Refused, "lectern_events_unplaced_total": s.Unplaced} {
			if v := n(metric + `{reason="` + why.String() + `"}`); v > 0 {
				to[why.String()] = v
			}
		}
	}
	s.balance()
	return s
}

// streamLine is the book of a stream in one class.
type streamLine struct {
	Stream string `json:"stream"` // its number; "" for all streams without a name
	Name   string `json:"stream_name,omitempty"`
	Class  string `json:"class"`
	*sums
}

// span is a part of the last hour, for which there is a sum.
type span struct {
	Seconds int64 `json:"seconds"` // asked for
	Covered int64 `json:"covered"` // of these there is something known
	*sums
}

// spans are those for which there are sums beside that since the start.
var spans = []time.Duration{5 * time.Minute, time.Hour}

// books is /books.json.
func (p *Page) books(l *look) any {
	answer := struct {
		Time    int64        `json:"time"`
		Since   int64        `json:"since"`
		Total   *sums        `json:"total"`
		Lately  []span       `json:"lately"`
		Streams []streamLine `json:"streams"`
		Damaged int64        `json:"damaged"`
		Kept    kept         `json:"kept"`
	}{Time: l.at.UnixMilli(), Since: p.started.UnixMilli(), Streams: []streamLine{}}
	var total storage.Book
	for i := range l.books {
		b := &l.books[i]
		total.Add(&storage.Book{Counts: b.Book.Counts})
		line := streamLine{Name: b.Name, Class: b.Book.Class.String(), sums: sumsOf(&b.Book)}
		if b.Book.Stream != wire.StreamReserved {
			line.Stream = strconv.Itoa(int(b.Book.Stream))
		}
		answer.Streams = append(answer.Streams, line)
	}
	answer.Total = sumsOf(&total)
	answer.Damaged = int64(l.series["lectern_events_damaged_total"])
	answer.Kept = keptIn(l.series)
	p.told.Lock()
	defer p.told.Unlock()
	now := p.history.with(l.at, l.series)
	for _, d := range spans {
		answer.Lately = append(answer.Lately, span{int64(d.Seconds()), now.covered(d), now.lately(d)})
	}
	return answer
}

// covered is of how many of the last seconds there is something.
func (h *history) covered(d time.Duration) int64 {
	of := h.since(d)
	if len(of) == 0 {
		return 0
	}
	return int64(of[len(of)-1].at.Sub(of[0].at).Seconds())
}

// kept is where accepted events are: in rows of many each until they are stored.
type kept struct {
	Keys   int64 `json:"table_keys"`
	Rows   int64 `json:"rows_waiting"`
	Spool  int64 `json:"spool_rows"`
	Stored int64 `json:"events_stored"`
}

func keptIn(s series) kept {
	n := func(name string) int64 { return int64(s[name]) }
	return kept{n("lectern_table_keys"), n("lectern_rows_waiting"), n("lectern_spool_rows"), n("lectern_events_stored_total")}
}
