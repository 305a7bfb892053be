package clickhouse

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
)

// runsOf is how many seeds a simulation runs: LECTERN_TEST_SEEDS, or so many.
func runsOf(t *testing.T, usual int) int {
	if text := os.Getenv("LECTERN_TEST_SEEDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return usual / 5
	}
	return usual
}

// Blocks are brought to shards of replicas that die, come back, lag and are
// dropped, whose tokens run out, over addresses that lead anywhere, by daemons that
// are killed and in a cluster whose shards change. Whatever happens: each block is
// in one shard, once, and none waits for ever.
func TestSimulationWithReplicas(t *testing.T) {
	n := seed(t)
	runs := runsOf(t, 1000)
	did := map[string]int{}
	for run := range runs {
		m := newModel(t, n, uint64(run), 1+run%3, 1+run/3%3)
		simulateReplicas(m)
		for what, times := range m.did {
			did[what] += times
		}
		if t.Failed() {
			t.Fatalf("run %d of seed %d:\n%s", run, n, strings.Join(m.story, "\n"))
		}
	}
	for _, what := range []string{"clean", "cut before", "cut after", "late", "killed before", "killed after", "pressure", "committed", "deduplicated",
		"a part is given up", "dropped", "back", "hours pass", "another daemon", "another shard", "unsure", "refused", "renewed", "stored"} {
		if did[what] == 0 {
			t.Errorf("%q never happened", what)
		}
	}
	t.Logf("%d runs: %v", runs, did)
}

// world is what a simulation with replicas has beside the cluster.
type world struct {
	m      *model
	notes  *notes
	store  *Store
	frozen uint64          // the last block there is
	gone   map[uint64]bool // stored, and then with the only replica that had it
	moved  string          // the shard before
}

func simulateReplicas(m *model) {
	w := &world{m: m, notes: newNotes(), gone: map[uint64]bool{}}
	if m.r.IntN(2) == 0 {
		m.target = m.shards[m.r.IntN(len(m.shards))]
	}
	w.store = storeOnModel(m, w.notes, 0)
	for range 250 {
		w.happen()
		w.bring()
		m.pass(time.Duration(m.r.IntN(10_000)) * time.Millisecond)
	}
	m.quiet = true
	for _, s := range m.shards {
		for _, r := range s.replicas {
			r.up = !r.dropped
		}
	}
	for left := 3000; len(w.notes.waiting) > 0; left-- {
		if left == 0 {
			m.t.Errorf("stuck: %v wait, %+v", w.notes.waiting, w.store.attempts)
			return
		}
		w.bring()
		m.pass(time.Duration(m.r.IntN(10_000)) * time.Millisecond)
	}
	m.pass(24 * time.Hour) // what is on its way lands
	for number := uint64(1); number <= w.frozen; number++ {
		if n := m.times(number); n > 1 || n == 0 && !w.gone[number] {
			m.t.Errorf("at the end block %d is there %d times", number, n)
		}
	}
}

// happen is what else goes on.
func (w *world) happen() {
	m := w.m
	s := m.shards[m.r.IntN(len(m.shards))]
	r := s.replicas[m.r.IntN(len(s.replicas))]
	switch m.r.IntN(40) {
	case 0, 1, 2:
		w.frozen++
		w.notes.waiting[w.frozen] = true
	case 3:
		if !r.dropped {
			r.up = false
		}
	case 4, 5, 6, 7, 8:
		if !r.dropped && !r.up {
			r.up = true
			m.log("back", "%s", r.name)
		}
	case 9:
		w.drop(r)
	case 10:
		if m.r.IntN(4) == 0 {
			m.log("hours pass", "tokens of before are forgotten")
			m.pass(3 * time.Hour)
		}
	case 11:
		m.log("another daemon", "blocks up to %d may have been tried", w.frozen)
		w.store = storeOnModel(m, w.notes, w.frozen)
	case 12:
		if m.target != nil {
			m.target = s
		}
	}
}

