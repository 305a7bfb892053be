//go:build unix

package conform

import (
	"fmt"
	"strconv"
)

// statsWords are the numbers of an emitter. The first is the sum of the others.
var statsWords = []string{"added", "sent", "acked", "buffered", "queue", "socket", "closed", "refused", "unsure"}

// hold checks what a line says. What does not hold yet may do so in a moment, as
// an emitter with threads of its own may need.
func (p *play) hold(l *line) error {
	err := p.holds(l)
	for waited := 0; err != nil && waited < patience/4; waited += 20 {
		switch l.word(0) {
		case "stats", "lost", "sources", "arrived", "shown":
		default:
			return err
		}
		p.sockets.wait(20)
		if err := p.ask("poll", nil); err != nil {
			return err
		}
		err = p.holds(l)
	}
	return err
}

// holds checks what a line says of the last answer, or of all that came.
func (p *play) holds(l *line) error {
	want, err := strconv.ParseUint(l.word(1), 10, 64)
	var have uint64
	switch l.word(0) {
	case "no":
		if p.last.word != "no" || p.last.reason != l.word(1) {
			return fmt.Errorf("the driver answers %q, want no %s", p.last.text, l.word(1))
		}
		return nil
	case "id":
		if have, _ = strconv.ParseUint(p.last.keys["id"], 10, 64); p.last.keys["id"] == "" {
			return fmt.Errorf("the driver answers %q, want id=%d", p.last.text, want)
		}
	case "stats":
		return p.stats(l)
	case "shown":
		return p.shown()
	case "lost":
		have = p.judge.lost()
	case "sources":
		have = uint64(len(p.judge.order))
	case "arrived":
		have = p.judge.arrived()
	default:
		return fmt.Errorf("%q is nothing that can hold", l.word(0))
	}
	if err == nil && have != want {
		err = fmt.Errorf("%s is %d, want %d", l.word(0), have, want)
	}
	return err
}

// shown is that something was dropped, and that all of it shows as lost.
func (p *play) shown() error {
	if err := p.stats(&line{}); err != nil {
		return err
	}
	dropped := p.dropped()
	if lost := p.judge.lost(); dropped == 0 || lost != dropped {
		return fmt.Errorf("the emitter dropped %d events, and its numbers show %d as lost: something was to be dropped, and what is dropped is numbered", dropped, lost)
	}
	return nil
}

// dropped is how many numbered events the last stats say were dropped.
func (p *play) dropped() (n uint64) {
	for _, word := range []string{"queue", "socket"} {
		dropped, _ := strconv.ParseUint(p.last.keys[word], 10, 64)
		n += dropped
	}
	return n
}

// stats asks the driver for its numbers, which have to add up, and holds them
// against those of a line.
func (p *play) stats(l *line) error {
	if err := p.ask("stats", nil); err != nil {
		return err
	}
	have := map[string]uint64{}
	sum := uint64(0)
	for i, word := range statsWords {
		if text, ok := p.last.keys[word]; ok {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return fmt.Errorf("the driver answers %s=%s, which is no number", word, text)
			}
			have[word] = n
		}
		if i > 0 {
			sum += have[word]
		}
	}
	if have["added"] != sum {
		return fmt.Errorf("the emitter's numbers do not add up: %q: added is not the sum of the others, %d", p.last.text, sum)
	}
	for _, word := range statsWords {
		want, err := l.value(word, have[word])
		if err != nil || want != have[word] {
			return fmt.Errorf("the emitter says %s=%d, want %s (%q)", word, have[word], l.keys[word], p.last.text)
		}
	}
	return p.judged(have)
}

// judged holds the emitter's numbers against what came of it.
func (p *play) judged(have map[string]uint64) error {
	j := p.judge
	added, arrived := uint64(0), uint64(0)
	for _, a := range j.events {
		if a.emitter != j.emitter {
			continue
		}
		added++
		if a.came {
			arrived++
		}
	}
	if have["added"] != added+p.late {
		return fmt.Errorf("the emitter says added=%d, and was given %d", have["added"], added+p.late)
	}
	missing := added - arrived
	kept := have["buffered"] + have["queue"] + have["socket"] + have["closed"] - min(p.late, have["closed"])
	switch {
	case j.udp && !p.away && have["sent"] != arrived:
		return fmt.Errorf("the emitter says sent=%d, and %d events arrived", have["sent"], arrived)
	case j.udp && p.away && have["sent"] < arrived:
		return fmt.Errorf("the emitter says sent=%d, and %d events arrived", have["sent"], arrived)
	case !j.udp && missing > kept+have["unsure"]:
		return fmt.Errorf("%d of %d events did not arrive, and the emitter accounts for %d", missing, added, kept)
	case !j.udp && have["acked"] != j.durable():
		return fmt.Errorf("the emitter says acked=%d, and %d events are durable", have["acked"], j.durable())
	}
	return nil
}

// durable is how many events of the present emitter were acknowledged.
func (j *judge) durable() (n uint64) {
	for _, s := range j.order {
		if s.emitter != j.emitter {
			continue
		}
		for sequence, f := range s.frames {
			if sequence < s.durable && !s.refused[sequence] {
				n += uint64(f.header.Count)
			}
		}
	}
	return n
}

// lost is how many events the numbers tell of that never came.
func (j *judge) lost() (n uint64) {
	for _, s := range j.order {
		n += s.end - s.placed()
	}
	return n
}

// arrived is how many of the added events came.
func (j *judge) arrived() (n uint64) {
	for _, a := range j.events {
		if a.came {
			n++
		}
	}
	return n
}

// end judges what is left at the end of a dialogue.
func (p *play) end() error {
	p.drain()
	p.skipBeats()
	if len(p.waiting) > 0 {
		return broken(p.waiting[0], "the dialogue speaks of nothing that comes here")
	}
	if p.dialled {
		if err := p.stats(&line{}); err != nil {
			return err
		}
		if err := p.numbered(); err != nil {
			return err
		}
	}
	return p.farewells()
}

// numbered holds what a closed emitter dropped against what its numbers show.
func (p *play) numbered() error {
	if !p.closed || p.away || !p.judge.udp {
		return nil
	}
	dropped, lost := p.dropped(), uint64(0)
	for _, s := range p.judge.order {
		if s.emitter == p.judge.emitter {
			lost += s.end - s.placed()
		}
	}
	if lost != dropped {
		return fmt.Errorf("the emitter dropped %d events, and its numbers show %d as lost: what is dropped is numbered", dropped, lost)
	}
	return nil
}

// farewells says which source over UDP ended without its last beats.
func (p *play) farewells() error {
	newest := map[int]*source{}
	for _, s := range p.judge.order {
		newest[s.emitter] = s
	}
	for _, s := range p.judge.order {
		goesOn := newest[s.emitter] == s && !(s.emitter == p.judge.emitter && p.closed)
		if !s.udp || goesOn || p.away || p.judge.gone[s.process] || s.emitter != p.judge.emitter && newest[s.emitter] == s {
			continue
		}
		if !s.farewell() {
			last := s.frames[s.newest]
			return broken(last, "source %d ended without its three last beats; its last frame is", s.id)
		}
	}
	return nil
}
