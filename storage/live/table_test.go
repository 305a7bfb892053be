package live

import (
	"math/rand/v2"
	"testing"
)

// Tables that grow where they lie, shrink and are swept have what a map has. Many homes
// are at both ends, so that searches go round.
func TestTableAgainstAMap(t *testing.T) {
	seed := seedOf(t)
	random := rand.New(rand.NewPCG(seed, 4))
	print := func() uint64 {
		p := random.Uint64()
		if random.IntN(8) == 0 {
			p = random.Uint64N(1<<56) - 1<<55
		}
		return max(1, p)
	}
	for range 4 {
		const most = 12_000
		table := newTable(most)
		table.clear()
		all := map[uint64]uint64{}
		check := func(what string) {
			t.Helper()
			for p, user := range all {
				if at, ok := table.known(p); !ok || table.users[at] != user {
					t.Fatalf("%s: a reader is not found", what)
				}
			}
			if table.readers() != len(all) {
				t.Fatalf("%s: %d readers, want %d", what, table.readers(), len(all))
			}
		}
		for len(all) < most*2/3 {
			p := print()
			at, found := table.place(p)
			if found {
				continue
			}
			table.put(at, slot{print: p}, p+1)
			all[p] = p + 1
			if random.IntN(4) == 0 {
				for p := range all {
					at, _ := table.known(p)
					table.slots[at].flags |= gone
					table.gone++
					delete(all, p)
					break
				}
			}
			if n := len(table.slots); table.reserve(1) && n != len(table.slots) {
				check("grown")
			}
		}
		table.sweep()
		check("swept")
		table.shrink(1 << 14)
		check("shrunk")
	}
}

// So have those of readers of streams.
func TestWholesAgainstAMap(t *testing.T) {
	seed := seedOf(t)
	random := rand.New(rand.NewPCG(seed, 5))
	for range 4 {
		w := wholes{seed: [2]uint64{random.Uint64(), random.Uint64()}, most: 12_000}
		w.clear()
		all := map[uint64]bool{}
		check := func(what string) {
			t.Helper()
			for user := range all {
				if _, ok := w.find(3, user); !ok {
					t.Fatalf("%s: a reader is not found", what)
				}
			}
			if w.used != len(all) {
				t.Fatalf("%s: %d readers, want %d", what, w.used, len(all))
			}
		}
		for len(all) < 12_000 {
			user := random.Uint64()
			if home := w.home(3, user); home > len(w.list)/64 && home < len(w.list)/64*63 && random.IntN(8) == 0 {
				continue // a part more at both ends
			}
			at, _ := w.find(3, user)
			w.put(at, whole{user: user, stream: 4})
			all[user] = true
			if random.IntN(4) == 0 {
				for user := range all {
					at, _ := w.find(3, user)
					w.remove(at)
					delete(all, user)
					break
				}
			}
			if n := len(w.list); n < slotsFor(w.most) {
				if w.reserve(1); n != len(w.list) {
					check("grown")
				}
			}
		}
		w.shrink(1 << 14)
		check("shrunk")
	}
}
