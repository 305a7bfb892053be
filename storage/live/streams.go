package live

// lendsTo is how many times what is still free an account may hold.
const lendsTo = 8

// streamsMax is how many streams without a name are known at once.
const streamsMax = 1024

// account is what a named stream has, or all others together.
type account struct{ readers, contents int }

// stream is what all contents of a stream are together.
type stream struct {
	number      uint16
	account     *account
	minute, all uint32 // readers of the last minute, and of five
	series      series
	coarse      [spans]uint32 // events that are in no figure of readers
	coarseSpan  uint32
}

func (s *stream) addCoarse(at, now uint32, events uint64) {
	roll(s.coarse[:], &s.coarseSpan, now/spanSeconds)
	addAt(s.coarse[:], s.coarseSpan, at/spanSeconds, uint32(min(events, 1<<32-1)))
}

func (s *stream) recentCoarse(now uint32) (n uint64) {
	for i := range uint32(spans) {
		if span := now / spanSeconds; i <= span {
			n += uint64(valueAt(s.coarse[:], s.coarseSpan, span-i))
		}
	}
	return n
}

// streams are those that have readers, or had opens in the last hour.
type streams struct {
	named  func(uint16) bool // nil: none has a name
	others account           // of streams without a name
	list   []*stream         // nil where there was one
	of     map[uint16]uint16 // the place in list of a number
	free   []uint16          // places that are nil

	recent   uint16 // the number that place was asked for last,
	recentAt uint16 // its place,
	isRecent bool   // and whether it has one
}

// find is where a stream is.
func (s *streams) find(number uint16) (at uint16, ok bool) {
	if s.isRecent && s.recent == number {
		return s.recentAt, true
	}
	if at, ok = s.of[number]; ok {
		s.recent, s.recentAt, s.isRecent = number, at, true
	}
	return at, ok
}

// place is where a stream is, a new one if there is room for it.
func (s *streams) place(number uint16) (at uint16, ok bool) {
	if at, ok = s.find(number); ok {
		return at, true
	}
	x := &stream{number: number, account: &s.others}
	if s.named != nil && s.named(number) {
		x.account = new(account)
	} else if len(s.of) >= streamsMax {
		return 0, false
	}
	if n := len(s.free); n > 0 {
		at = s.free[n-1]
		s.free = s.free[:n-1]
	} else {
		at = uint16(len(s.list))
		s.list = append(s.list, nil)
	}
	s.list[at], s.of[number] = x, at
	return at, true
}

// sweep removes those of which nothing is to be seen any more. No content is left of
// them, since what a content has of readers and opens its stream has, too.
func (s *streams) sweep(now uint32) {
	s.isRecent = false
	for number, at := range s.of {
		if x := s.list[at]; x.all == 0 && x.series.idle(now) && x.recentCoarse(now) == 0 {
			s.list[at] = nil
			s.free = append(s.free, at)
			delete(s.of, number)
		}
	}
}
