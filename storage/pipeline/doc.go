// Package pipeline leads from cuts to the store. A Gatherer owns a spool: it has each
// cut sealed in its log, adds up the rows of all cuts by minute, has minutes that are
// over flushed to its segments, and brings the blocks of these to the store, each until
// it is there.
//
// # Minutes, books and logs
//
// A row a minute. What is acknowledged must be durable within a second, but the store
// should get few rows. When both had one period, a reader who sends an event every ten
// seconds became six rows a minute. Now a cut is durable by its record in the log, for as
// long as its rows are in memory, and a flush is of whole minutes, each reader one row in
// each. settle is for events that were on their way when the minute ended. A later one
// becomes a row of its own, which the store adds up like any other. A mark cannot name
// fewer minutes than the one before. So when the clock is set back, everything is flushed.
//
// Books go with their rows. A seal's rows may belong to several minutes, so part of a seal
// is stored and part is not. If its books were stored at once, the store would show more
// events accepted than it has rows for. So the events of running minutes stay in the
// running books, as sent and accepted. This needs nothing on disk: the minute alone says
// which rows were left, so after a crash the log's rows give the same books. One case
// cannot be divided: events that came late were sent, and lost, by books that are stored
// already. When a stream has fewer events sent than would have to stay, all minutes are
// flushed. A damaged log may have held a seal that is partly in segments. All that it
// brought then counts as damaged, including what is stored: too much rather than too
// little.
//
// Logs that minutes keep. A seal with a row of a minute that goes on is still needed, and
// so are its log and all logs behind it. One event ahead of the clock keeps them for up to
// future_max, however few rows they hold. So when rows that are in no segment, or the logs
// kept for them, take a quarter of the spool, all minutes are flushed and the logs
// removed. A seal that is denied room asks for the same, since without cuts nothing else
// would notice.
//
// While the store is away blocks wait in the spool, to spool.size_max. Beyond that cuts
// are not taken: the clients of sessions get no credit and keep what they have, and what
// comes over UDP is counted more and more coarsely (package collector, Overload), in
// memory, as long as the process lives.
package pipeline
