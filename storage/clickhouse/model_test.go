package clickhouse

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
)

// model is a ClickHouse cluster by the rules that ReplicatedMergeTree documents,
// since no Keeper can be had in these tests:
//
//   - A part, its entry in the log of its shard and its token are one transaction
//     in Keeper. Another shard knows nothing of either.
//   - A token is forgotten when it is older than the window, or when so many
//     newer ones are there.
//   - A replica copies the log to its queue and fetches each part from a replica
//     that has it and is up, after some time. While none such is up, the entry
//     stays in the queue. When no replica that Keeper knows has the part, it is
//     given up.
//   - A replica that is dropped from Keeper never comes back, nor do its parts.
//   - Books, which a table of their own has, are replicated at once here.
type model struct {
	t       testing.TB
	r       *rand.Rand
	now     time.Time
	shards  []*modelShard
	window  time.Duration // of tokens
	count   int           // of tokens
	visible []*modelShard // whose replicas the address leads to
	target  *modelShard   // where a collector of the cluster goes that may go anywhere; nil: it has no cluster
	at      *modelReplica // that is connected to
	quiet   bool          // nothing goes wrong any more
	lose    bool          // the answer to the next insert
	late    []modelInsert
	story   []string
	did     map[string]int
}

type modelShard struct {
	name     string
	log      []*modelPart
	tokens   []modelToken // oldest first
	replicas []*modelReplica
	booked   map[uint64]uint64 // one above the largest generation
}

type modelToken struct {
	text string
	at   time.Time
}

type modelPart struct {
	number   uint64
	checksum uint32
}

type modelReplica struct {
	shard   *modelShard
	name    string
	up      bool
	dropped bool // from Keeper
	has     map[*modelPart]bool
	copied  int
	queue   []modelFetch
	next    uint64 // number of the next entry of the queue
	started time.Time
}

type modelFetch struct {
	number uint64
	part   *modelPart
	ready  time.Time
}

type modelInsert struct {
	on    *modelReplica
	part  *modelPart
	token string
	lands time.Time
}

func newModel(t testing.TB, seed, run uint64, shards, replicas int) *model {
	m := &model{t: t, r: rand.New(rand.NewPCG(seed, run)), now: time.Unix(1_800_000_000, 0), window: time.Hour, count: 10_000, did: map[string]int{}}
	for i := range shards {
		s := &modelShard{name: fmt.Sprintf("shard %d", i+1), booked: map[uint64]uint64{}}
		for j := range replicas {
			s.replicas = append(s.replicas, &modelReplica{shard: s, name: fmt.Sprintf("%s replica %d", s.name, j+1), up: true, has: map[*modelPart]bool{}, started: m.now.Add(-time.Hour)})
		}
		m.shards = append(m.shards, s)
	}
	m.visible = m.shards
	return m
}

func (m *model) clock() time.Time { return m.now }

func (m *model) log(what, format string, args ...any) {
	m.did[what]++
	m.story = append(m.story, m.now.Format("02 15:04:05.000 ")+what+": "+fmt.Sprintf(format, args...))
}

// pass lets time pass: inserts land, and replicas follow each other.
func (m *model) pass(d time.Duration) {
	end := m.now.Add(d)
	slices.SortStableFunc(m.late, func(a, b modelInsert) int { return a.lands.Compare(b.lands) })
	left := m.late[:0]
	for _, l := range m.late {
		switch {
		case !l.on.up || l.on.dropped: // it died with its server
		case l.lands.After(end):
			left = append(left, l)
		default:
			m.now = l.lands
			m.commit(l.on, l.part, l.token)
		}
	}
	m.late, m.now = left, end
	for _, s := range m.shards {
		for _, r := range s.replicas {
			m.replicate(r)
		}
	}
}

