package edge

// numbers are those of one page's events that were taken. A page numbers its
// events 0, 1, 2, …, and sends one again until it is answered.
type numbers struct {
	end   uint64                   // one above the largest
	taken uint64                   // how many
	seen  [numbersBack / 64]uint64 // bit n%numbersBack, for n from end-numbersBack
}

const (
	// numbersBack is how far behind the largest a number is still told from one that
	// was taken: more than a page keeps unanswered.
	numbersBack = 256
	// numbersAhead is how far a page may go on beyond its largest number: what a page
	// drops it numbers, and more than that is made up.
	numbersAhead = 1000
)

// fresh says whether number n was not taken yet. One too far back to know was.
func (s *numbers) fresh(n uint64) bool {
	switch {
	case n >= s.end:
		return true
	case n+numbersBack < s.end:
		return false
	}
	return s.seen[n%numbersBack/64]&(1<<(n%64)) == 0
}

// take marks n, which is fresh.
func (s *numbers) take(n uint64) {
	for ; s.end <= n; s.end++ {
		s.seen[s.end%numbersBack/64] &^= 1 << (s.end % 64)
	}
	s.seen[n%numbersBack/64] |= 1 << (n % 64)
	s.taken++
}

// missing is how many numbers below the largest never came.
func (s *numbers) missing() uint64 { return s.end - s.taken }
