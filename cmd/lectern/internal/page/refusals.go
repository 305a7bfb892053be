package page

import (
	"encoding/hex"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/ops"
	"github.com/lectern/lectern/wire"
)

// wordLine is a word of refusal: how often, and who was refused by it last.
type wordLine struct {
	Word     string       `json:"word"`
	Frames   int64        `json:"frames"` // since the start
	Minutes  int64        `json:"frames_5m"`
	Hour     int64        `json:"frames_1h"`
	Events   int64        `json:"events"`   // that can be nothing else
	Unplaced int64        `json:"unplaced"` // that show as lost, or come again
	Senders  []senderLine `json:"senders"`
}

// senderLine is who was refused, and what the last frame began with.
type senderLine struct {
	Peer      string `json:"peer"` // "" where nobody knows
	Transport string `json:"transport"`
	Times     uint64 `json:"times"`
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
	Size      int    `json:"size"`
	Bytes     string `json:"bytes"`            // in hex; of a source's number zeros
	Source    string `json:"source,omitempty"` // ops.SourceName of it
}

// refusals is /refusals.json.
func (p *Page) refusals(l *look) any {
	senders := make(map[wire.Refusal][]senderLine)
	for _, r := range l.refused {
		s := senderLine{
			Peer: r.Peer, Transport: r.Transport, Times: r.Times, First: r.First, Last: r.Last, Size: r.Size, Bytes: hex.EncodeToString(r.Began),
		}
		if r.Sourced {
			s.Source = ops.SourceName(r.Source)
		}
		senders[r.Why] = append(senders[r.Why], s)
	}
	answer := struct {
		Time  int64      `json:"time"`
		Since int64      `json:"since"`
		Words []wordLine `json:"words"`
	}{Time: l.at.UnixMilli(), Since: p.started.UnixMilli()}
	p.told.Lock()
	defer p.told.Unlock()
	now := p.history.with(l.at, l.series)
	for why := wire.Accepted + 1; int(why) < wire.Refusals; why++ {
		of := `{reason="` + why.String() + `"}`
		line := wordLine{
			Word: why.String(), Frames: int64(l.series["lectern_frames_refused_total"+of]),
			Minutes:  int64(now.increase("lectern_frames_refused_total"+of, 5*time.Minute)),
			Hour:     int64(now.increase("lectern_frames_refused_total"+of, time.Hour)),
			Events:   int64(l.series["lectern_events_refused_total"+of]),
			Unplaced: int64(l.series["lectern_events_unplaced_total"+of]),
			Senders:  senders[why],
		}
		if line.Senders == nil {
			line.Senders = []senderLine{}
		}
		answer.Words = append(answer.Words, line)
	}
	return answer
}