// drop takes a dead replica out of Keeper for good, where others are left.
func (w *world) drop(r *modelReplica) {
	left := slices.ContainsFunc(r.shard.replicas, func(o *modelReplica) bool { return o != r && !o.dropped })
	if r.up || r.dropped || !left {
		return
	}
	there := map[uint64]bool{}
	for p := range r.has {
		there[p.number] = true
	}
	r.dropped = true
	w.m.log("dropped", "%s", r.name)
	for number := range there {
		if w.m.times(number) == 0 && !w.notes.waiting[number] {
			w.gone[number] = true
		}
	}
}

// bring tries one of the blocks that wait.
func (w *world) bring() {
	var numbers []uint64
	for number := range w.notes.waiting {
		numbers = append(numbers, number)
	}
	if len(numbers) == 0 {
		return
	}
	slices.Sort(numbers) // so that a seed repeats
	m := w.m
	number := numbers[m.r.IntN(len(numbers))]
	renewed := w.store.meters.renewed.Get()
	answer, err := w.store.Store(m.t.Context(), modelBlock(number))
	m.story = append(m.story, fmt.Sprintf("block %d: answer %d, %v", number, answer, err))
	if w.store.meters.renewed.Get() > renewed {
		m.did["renewed"]++
	}
	if w.notes.shard != w.moved {
		if w.moved != "" {
			m.did["another shard"]++
		}
		w.moved = w.notes.shard
	}
	switch {
	case answer == storage.Stored && err == nil:
		m.did["stored"]++
		delete(w.notes.waiting, number)
		if n := m.times(number); n != 1 {
			m.t.Errorf("block %d is called stored, and is there %d times", number, n)
		}
	case answer == storage.Unsure && err != nil:
		m.did["unsure"]++
	case answer == storage.Retry && err != nil:
		if strings.Contains(err.Error(), "of another shard") {
			m.did["refused"]++
		}
	default:
		m.t.Errorf("block %d: answer %d, %v", number, answer, err)
	}
}

// try brings block number until it is stored, so many times, half a minute apart.
func try(m *model, s *Store, number uint64, times int) (stored bool, last error) {
	for range times {
		answer, err := s.Store(m.t.Context(), modelBlock(number))
		if answer == storage.Stored {
			return true, nil
		}
		last = err
		m.pass(30 * time.Second)
	}
	return false, last
}

// Two shards behind one address: the insert lands on the first and its answer is
// lost. On the second neither receipt nor token is known; the block must not go
// there, and others may go nowhere else either. Once it is found, it is free.
func TestTwoShardsBehindOneAddress(t *testing.T) {
	m := newModel(t, 1, 1, 2, 1)
	m.quiet = true
	first, second := m.shards[0], m.shards[1]
	n := newNotes()
	s := storeOnModel(m, n, 0)
	m.visible, m.lose = []*modelShard{first}, true
	n.waiting[1] = true
	if ok, _ := try(m, s, 1, 1); ok || m.times(1) != 1 {
		t.Fatalf("the answer was to be lost")
	}
	m.visible = []*modelShard{second}
	for _, store := range []*Store{s, storeOnModel(m, n, 1)} { // and after a restart
		m.at = nil
		if ok, err := try(m, store, 1, 20); ok || err == nil || !strings.Contains(err.Error(), "this server is of another shard, shard 2: the collector belongs to shard 1") {
			t.Errorf("stored %v, %v", ok, err)
		}
		if ok, _ := try(m, store, 2, 5); ok || store.meters.barred[barredShard].Get() < 25 {
			t.Errorf("block 2: stored %v, barred %d times", ok, store.meters.barred[barredShard].Get())
		}
		s = store
	}
	if m.times(1) != 1 || len(second.log) != 0 {
		t.Errorf("block 1 is there %d times, shard 2 has %d parts", m.times(1), len(second.log))
	}
	m.visible = m.shards // some connections lead to the first
	m.r = rand.New(rand.NewPCG(1, 2))
	if ok, err := try(m, s, 1, 50); !ok || m.times(1) != 1 {
		t.Fatalf("stored %v, %v, %d times", ok, err, m.times(1))
	}
	delete(n.waiting, 1)
	m.visible, m.at = []*modelShard{second}, nil
	if ok, err := try(m, s, 2, 1); !ok || n.shard != "shard 2" {
		t.Errorf("with no block in doubt: stored %v, %v, on %s", ok, err, n.shard)
	}
}

