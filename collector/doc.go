// Package collector receives frames over UDP and TCP, adds their events up in
// one table a loop, and hands what was counted to its Sink at each cut.
//
// It is the only package that knows gnet. docs/ARCHITECTURE.md follows an event
// through it. Below are the reasons for how it is made.
//
// # Event loops
//
// Count on the event loop, not behind a queue. A queue between reading and counting costs
// a copy and a wake-up per batch, and hides overload. Here an overloaded loop leaves
// datagrams in the kernel's buffer, whose overflow shows as lost, and TCP clients in their
// windows.
//
// Our own table. Open addressing in groups of eight, with the tags apart from 64-byte
// slots, in large pages where the kernel has some. make bench runs it beside the same
// decoder in front of a Go map: more than ten times as fast at a million keys, and it
// gives the garbage collector nothing to do.
//
// Cache misses overlap. The sources of a batch of datagrams are looked up together, and
// each is prefetched eight datagrams before it is needed; the slots of up to 64 events are
// prefetched together, across frames: accepted events wait until the batch is done or the
// table is needed. Sources stand in slabs that never move, behind an index that is read
// ahead without a lock. A table of few keys stands in the processor's own cache, and the
// events of a frame go straight into it. docs/PERFORMANCE.md has what that gave, and what
// was tried and dropped.
//
// UDP GRO is asked for only where it is of use. With it, full datagrams cost the kernel a
// quarter. With nothing to merge it costs 40 ns a datagram, a cache miss, so then it is
// turned off, and tried again every 65,536 datagrams. gnet reads the first datagram of a
// wake-up itself, without GRO's control message. If the kernel merged that one, it is
// parsed as one buffer: right for good frames, while a bad frame in it takes the rest of
// the buffer, which is the same sender's, with it.
//
// Connections are accepted by a goroutine in front of the loops, which gives each to the
// loop that has the fewest (gnet's Register). If the kernel chose loops by a hash, a few
// edge proxies might all land on one loop while another is idle. Also, gnet ends a loop
// when accept fails, for want of descriptors or kernel memory. Here such a failure is
// counted, the connection waits in the kernel, and accept is tried again after 5 ms to 1
// s.
//
// One entry. What a loop reads, what TLS decrypts, and what this process submits itself
// (Collector.Take: a beacon, a test) goes into a shard by the same two functions, admit
// for whole frames and take for bytes of a connection, with the shard's mutex held. So all
// of it has the same books, the same refusals and the same limits. A call may come from
// any goroutine and must not find a shard's scratch memory in use: a frame that waits for
// room releases the shard, so a frame that was joined from pieces keeps its own memory
// until it is taken. Through Take, a source always goes to the same shard.
//
// TLS is a socket of its own, with a goroutine a connection: gnet has no TLS. The
// goroutine reads what crypto/tls decrypts, at most a record (16 KiB) at a time. Acks must
// not wait for a slow client with a shard held, so they are queued, at most 64 KiB, and
// written by a goroutine that exists while something waits; a client that does not read is
// disconnected. A handshake has ten seconds, and of tls.connections_max an eighth may be
// in their handshake at once. Beyond that the oldest handshake is dropped, since an honest
// one takes milliseconds. Sessions are not resumed (no tickets), so a replaced certificate
// or a removed authority takes effect for every new connection. Existing connections stay.
//
// A loop rests where that pays. Traffic of a few thousand datagrams a second used to cost
// a wake-up for each one or two of them: ten times what they cost themselves, with caches
// to be warmed again each time. So a loop that has read everything sleeps for some
// milliseconds, in which more comes, and reads that at once. How long depends on how much
// came lately (four batches at the most) and on the receive buffer: what 1 Gbit/s brings
// meanwhile must fit in, so with the default of 8 MiB it is 67 ms, and with the 208 KiB
// that a kernel gives by itself 2 ms. A loop with connections rests 20 ms at the most:
// their clients wait for acks. All loops end their rests at the same moments, and at once
// when acks wait to be written. In silence, and where a connection brings much, there is
// no rest.
//
// A flow of datagrams stays on its loop. Spreading the datagrams of one source over loops
// would make those of the slower loop stale, and a flow is mostly one source. So a few
// heavy flows may share a loop while another is idle. With much to send from few places,
// use TCP, or several emitters, each of which is a source and a flow. A loop holds 70
// million events a second of full datagrams, more than a 10 Gbit/s link brings; of single
// events it holds 1.4 million.
//
// Cuts and loops wait for each other. A cut raises a flag. A loop that sees the flag
// between two frames releases its mutex, and takes it again after the cut. Without the flag
// a loaded loop would keep its mutex for a whole wake-up of 1,024 datagrams.
//
// # Sockets
//
// Refusals over TCP arrive. Closing a socket with unread bytes resets the connection, and
// the client would never see the reason. So the refusal is written, our half is closed,
// and what still comes is read and discarded for up to two seconds. A client that is done
// closes its half and waits for ours: that proves to it that everything was read, which
// does not mean that it was stored.
//
// A client that stops inside a frame pays for it. A loop keeps at most 32 MiB for
// half-received frames: memory, not bytes, taken for what has come and not for what a
// header promises. When more is wanted, the connection that has stood inside its frame for
// the longest is refused. Refusing the one that wants more would hit busy clients, since
// every read of a fast client ends inside a frame: beside 513 slow clients a fast one was
// refused again and again and took nine times as long.
//
// The receive buffer is asked for with SO_RCVBUFFORCE, then SO_RCVBUF; what was granted is
// read back, shown as a metric, and said once with what to do. Kernel drop counters only
// help to say where loss came from: with GRO they count buffers and not datagrams.
//
// The UDP socket is kept open past gnet through a duplicate of its descriptor, so that
// what it holds when the loops stop is read and counted.
//
// One daemon a port. The TCP socket does not share its port, and before the loops bind
// theirs with SO_REUSEPORT that of UDP is bound for a moment without it: two daemons
// started by accident would each get part of the traffic. listen.share_port leaves both
// out, for a hand-over.
//
// Descriptors. connections_max is lowered to what the process may open, less 512 that are
// kept for files, listeners and the operations server, or half of all where that is less;
// with a warning. A quarter of those kept may be taken by connections above
// connections_max while their clients learn the reason, an eighth by connections on their
// way to a loop. What comes on top of that is closed at once, and counted.
//
// # Sealed frames and sessions
//
// Sealed frames (wire/SPEC.md, section 8) are checked before anything else is done with
// them. prove (collector/seal.go) looks the key up by stream and epoch in a table that
// never changes (a reload makes another), and checks the tag. There is one key for all
// sources of a stream, and its nonce is in the header, so nothing is derived, allocated or
// remembered for an invented source, and a million sources cost as much as one. A session
// has keys of its own, made with its hello. A source whose frames are sealed is proved
// (storage.Standing), in the spool, too, so that after a restart a frame without a tag
// cannot continue it.
//
// Sessions. A TCP connection that begins with hello is acknowledged. An ack says which of
// the source's frames are durable, that is, in a seal of the log (storage.Seal) that is
// synced. After a reconnect or a restart the client sends again from there, and the
// collector knows each source's next sequence from the spool, so that nothing counts twice.
// The state of a source at the end of a window is kept beside its running state (before),
// so a cut copies nothing while the loops wait. An unknown source that does not begin at 0
// is refused as forgotten, since it cannot be known whether its unacknowledged frames were
// counted. For the same reason every ack names its spool, one name for all places below a
// directory. A client that is answered by a different spool than before begins a new
// source, so that frames which the first spool made durable, and whose ack was lost, are
// not counted again by the second. A session is remembered for session_idle_max, far longer
// than a source of datagrams. After a restart a datagram is taken only if it is beyond the
// recovered sequence. What the dead process had read and not made durable is lost, and
// shows as lost.
//
// # Overload
//
// Nothing is sampled here, and nothing is discarded that can be added up. The steps come in
// this order, each only when the one before is not enough.
//
//  1. A table is three quarters full, or a stream may hold no more of it: an early cut.
//     One frame since the last cut waits for it, a datagram 5 ms, a TCP frame a second. It
//     costs time: lectern_cuts_total{reason="full"}.
//  2. The sink takes no cut (the spool is full, or rows waiting are at their limit), or
//     the cut does not come within that second (the log still writes the one before, on
//     a disk that is slow or full): sessions lose their credit, then their frames are not
//     taken and come again. It costs the time of clients that keep what they send:
//     lectern_cuts_denied_total, lectern_sessions_closed_no_room_total. The next cut that
//     is durable gives credit again, to all.
//
// Steps 3 to 5 are for what nobody keeps: datagrams, and streams without acks. A session's
// event is coarse only where no cut helps: its stream has a limit of its own or a rate
// that it exceeds, or not even a table that a cut has just emptied may hold its frame.
//
//  3. A stream wants more keys than it may hold: its events go to (stream, minute,
//     content, other users). Who read is lost, contents stay exact:
//     lectern_events_coarse_users_total.
//  4. It invents contents, too: (stream, minute, other contents, other users). What was
//     read is lost, the stream stays exact: lectern_events_coarse_contents_total.
//  5. It needs too many minutes, too: its events go to a row of step 4, in the minute of
//     arrival. When they were read is lost: lectern_events_clamped_total{reason="room"}.
//     Where a sender samples, and no row has the same number of events left out, it is
//     lost as well for how many others an event stands: lectern_events_unweighted_total.
//  6. There is no room for a row of the whole stream. That takes more streams in one
//     window than a 128th of a table has rows, or no cut for as many minutes. A 256th of
//     the table is kept for the datagrams of such streams, whose events have rows of their
//     own there. A source may hold no more of this part than a quarter of what its stream
//     could still hold, which shares it out as step 3 does among streams. So sources that
//     send little find room when sources that send much find none.
//  7. A source has had its share of that part: its datagrams are shed, and only its:
//     lectern_events_shed_total.
//
// An event whose key is in the table is counted there at every step: a reader that has a
// row keeps it.
//
// Who may hold what. Each [stream.NAME], and the unknown ones together, are guaranteed
// their share of each loop's table, as far as they are likely to want it: four times what
// they held in the windows before, and always an eighth of the share. The rest is lent: a
// stream may hold, beyond its guarantee, four times what is then left. So one stream
// leaves a fifth free, and two get four ninths each: all that want more end up with the
// same, without a list of who they are (dynamic thresholds, Choudhury and Hahne 1998),
// which is max-min up to the part that stays free. A stream's keys_max applies as well,
// and no cut lifts it. A thirty-second and a 128th of a table are kept for the rows of
// steps 3 and 4, so that these are never taken by detail. Its shortcoming: a stream that
// wants more than four times what it had before, in a window in which others have taken
// everything, may be coarse until the next cut. Among the sources of a stream, too,
// nothing that was given is taken back before the cut: in step 6, of the sources that send
// much, the first to come gets up to twice as much as the last. Rows of whole streams are
// shared out by the same rule, so unnamed streams cannot take those of a named one. On a
// normal day none of this happens: it begins when a window brings more keys than a table
// holds.
//
// Why coarse and not sampled. A sample keeps readers and gives up the sums, for everybody;
// here the sums of contents, which editors look at, stay exact, and only the stream that
// brings too much loses detail. Rows say it (coarse), so a query never counts other users
// as one reader, and so does the ledger (coarse_users, coarse_contents).
//
// # Strangers
//
// Anyone who reaches the port can invent numbers, so a new source is on probation: it is
// charged to its address, and it is the first to be displaced. Probation ends when its
// frames are sealed (proved), or when it has been heard for a minute (lived) and, in a
// session, something of it is durable. Seals keep this standing with the source, so it
// holds over a restart.
//
// Where room is short:
//
//   - An address (IPv4, or an IPv6 network of 64 bits) has limits.address_sources_max
//     sources that are not proved: one of the address's own sources that is on probation
//     or at its end goes (displaced).
//   - An address brought that many within a minute: no source goes, and the frame is
//     refused as sources (turned away, pace).
//   - limits.sources_max sources are known: of those looked at, the one on probation or at
//     its end with the fewest frames goes, silent ones first; at most sources_max a minute
//     (displaced).
//   - No source can go: the frame is refused as sources (turned away, address or full).
//
// A source can be displaced only if it is in a seal, has no client connected, and was
// acknowledged to the end. Its losses are booked, it leaves its span, and if it sends
// again it is met in the middle. This is all that a flood costs a new source of datagrams;
// established sources and sessions lose nothing. For each place that is wanted, 64 candidates (one
// slab) are looked at: no lists, and a fixed cost. A session that was on probation stays
// for source_idle_max and not for session_idle_max, which a session has to earn: 5,000
// momentary sessions once kept every emitter out for a week. While forged addresses flood
// a collector, new sources that are not sealed may still find no room.
//
// The budgets are two rows of 32,768 counters, and an address has one in each by a seeded
// hash, the lesser of which counts. They take 1 MiB whatever comes, and nobody can choose
// whom to share with. A table of addresses would itself need a rule for displacement. A
// minute's worth may come at once (GCRA), since fleets start together.
//
// Whose number it is. Anyone may send under the number of a source that is not sealed.
// Three rules keep that from doing harm in silence (wire/SPEC.md, Jumps). A frame from
// another socket that would leave the source's own frames behind is refused while those
// keep coming. The address proves nothing, but a forger now has to send from it. A frame
// older than the window whose events were never seen contradicts the source and is
// refused. It was once stale, and one forged datagram of 40 bytes made all of an emitter's
// events stale with nothing lost in the books. And a jump is bounded by what a socket can
// have sent, so that a forged frame adds at most 2^26 events to lost, where 2^48 made sums
// wrap after 65,537 of them. Limits in events alone would not do: an emitter may number
// any number of dropped events with one sequence. For the same reason a hello does not
// turn a source of datagrams into a session, which would shut its datagrams out.
//
// Numbers stay below 2^48 (sequence, position), so that sums over all sources stay far
// from 64 bits. Sums are bounded all the same: a run books at most 2^52 events as lost in
// each class, so that they are exact as Prometheus' floats. More is counted as saturated,
// beside the sum, and the log says so once.
//
// # Names
//
// A frame of names costs a lookup for each name that was kept within a day, as nearly all
// are, in a table of the loop's own: groups of four slots, a cache line each. A name that
// the table forgot is kept once more, and replaces itself in the store. A new name is text, so it
// is allocated, and bounded three ways: a source that proved nothing may bring a quarter
// of limits.names_a_minute, a stream's sealed frames and its others all of it each, so
// that strangers take nothing from whoever has the key; and between two cuts a loop keeps a
// mebibyte. What is above that is left out, and counted by the reason: a frame is not
// refused for it, since its sender could do nothing better, and the name comes again.
// From the cut on a name is in the book of its account (package storage).
//
// TextsOf answers from memory: two generations of texts, of which the older goes when the
// younger has half of the room, and what is asked for becomes young again.
//
// # Clocks and days
//
// An event's own time decides its minute. For an event further ahead than future_max or
// older than late_max, its arrival does, and it is counted as clamped: a broken clock must
// not write into last year.
//
// Silence is measured by a clock that nobody sets. The wall clock dates events, frames and
// windows, and nothing else. It jumps (NTP, a resumed machine, a board that starts in
// 1970), and a source that is forgotten because of a jump could have unacknowledged frames
// counted twice. Idle connections, forgotten sources, hellos that wait and the heartbeat
// go by the monotonic clock. Over a restart a source's silence is kept as running time:
// the time in which a daemon had the spool, added up. A start continues from the latest
// time at which any source was heard. Time in which nobody could be heard does not count,
// and short-lived sources do not stay for ever where daemons are short-lived. In an
// adopted spool, silence counts from that spool's own last record.
//
// Days of a window. Each day of what is flushed together is a block at least, so 659 KB of
// datagrams, with each event on a different day, once made 15,000 blocks, and everybody's
// rows stood behind them for minutes. So one window has at most window.days_max days (400)
// beside yesterday, today and tomorrow; events of more are clamped to their arrival.
// Closing the window early would bound nothing, since the next one opens as many; and
// holding rows back until there is room would be a queue without a bound. A year's log
// that is sent at once is not clamped; to send more, raise the setting.
package collector
