package merge

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// list gives its numbers, and then an error where it has one.
type list struct {
	left []int
	err  error
}

func (l *list) Next() (*int, error) {
	if len(l.left) == 0 {
		return nil, l.err
	}
	n := &l.left[0]
	l.left = l.left[1:]
	return n, nil
}

func compare(a, b *int) int { return cmp.Compare(*a, *b) }

func TestSorted(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		var all []int
		var sources []Source[int]
		for range r.IntN(6) {
			l := &list{}
			for range r.IntN(50) {
				l.left = append(l.left, r.IntN(20))
			}
			slices.Sort(l.left)
			all = append(all, l.left...)
			sources = append(sources, l)
		}
		slices.Sort(all)
		var got []int
		err := Sorted(t.Context(), sources, compare, func(n *int) error {
			got = append(got, *n)
			return nil
		})
		if err != nil || !slices.Equal(got, all) {
			t.Fatalf("got %v, %v, want %v", got, err, all)
		}
	}
}

func TestSortedFails(t *testing.T) {
	broken := errors.New("broken")
	nothing := func(*int) error { return nil }
	if err := Sorted(t.Context(), []Source[int]{&list{left: []int{1}, err: broken}}, compare, nothing); !errors.Is(err, broken) {
		t.Errorf("a source that breaks: %v", err)
	}
	if err := Sorted(t.Context(), []Source[int]{&list{left: []int{1}}}, compare, func(*int) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a value that is not taken: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if err := Sorted(ctx, []Source[int]{&list{left: []int{1}}}, compare, nothing); !errors.Is(err, broken) {
		t.Errorf("a context that has ended: %v", err)
	}
}