// replicate is a replica's own work.
func (m *model) replicate(r *modelReplica) {
	if !r.up || r.dropped || !m.quiet && m.r.IntN(4) == 0 {
		return
	}
	for ; r.copied < len(r.shard.log); r.copied++ {
		lag := time.Duration(0)
		if !m.quiet {
			lag = time.Duration(m.r.IntN(30_000)) * time.Millisecond
		}
		r.queue = append(r.queue, modelFetch{r.next, r.shard.log[r.copied], m.now.Add(lag)})
		r.next++
	}
	left := r.queue[:0]
	for _, f := range r.queue {
		known := false
		for _, other := range r.shard.replicas {
			if other.has[f.part] && !other.dropped {
				known = true
				if other.up && !f.ready.After(m.now) {
					r.has[f.part] = true
				}
			}
		}
		if !r.has[f.part] && known {
			left = append(left, f)
		} else if !known {
			m.log("a part is given up", "%s: block %d", r.name, f.part.number)
		}
	}
	r.queue = left
}

// knows says whether Keeper has a token.
func (m *model) knows(s *modelShard, token string) bool {
	s.tokens = s.tokens[max(0, len(s.tokens)-m.count):]
	return slices.ContainsFunc(s.tokens, func(t modelToken) bool { return t.text == token && m.now.Sub(t.at) <= m.window })
}

func (m *model) commit(r *modelReplica, p *modelPart, token string) {
	if m.knows(r.shard, token) {
		m.log("deduplicated", "%s on %s", token, r.name)
		return
	}
	r.shard.tokens = append(r.shard.tokens, modelToken{token, m.now})
	r.shard.log = append(r.shard.log, p)
	r.has[p] = true
	m.log("committed", "%s on %s", token, r.name)
}

// times is how many parts there are of a block, over all shards.
func (m *model) times(number uint64) (n int) {
	for _, s := range m.shards {
		parts := map[*modelPart]bool{}
		for _, r := range s.replicas {
			for p := range r.has {
				if p.number == number && !r.dropped {
					parts[p] = true
				}
			}
		}
		n += len(parts)
	}
	return n
}

// fails says that the next answer is lost, and lets some time pass.
func (m *model) fails() error {
	if m.at == nil {
		m.t.Error("a question was asked over a connection that was closed")
		return errLost
	}
	m.pass(time.Duration(m.r.IntN(20)) * time.Millisecond)
	if !m.at.up || m.at.dropped || !m.quiet && m.r.IntN(30) == 0 {
		return errLost
	}
	return nil
}

// prepare connects as a native does: to whoever the address leads to, or to the
// replicas of the collector's shard of a cluster first.
func (m *model) prepare(_ context.Context, want string) error {
	if m.at != nil {
		if m.target == nil || want != "" || m.at.shard == m.target || m.r.IntN(3) > 0 {
			return nil
		}
		m.drop()
	}
	var up []*modelReplica
	away := false
	for _, s := range m.visible {
		for _, r := range s.replicas {
			switch {
			case r.dropped:
			case !r.up:
				away = true
			case m.target != nil && want == "" && s != m.target:
			default:
				up = append(up, r)
			}
		}
	}
	if len(up) == 0 {
		return errLost
	}
	m.at = up[m.r.IntN(len(up))]
	if m.target == nil && m.r.IntN(2) == 0 {
		return m.fails() // one address: whoever answers
	}
	if i := slices.IndexFunc(up, func(r *modelReplica) bool { return r.shard.name == want }); i >= 0 {
		m.at = up[i]
	} else if want != "" && away {
		m.at = nil
		return errLost
	}
	return m.fails()
}

func (m *model) shard() string    { return m.at.shard.name }
func (m *model) drop()            { m.at = nil }
func (m *model) replicated() bool { return true }

func (m *model) receipts(_ context.Context, b *storage.Block) (mine, others uint64, err error) {
	if err := m.fails(); err != nil {
		return 0, 0, err
	}
	for p := range m.at.has {
		switch {
		case p.number == b.Number && p.checksum == b.Checksum:
			mine++
		case p.number == b.Number:
			others++
		}
	}
	return mine, others, nil
}

func (m *model) book(_ context.Context, b *storage.Block, generation uint64) error {
	if err := m.fails(); err != nil {
		return err
	}
	m.at.shard.booked[b.Number] = max(m.at.shard.booked[b.Number], 1+generation)
	return nil
}

func (m *model) generation(_ context.Context, b *storage.Block) (uint64, error) {
	if err := m.fails(); err != nil {
		return 0, err
	}
	return max(m.at.shard.booked[b.Number], 1) - 1, nil
}

