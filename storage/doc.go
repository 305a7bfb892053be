// Package storage has what its sub-packages share: rows and how they are added up, books,
// seals, blocks, and what a store is. Package pipeline leads from the cuts of the collector
// to a store; the stores are packages of their own.
//
// Of package wire it uses the words of refusals and names; of the collector nothing.
//
// # Books
//
// There is one list of counters, Counter, with their words, and one Book, an array of
// them. The loop writes each number once, into the book of the running window; the cut,
// the log, the ledger, the metrics and lectern books add up and show that book by the
// list. A new counter is a constant and a word there, the line that counts it, a step of
// ClickHouse's schema and its documentation (CONTRIBUTING.md has the list); tests walk
// the list of counters and find what is missing. A book is of one stream and one class,
// sealed or unsealed, so that what strangers invent is in no account of those who hold a
// key.
//
// For each collector, account and window,
//
//	sent = accepted + refused + shed + lost + damaged
//
// Sent comes from the senders' positions, the rest from counting; nothing is derived to
// make the sum fit. Damaged is what seals had brought and a start cannot find in the log;
// the totals in later seals and snapshots tell how much that is. It is 0 on a healthy disk,
// and otherwise makes lectern books exit with 1.
//
// A frame that reaches n events past the source's largest position makes sent grow by n;
// those of the n that it does not bring are lost. A late frame that fills a gap takes its
// events off lost again. So lost may be negative in one window, but never in the sum over
// all windows.
//
// A frame whose position contradicts the source's other frames (a next sequence that
// leaves a gap in positions, or a late frame larger than what is missing) is refused by
// name and changes nothing else. Otherwise one wrong sender could make lost meaningless,
// or have the next frame of another refused.
//
// The events of a refused frame count as refused only if the frame is placed, that is, if
// its sequence and positions are used up. Any other refused frame is counted as a frame
// without events, since its events may still come: they would otherwise be in two classes,
// and sent would be larger than what was sent. By the word of the refusal:
//
//   - length, inherit, kind, progress, count (in the body), stream (the source's stream is
//     another): placed; refused, in the book of the source's stream.
//   - position, sequence, unexpected, sealed, unsealed, time: not placed. The events are
//     lost when the source goes on, or accepted if they come again, from the same source
//     or a new one.
//   - sources, credit, forgotten: not placed, likewise. Of a source for which there is
//     never room nothing is known, so its events are in no book.
//   - short, magic, version, type, flags, size, number, count and stream (in the header),
//     truncated, rest: nobody knows how many events there are. They are lost when the
//     source goes on.
//   - connections, idle: the events of a frame that did not come whole are accepted when
//     it does.
//   - stream, because there is no such stream here: in no book.
//   - body, and unexpected because of the frame's type: a frame without events.
//
// The frames of the second and third kind are in the book of the stream that they name,
// and lectern_events_unplaced_total says, beside the sum, how many events their headers
// claim. Frames that cannot be believed or were not read are in the book of the reserved
// stream, 65535, and so are frames of a stream that does not exist, since anyone can
// invent such numbers. wire/SPEC.md, section 4, covers each word; TestRefusedIsBookedOnce
// checks each against the source's own count, over datagrams, connections and sessions.
//
// A source belongs to the stream of its first frame. A source that is met in the middle is
// accounted for from the smallest position seen; lectern_sources_met_midway counts those.
// Over UDP, emitters open with beats at position 0, so that a lost first frame shows.
//
// # Spans: sources that several collectors have
//
// A collector's books know nothing of another collector's. When a pod is replaced, a flow
// moves, or a load balancer spreads the sockets of one source, each collector has part of
// the source's numbers. Events between two parts are in nobody's books, and events that
// one collector misses inside its part may have been counted by another. Both show when
// the parts are laid side by side, so sources leave spans in the store.
//
// A span is what one collector saw of one source up to a moment: its smallest and its
// largest position, how many events between them its own books have as sent, and how many
// of these as lost; when it met the source; and whether the source is live here, has left,
// or has ended by its own word (beats less than half a second apart by the source's own
// clock, which only its last beats are). Source, collector and time of meeting name a
// span, and a later one by that name replaces it. It needs no list of gaps, since a source
// has one numbering. Of all its spans, from all collectors, with E the largest position,
//
//	gap = E − Σ sent              events that are in nobody's books; below zero, events that are in two
//	missing = Σ lost + gap = E − Σ (sent − lost)      events that came to nobody
//
// and the books of all collectors added up are right with sent + gap and lost + gap,
// however the parts lie, overlap or alternate: each event is accepted, refused or shed by
// one collector, so these sums need no correction. (A datagram that the network doubles
// and hands to two collectors is counted by both; then lost may fall below zero, and the
// books say so.)
//
// When a source leaves a span: with its first window here if it was met in the middle or
// has events missing, and then every minute while it moves, since another collector may
// have them; otherwise every ten minutes, so that what is known is recent if this
// collector disappears; after a minute of silence, or when it is forgotten; and at the end
// of the process, in a seal of its own, as far as the spool has room. A source that began
// here at position 0, and of which every frame came here, up to the third of its last
// beats, leaves none: nobody else can have anything of it. (If another collector had got
// one of its beats, that collector's span would say how many events there were, and without
// a span from here all of them would look missing.) A source of a session leaves none
// either: what is acknowledged belongs to one collector alone.
//
// What a span costs: 65 bytes in the spool, and some 20 in the store, where the next merge
// removes a span that was replaced. A short-lived source costs one span at the most, and
// none when it ends as wire/SPEC.md has it; a long-lived source costs six an hour, or sixty
// while something is missing. A block has each span (by source, collector and time of
// meeting) once. So it never has more than limits.sources_max and the sources that were
// forgotten in its window.
//
// A span travels in the book of its stream: with the cut into the seal, with the seals into
// the block, and from there to the store, before the block's other books and its rows. So
// it is of the same instant as the books that it speaks of. Writing it twice is harmless:
// of several rows of one span, that of the last seal counts. (Not that of the last block,
// since blocks that wait are merged under new numbers.)
//
// Taking over a spool. The adopter joins what the other process knew of a source to what it
// knows itself, so that no frame counts twice. But each process has its own books. So a
// source remembers how many events of its part are in other books (apart), and its losses
// here are only those found here. The sources of the process that has ended leave their
// spans in that process's books before these go to the store.
//
// Settled, or open. A settlement is made when it is asked for: by the view settlements in
// ClickHouse, by storage.Settle over Parquet files. While somebody may have more to tell,
// what is missing of a source is open and not lost:
//
//   - two collectors have it live, since their reports are of different moments;
//   - nobody has told of its beginning, for three minutes after it was met, since a
//     collector that had it tells when it has been silent there;
//   - it has left one collector and nobody goes on with it, for three minutes.
//
// After that the events before the first span, and between two spans, are lost. Events that
// a source sent after the last position that anybody saw are known to nobody, unless the
// source comes back.
//
// What this cannot do. Between two spans of a live source its losses may stand under lost
// for up to a minute before they are open. A collector that disappears together with its
// spool takes with it the spans that it has not stored: what it counted of a source in its
// last ten minutes then looks like a gap. Separate stores settle nothing: each calls lost
// what the other has. A source that was met before the ledger begins (retention) is not
// settled.
//
// # Names
//
// A name says what a content is called, or another attribute of it. It travels as a span
// does, in the book of its account, so it is durable with the frame that brought it.
// Writing it twice is harmless: a name replaces the one with the same stream, content,
// class and attribute in the store. Neither a book's sums nor receipts depend on names.
package storage
