package collector

import (
	"slices"
	"testing"
)

// Every move of the table, against a list of what a client may do one after the
// other; all others change nothing, and no walk leaves the list.
func TestPhases(t *testing.T) {
	legal := map[[2]int]phase{
		{int(phaseFresh), int(inputFrame)}:    phasePlain,
		{int(phaseFresh), int(inputHello)}:    phaseGreeted,
		{int(phaseFresh), int(inputWait)}:     phaseWaiting,
		{int(phasePlain), int(inputFrame)}:    phasePlain,
		{int(phaseWaiting), int(inputAnswer)}: phaseGreeted,
		{int(phaseGreeted), int(inputFrame)}:  phaseFlowing,
		{int(phaseFlowing), int(inputFrame)}:  phaseFlowing,
	}
	reached := map[phase]bool{phaseFresh: true}
	for p := range phases {
		for i := range inputs {
			want, ok := legal[[2]int{int(p), int(i)}]
			if !ok {
				want = p
			}
			got := p
			if got.move(i); got != want || p.accepts(i) != ok {
				t.Errorf("phase %d, input %d: phase %d, want %d; taken: %v, want %v", p, i, got, want, p.accepts(i), ok)
			}
			reached[got] = true
			if p.session() && !got.session() || p.started() && !got.started() {
				t.Errorf("phase %d, input %d: phase %d forgets what was", p, i, got)
			}
		}
	}
	if len(reached) != int(phases) {
		t.Errorf("of %d phases %d are reached", phases, len(reached))
	}
	if got := []bool{phasePlain.session(), phaseWaiting.session(), phaseGreeted.session(), phaseGreeted.started(), phaseFlowing.started()}; !slices.Equal(got, []bool{false, true, true, false, true}) {
		t.Errorf("%v", got)
	}
	for from := endingNot; from <= endingClosed; from++ {
		for to := endingNot; to <= endingClosed; to++ {
			e := from
			if e.reach(to); e != max(from, to) {
				t.Errorf("ending %d, then %d: %d", from, to, e)
			}
		}
	}
}
