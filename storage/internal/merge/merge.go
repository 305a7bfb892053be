// Package merge has what comes in order from several places come in order from one.
package merge

import (
	"container/heap"
	"context"
)

// Source gives values in order. What Next returns is valid until the next call; nil
// is the end.
type Source[T any] interface {
	Next() (*T, error)
}

// between is how many values are handed on between two looks at the context.
const between = 1024

// Sorted hands the values of all sources to emit, in the order of compare, until one
// of them, or ctx, has an error. emit must not keep the value.
func Sorted[T any](ctx context.Context, sources []Source[T], compare func(a, b *T) int, emit func(*T) error) error {
	h := &heads[T]{compare: compare}
	for _, s := range sources {
		value, err := s.Next()
		if err != nil {
			return err
		}
		if value != nil {
			h.of = append(h.of, head[T]{value, s})
		}
	}
	heap.Init(h)
	for n := 0; len(h.of) > 0; n++ {
		if n%between == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		first := &h.of[0]
		if err := emit(first.value); err != nil {
			return err
		}
		value, err := first.from.Next()
		switch {
		case err != nil:
			return err
		case value == nil:
			heap.Pop(h)
			continue
		}
		first.value = value
		if len(h.of) > 1 {
			heap.Fix(h, 0)
		}
	}
	return nil
}

type head[T any] struct {
	value *T
	from  Source[T]
}

// heads is a heap of sources by their next values.
type heads[T any] struct {
	of      []head[T]
	compare func(a, b *T) int
}

func (h *heads[T]) Len() int           { return len(h.of) }
func (h *heads[T]) Less(i, j int) bool { return h.compare(h.of[i].value, h.of[j].value) < 0 }
func (h *heads[T]) Swap(i, j int)      { h.of[i], h.of[j] = h.of[j], h.of[i] }
func (h *heads[T]) Push(x any)         { h.of = append(h.of, x.(head[T])) }
func (h *heads[T]) Pop() any {
	x := h.of[len(h.of)-1]
	h.of = h.of[:len(h.of)-1]
	return x
}