// A replica commits a block and dies before the other has fetched it. Whatever was
// forgotten of its token meanwhile: the block is not sent again, others are stored,
// and when the replica is back it is found.
func TestReplicaDiesBeforeTheOthersFetch(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, dropped := range []bool{false, true} {
			t.Run(fmt.Sprintf("restart=%v,dropped=%v", restart, dropped), func(t *testing.T) {
				m := newModel(t, 1, 1, 1, 2)
				m.quiet = true
				a, b := m.shards[0].replicas[0], m.shards[0].replicas[1]
				b.up, m.lose = false, true
				n := newNotes()
				n.waiting[1] = true
				s := storeOnModel(m, n, 0)
				if ok, _ := try(m, s, 1, 1); ok || !a.has[m.shards[0].log[0]] {
					t.Fatal("the answer was to be lost, and the block to be on the first replica")
				}
				a.up, b.up = false, true
				for i := range 3 * 60 * 2 { // three hours, in which the token runs out
					if ok, err := try(m, s, 1, 1); ok || err == nil {
						t.Fatalf("it is stored where it is not: %v", err)
					}
					if i%20 == 0 {
						if ok, err := try(m, s, uint64(2+i), 2); !ok {
							t.Fatalf("block %d is held up: %v", 2+i, err)
						}
					}
					if restart && i%100 == 99 {
						s = storeOnModel(m, n, uint64(2+i))
					}
				}
				if m.times(1) != 1 {
					t.Fatalf("it is there %d times", m.times(1))
				}
				if dropped {
					a.dropped = true
				} else {
					a.up = true
				}
				if ok, err := try(m, s, 1, 40); !ok || m.times(1) != 1 {
					t.Errorf("stored %v, %v, %d times", ok, err, m.times(1))
				}
			})
		}
	}
}

// A proof that a block is nowhere is one of its moment. What was sent before may
// land afterwards and its token run out, so an old one is worth nothing.
func TestOldProofIsNone(t *testing.T) {
	m := newModel(t, 1, 1, 1, 2)
	m.quiet = true
	a, b := m.shards[0].replicas[0], m.shards[0].replicas[1]
	s := storeOnModel(m, newNotes(), 0)
	block := modelBlock(1)
	token := new(attempt).token(block)
	s.attempts[1] = &attempt{begun: true, tried: true, booked: true, began: m.now, given: m.now}
	m.shards[0].booked[1] = 1
	other := &modelPart{number: 2}
	m.commit(a, other, "of another block")
	b.copied, b.next = 1, 2
	b.queue = []modelFetch{{1, other, m.now.Add(time.Minute)}} // the proof is not there yet
	a.up = false
	if answer, err := s.Store(t.Context(), block); answer != storage.Unsure {
		t.Fatalf("answer %d, %v", answer, err)
	}
	a.up = true
	m.now = m.now.Add(5 * time.Minute)
	b.queue = nil
	m.commit(a, &modelPart{1, block.Checksum}, token) // what was sent lands
	a.up = false
	m.now = m.now.Add(3 * time.Hour) // nobody asked meanwhile, and the token runs out
	if ok, err := try(m, s, 1, 40); ok || m.times(1) != 1 {
		t.Errorf("stored %v, %v, %d times", ok, err, m.times(1))
	}
	a.up = true
	if ok, err := try(m, s, 1, 40); !ok || m.times(1) != 1 {
		t.Errorf("stored %v, %v, %d times", ok, err, m.times(1))
	}
}

