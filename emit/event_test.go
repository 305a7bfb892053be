//go:build go1.26

package emit

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/wire"
)

// An event without a time is one of now, whichever way it goes.
func TestEventWithoutATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(12345 * time.Millisecond)
		now := time.Now().UnixMilli()
		u, tap := tapped(t, Options{})
		e := Event{Content: 42, User: 7}
		add(t, u, e)
		_ = u.Close(t.Context())
		headers, events := unpack(t, tap.writes[beats])
		if len(headers) != 1 || events[0].Time != now {
			t.Errorf("over UDP: %+v, now is %d", events, now)
		}

		p, err := NewPacker(1, 100)
		if err == nil {
			err = p.Add(&e)
		}
		if err != nil {
			t.Fatal(err)
		}
		if h, _ := wire.ParseHeader(p.Finish(nil)); h.Time != time.Now().UnixMilli() || e.Time != 0 {
			t.Errorf("of a packer: %+v, and the caller's is %d", h, e.Time)
		}

		q := newQueue(1, 1000, 1<<16)
		if err := e.prepare(); err != nil || !q.add(&e) || e.Time != time.Now().UnixMilli() {
			t.Errorf("over TCP: %+v, %v", e, err)
		}
	})
}

// Seconds in place of milliseconds are no event of January 1970.
func TestEventInSeconds(t *testing.T) {
	for _, unit := range []struct {
		time int64
		want error
	}{
		{time.Now().Unix(), errSeconds}, {1, errSeconds}, {secondsMax - 1, errSeconds},
		{time.Now().UnixMicro(), errTime}, {time.Now().UnixNano(), errTime},
		{secondsMax, nil}, {time.Now().UnixMilli(), nil},
	} {
		e := Event{Time: unit.time}
		if err := e.prepare(); err != unit.want || e.Time != unit.time {
			t.Errorf("%d: %v, want %v", unit.time, err, unit.want)
		}
	}
	if !errors.Is(errSeconds, ErrEvent) || !strings.Contains(errSeconds.Error(), "UnixMilli") {
		t.Error(errSeconds)
	}
}

func TestProgressIsKnownOrNot(t *testing.T) {
	if p, known := (Event{}).Progress.Percent(); known {
		t.Errorf("an event without progress has %d", p)
	}
	if p, known := Percent(0).Percent(); !known || p != 0 || Percent(0) == (Progress{}) {
		t.Error("0 percent is not known")
	}
}
