// Package pipeline leads from cuts to the store. A Gatherer owns a spool. It seals each cut
// in the spool's log, adds up the rows of all cuts by minute, flushes minutes that are over
// to the spool's segments, and brings each block of these segments to the store, until it
// is there.
//
// The goroutine that makes cuts calls Seal, which also adds up. A Gatherer has three
// goroutines of its own: one flushes, one ships blocks, one compacts segments.
//
// # Minutes, books and logs
//
// A row a minute. What is acknowledged must be durable within a second, but the store
// should get few rows. When both had one period, a reader who sends an event every ten
// seconds became six rows a minute. Now the record in the log makes a cut durable while its
// rows are in memory, and whole minutes are flushed, with one row for each reader and
// content in each. The setting settle is for events that were on their way when the minute
// ended. An event that comes later becomes a row of its own, which the store adds up like
// any other. A mark cannot name fewer minutes than the mark before it. So when the clock is
// set back, everything is flushed.
//
// Books go with their rows. A seal's rows may belong to several minutes, so part of a seal
// is stored and part is not. If its books were stored at once, the store would show more
// events accepted than it has rows for. So the events of running minutes stay in the
// running books, as sent and accepted. This needs nothing on disk: the minute alone says
// which rows were left, so after a crash the log's rows give the same books. In one case
// books cannot be divided: late events may be in stored books already, as sent and lost.
// When a stream has fewer events sent than would have to stay, all minutes are flushed. A
// damaged log may have held a seal that is partly in segments. Everything that the seal
// brought then counts as damaged, including what is stored: too much rather than too
// little.
//
// Logs that minutes keep. A seal with a row of a running minute is still needed, and so are
// its log and all later logs. One event ahead of the clock keeps them for up to future_max,
// however few rows they hold. So when rows that are in no segment, or the logs kept for
// them, take a quarter of the spool, all minutes are flushed and the logs removed. The same
// happens when a cut finds no room in memory for its rows (MakeRoom), since without cuts
// nothing else would notice.
//
// While the store is away, blocks wait in the spool, up to spool.size_max. Beyond that no
// cut is taken: the clients of sessions get no credit and keep what they have, and what
// comes over UDP is counted more and more coarsely (package collector, Overload), in
// memory, as long as the process lives.
package pipeline