func (m *model) running(_ context.Context, prefix string) (bool, error) {
	if err := m.fails(); err != nil {
		return false, err
	}
	return slices.ContainsFunc(m.late, func(l modelInsert) bool { return l.on == m.at && strings.HasPrefix(l.token, prefix) }), nil
}

func (m *model) up(context.Context) (time.Duration, error) {
	if err := m.fails(); err != nil {
		return 0, err
	}
	return m.now.Sub(m.at.started), nil
}

func (m *model) hidden(context.Context) (bool, error) { return false, m.fails() }

func (m *model) last(context.Context) (last uint64, err error) {
	if err := m.fails(); err != nil {
		return 0, err
	}
	for p := range m.at.has {
		last = max(last, p.number)
	}
	return last, nil
}

func (m *model) progress(context.Context, *storage.Block) (progress, error) {
	if err := m.fails(); err != nil {
		return progress{}, err
	}
	p := progress{replica: m.at.name, logged: uint64(len(m.at.shard.log)), copied: uint64(m.at.copied), oldest: math.MaxUint64}
	for _, f := range m.at.queue {
		p.oldest, p.newest = min(p.oldest, f.number), max(p.newest, f.number)
	}
	return p, nil
}

func (m *model) insert(_ context.Context, b *storage.Block, token string) error {
	at := m.at
	if at == nil || at.shard.booked[b.Number] == 0 {
		m.t.Errorf("block %d was sent over a closed connection, or before its books", b.Number)
	}
	if slices.ContainsFunc(m.late, func(l modelInsert) bool { return l.on == at && l.token == token }) {
		return &ch.Exception{Code: 216, Name: "DB::Exception", Message: "query with this id is already running"}
	}
	part := &modelPart{b.Number, b.Checksum}
	what := "clean"
	switch {
	case m.lose:
		m.lose, what = false, "cut after"
	case !m.quiet && m.r.IntN(2) == 0:
		what = []string{"cut before", "cut after", "late", "killed before", "killed after", "killed after", "pressure"}[m.r.IntN(7)]
	}
	m.log(what, "%s on %s", token, at.name)
	m.pass(time.Duration(m.r.IntN(2000)) * time.Millisecond)
	switch what {
	case "clean":
		m.commit(at, part, token)
		return nil
	case "cut after":
		m.commit(at, part, token)
	case "late":
		m.late = append(m.late, modelInsert{at, part, token, m.now.Add(time.Duration(m.r.IntN(9*60_000)) * time.Millisecond)})
	case "killed before":
		at.up = false
	case "killed after":
		m.commit(at, part, token)
		at.up = false
	case "pressure":
		return &ch.Exception{Code: proto.ErrTooManyParts}
	}
	return errLost
}

// notes is the journal of a collector, which survives its process.
type notes struct {
	shard   string
	waiting map[uint64]bool // blocks that are not stored
	resend  map[uint64]bool
}

func newNotes() *notes { return &notes{waiting: map[uint64]bool{}, resend: map[uint64]bool{}} }

func (n *notes) Shard() (string, error)             { return n.shard, nil }
func (n *notes) SetShard(shard string) error        { n.shard = shard; return nil }
func (n *notes) Resend(number uint64) (bool, error) { return n.resend[number], nil }
func (n *notes) Resent(number uint64) error         { delete(n.resend, number); return nil }
func (n *notes) Waiting(through uint64) (numbers []uint64) {
	for number := range n.waiting {
		if number <= through {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// storeOnModel is a Store on the cluster, of a process that follows others which
// may have tried the blocks up to that number.
func storeOnModel(m *model, n Journal, tried uint64) *Store {
	o := Options{Addresses: []string{"x:1"}, Collector: testCollector, Tried: tried, Clock: m.clock, Journal: n,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()}
	if err := o.fill(); err != nil {
		m.t.Fatal(err)
	}
	m.at = nil
	s, err := open(o, m)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

func modelBlock(number uint64) *storage.Block {
	return &storage.Block{Collector: testCollector, Number: number, Checksum: uint32(number * 7)}
}
