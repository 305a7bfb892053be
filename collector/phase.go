package collector

// phase is how far a connection has come, by what its client sent.
//
//	            a frame    a hello    a hello that waits   its answer
//	fresh       plain      greeted    waiting              .
//	plain       plain      .          .                    .
//	waiting     .          .          .                    greeted
//	greeted     flowing    .          .                    .
//	flowing     flowing    .          .                    .
//
// What has no place in the table is not taken: a second hello is refused, and a
// frame before the answer ends the connection.
type phase uint8

const (
	phaseFresh   phase = iota // nothing whole has come
	phasePlain                // frames without a session
	phaseWaiting              // its hello is not answered yet
	phaseGreeted              // a session, and no frame of it so far
	phaseFlowing              // a session with frames
	phases
)

// input is what moves a connection on.
type input uint8

const (
	inputFrame  input = iota // a frame of events is taken
	inputHello               // a hello is answered
	inputWait                // a hello is taken, whose source somebody else may know
	inputAnswer              // it is answered
	inputs
)

// phaseAfter is the table; 0 where there is no move, since nothing leads back.
var phaseAfter = [phases][inputs]phase{
	phaseFresh:   {inputFrame: phasePlain, inputHello: phaseGreeted, inputWait: phaseWaiting},
	phasePlain:   {inputFrame: phasePlain},
	phaseWaiting: {inputAnswer: phaseGreeted},
	phaseGreeted: {inputFrame: phaseFlowing},
	phaseFlowing: {inputFrame: phaseFlowing},
}

// accepts says whether the input has a place now.
func (p phase) accepts(i input) bool { return phaseAfter[p][i] != 0 }

// move goes on to the next phase; an input that has no place changes nothing.
func (p *phase) move(i input) {
	if next := phaseAfter[*p][i]; next != 0 {
		*p = next
	}
}

// session says that a hello was taken.
func (p phase) session() bool { return p >= phaseWaiting }

// started says that frames were taken.
func (p phase) started() bool { return p == phasePlain || p == phaseFlowing }

// ending is how far a connection is on its way out. It only grows.
type ending uint8

const (
	endingNot     ending = iota
	endingLeaving        // the collector ends: what still comes is thrown away
	endingRefused        // the client was told why: what still comes is thrown away
	endingLost           // it is of no more use: its reader closes it
	endingClosed
)

// reach goes on to an ending, or stays at a later one.
func (e *ending) reach(to ending) { *e = max(*e, to) }
