package segment

// Applied says which rows of the log are in segments: those of all records up to
// Through, and of the records up to Part, those of minutes that begin before Before,
// in Unix seconds. From one segment to the next Part does not become less, nor, with
// the same Part, Before.
type Applied struct {
	Through, Part uint64
	Before        uint32
}

// With is the later of both.
func (a Applied) With(o Applied) Applied {
	later := o.Part > a.Part || o.Part == a.Part && o.Before > a.Before
	if later {
		a.Part, a.Before = o.Part, o.Before
	}
	a.Through = max(a.Through, o.Through)
	return a
}

// Knows says that everything that o says is known.
func (a Applied) Knows(o Applied) bool { return a.With(o) == a }

// Has says whether the rows of a minute that a record brought are in segments.
func (a Applied) Has(record uint64, minute uint32) bool {
	return record <= a.Through || record <= a.Part && minute < a.Before
}

// Divides says that some of the rows of a record may be in segments, and some not.
func (a Applied) Divides(record uint64) bool { return record > a.Through && record <= a.Part }
