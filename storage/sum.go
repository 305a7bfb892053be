package storage

// Sum adds up neighbours: rows that come in the order of CompareKeys go on to Emit,
// those of the same key as one, as far as its counters hold them.
type Sum struct {
	Emit func(*Row) error // must not keep the row

	row Row
	any bool
}

// Add takes the next row, which it does not keep.
func (s *Sum) Add(r *Row) error {
	if s.any && CompareKeys(&s.row, r) == 0 && s.row.fits(r) {
		s.row.Add(r)
		return nil
	}
	err := s.End()
	s.row, s.any = *r, true
	return err
}

// End hands on what is left.
func (s *Sum) End() error {
	if !s.any {
		return nil
	}
	s.any = false
	return s.Emit(&s.row)
}
