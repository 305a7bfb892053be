package live

// streamOf is the place of a reader's stream.
func (r *Readers) streamOf(s *slot) uint16 {
	if s.is(nameless) {
		return uint16(s.what)
	}
	return r.contents.list[s.what].stream
}

// wholeOf is where the reader of a slot is as one of the stream, and the place of that.
func (r *Readers) wholeOf(at int) (whole int, stream uint16) {
	stream = r.streamOf(&r.table.slots[at])
	whole, _ = r.wholes.find(stream, r.table.users[at])
	return whole, stream
}

// comes counts a reader as of the last minute, in his content and in his stream.
func (r *Readers) comes(at int) {
	i, stream := r.wholeOf(at)
	r.comesTo(at, i, stream)
}

func (r *Readers) comesTo(at, whole int, stream uint16) {
	s := &r.table.slots[at]
	s.flags |= recent
	if !s.is(nameless) {
		r.contents.list[s.what].minute++
	}
	w := &r.wholes.list[whole]
	if w.minute++; w.minute == 1 {
		r.streams.list[stream].minute++
	}
}

// leaves is the opposite of comes.
func (r *Readers) leaves(at int) {
	s := &r.table.slots[at]
	s.flags &^= recent
	if !s.is(nameless) {
		r.contents.list[s.what].minute--
	}
	i, stream := r.wholeOf(at)
	w := &r.wholes.list[i]
	if w.minute--; w.minute == 0 {
		r.streams.list[stream].minute--
	}
}

// goes forgets a reader of a content, who was silent for five minutes.
func (r *Readers) goes(at int) {
	i, stream := r.wholeOf(at)
	s := &r.table.slots[at]
	if s.is(nameless) {
		r.nameless--
	} else {
		r.contents.list[s.what].all--
	}
	s.flags |= gone
	r.table.gone++
	w, st := &r.wholes.list[i], r.streams.list[stream]
	st.account.readers--
	if w.all--; w.all > 0 {
		return
	}
	st.all--
	st.account.readers--
	r.wholes.remove(i)
}

// readers is how many there are, of contents and of streams.
func (r *Readers) readers() int { return r.table.readers() + r.wholes.used }