// The same with a token that is still known when the dead replica is dropped: it is
// spent, and renewed when it is sure that the block is nowhere.
func TestReplicaIsDroppedWithItsBlock(t *testing.T) {
	m := newModel(t, 1, 1, 1, 2)
	m.quiet, m.window = true, 1000*time.Hour
	a, b := m.shards[0].replicas[0], m.shards[0].replicas[1]
	b.up, m.lose = false, true
	n := newNotes()
	s := storeOnModel(m, n, 0)
	_, _ = try(m, s, 1, 1)
	a.up, b.up, a.dropped = false, true, true
	if ok, err := try(m, s, 1, 60); !ok || m.times(1) != 1 || s.meters.renewed.Get() != 1 {
		t.Errorf("stored %v, %v, %d times, %d tokens renewed", ok, err, m.times(1), s.meters.renewed.Get())
	}
}

// What a person has sent again is sent once, under another token, whatever is not
// known of it; and where the shard is gone for good, to another.
func TestAPersonHasABlockSentAgain(t *testing.T) {
	m := newModel(t, 1, 1, 2, 2)
	m.quiet = true
	shard := m.shards[0]
	shard.replicas[1].up, m.visible, m.lose = false, []*modelShard{shard}, true
	n := newNotes()
	n.waiting[1], n.waiting[2] = true, true
	s := storeOnModel(m, n, 0)
	_, _ = try(m, s, 1, 1)
	shard.replicas[0].up, shard.replicas[1].up = false, true
	if ok, _ := try(m, s, 1, 30); ok {
		t.Fatal("it was sent again by itself")
	}
	n.resend[1] = true
	if ok, err := try(m, s, 1, 2); !ok || n.resend[1] || m.times(1) != 2 { // the risk that was taken
		t.Errorf("stored %v, %v, %d times; wanted still: %v", ok, err, m.times(1), n.resend[1])
	}
	delete(n.waiting, 1)

	m.lose = true
	_, _ = try(m, s, 2, 1)
	m.visible, m.at = []*modelShard{m.shards[1]}, nil
	s = storeOnModel(m, n, 3) // 3 was never sent, which nobody knows
	n.waiting[3] = true
	n.resend[2] = true
	if ok, err := try(m, s, 2, 5); ok || err == nil || !strings.Contains(err.Error(), "1 blocks may be there already, from block 3 on") {
		t.Errorf("stored %v, %v", ok, err)
	}
	n.resend[3] = true
	for number := uint64(2); number <= 3; number++ {
		if ok, err := try(m, s, number, 3); !ok || n.resend[number] {
			t.Errorf("block %d: stored %v, %v; wanted still: %v", number, ok, err, n.resend[number])
		}
	}
	if len(m.shards[1].log) != 2 || n.shard != "shard 2" {
		t.Errorf("shard 2 has %d parts; kept is %s", len(m.shards[1].log), n.shard)
	}
}

// A note of the shard that cannot be read bars blocks that may have been sent, and
// nobody else.
func TestShardThatIsNotKnownAnyMore(t *testing.T) {
	m := newModel(t, 1, 1, 1, 1)
	m.quiet = true
	n := newNotes()
	n.waiting[1] = true
	s := storeOnModel(m, damagedNotes{n}, 1)
	if ok, err := try(m, s, 1, 3); ok || !strings.Contains(fmt.Sprint(err), "one that is not known any more") {
		t.Errorf("stored %v, %v", ok, err)
	}
	delete(n.waiting, 1)
	s = storeOnModel(m, damagedNotes{n}, 1)
	if ok, err := try(m, s, 2, 3); !ok || n.shard != "shard 1" {
		t.Errorf("stored %v, %v, on %q", ok, err, n.shard)
	}
}

type damagedNotes struct{ *notes }

func (damagedNotes) Shard() (string, error) { return "", storage.ErrShardDamaged }
