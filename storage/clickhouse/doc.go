// Package clickhouse keeps blocks in ClickHouse, through its native protocol.
//
// A block is one insert of one Native block into the table reads, of one
// partition, and so one part; a part is there as a whole or not at all. One more
// row of the same insert is its receipt:
//
//	stream 65535, content = collector id, user = block number, opens = 1,
//	dwell_ms = the block's checksum, minute = the last one of the block's day,
//	first and last = the block's window
//
// Where the receipt is, the block is. What ClickHouse answers to an insert is
// believed in no other way, and a block is stored when its receipt was read. The
// books go to the table ledger before, where writing twice changes nothing.
//
// What follows says why, and what happens to an insert of which nobody knows
// whether it arrived. docs/OPERATIONS.md has the table of errors.
//
// # An insert whose answer proves nothing
//
// What a server answers proves nothing:
//
//   - ClickHouse writes its deduplication log before it renames the part. Killed between
//     the two, it answers the repetition of the same token with success, and the rows are
//     nowhere. make test-clickhouse-kills finds that at 2 of 216 points.
//   - After a power cut it is the reverse: parts are synced (fsync_after_insert), the log
//     is not, and a repetition is taken again.
//   - An answer can be lost on either side of the commit, and an insert land minutes after
//     it was given up.
//
// So a block that may have been sent is looked for first, sent again only when its receipt
// is absent, with the same token, and stored when its receipt was read. The token stops
// the insert that is still under way; the receipt stops the token that was spent for
// nothing; either alone is unsound.
//
//	new ──► look ── there ─────────────────────────────────────────────► stored (twice: and an alarm)
//	          │ absent
//	          ▼
//	        books ──► insert, token g ── success ──► look ── there ────► stored
//	          ▲           │                           │ absent
//	          │           │ any error: close,         ▼
//	          │           ▼ unsure                 denied: g+1 when the receipt was absent twice, 2 s apart, and no insert
//	          └── not running, absent,  ┘          of the block runs, and the server was restarted since the last one
//	              and that is a proof              without an answer, or that was given up 60 s ago (among replicas: that is a
//	                                               proof, and 10 min)
//
// About the steps:
//
//   - The generation g of the token stands in the ledger before it is used, and is read
//     back: a process that is started anew must not go on under an older token while an
//     insert under the newer one is under way. The simulation found that.
//   - No token is renewed where the table has rows and no receipt of any block can be
//     read: a row policy hides them, and every block would be sent again and again. That
//     bars the collector.
//   - Blocks need no order among each other. One whose insert was not answered, or whose
//     receipt is absent without a proof, is unsure: it is asked for again after 100 ms and
//     up to every 2 min, blocks without doubts come first, and it is shown
//     (lectern_blocks_unsure, an alert after ten minutes).
//   - A block of which an earlier process may have sent something (its number was given
//     before this one's spool was opened) is treated as sent without an answer.
//   - A collector belongs to a shard, and an absent receipt is a proof only where the
//     replica has followed the others: below.
//   - Inserts are not cancelled. A cancelled insert was seen to be there in part, and with
//     a spent token. At shutdown one in flight has what is left of stop.grace; then the
//     connection is closed as if the process had ended, and the next one looks. A server
//     that does not answer for clickhouse.answer_max is given up the same way; keepalive
//     and TCP_USER_TIMEOUT tell a dead machine sooner. After any error the connection is
//     closed: ch-go leaves them open in the middle of a block.
//   - async_insert = 0 (on by default since 26.2), no max_execution_time, query_id =
//     token, so that a server refuses the repetition while the first one runs. Settings
//     are marked important: a server that does not know one says so.
//   - No answer depends on the profile. A profile with a query cache, an overflow mode
//     break, limit, offset, a filter or NULL for empty sums would make a receipt look
//     absent that is there, or the reverse. Every question is sent with ClickHouse's own
//     defaults for these (settings.go), which also a user with readonly = 1 may send.
//     Limits stay the profile's: one that is hit is an error, and bars.
//
// # Whose fault an error is
//
// An error that concerns one block alone has it parked: it is passed over until POST
// /retry or a restart. An error that every block would get bars the collector: nothing is
// parked, the oldest block is tried again with the shipper's backoff (at most 30 s), and
// shipping resumes by itself when somebody has fixed the cause. This holds at a start as
// well as later: a node counts, seals and acknowledges whatever its store says, and what
// is wrong is an error in the log, a counter and an alert. Exit 1 is for what can never
// fix itself: an older copy of a spool, a file of a newer version.
//
// When one of several addresses does not answer, nothing is barred, since that server may
// be the one that accepts the collector.
//
// # Shards and replicas
//
// A receipt and a token mean nothing on another shard. The insert lands on shard 1, its
// answer is lost, the next connection is to shard 2, which knows neither: the block would
// be there twice. So a collector belongs to a shard while a block of it may be there and
// is not known to be stored: one whose books or rows were sent, and all that an earlier
// process may have sent. It is told by what the server says: the place of reads in Keeper,
// with the transaction and the second in which it was made there, since two Keepers may
// have the same path; for a plain table its UUID and the server's; in ClickHouse Cloud the
// table's UUID. It is written to the spool (shard, synced) before anything is sent.
// Another one is refused, shard, until nothing is unsure or a person releases them
// (lectern spool resend); where nothing is, the new one is written down and taken. Where
// the note is damaged, no server will do while blocks may have been sent. With
// clickhouse.cluster the shards come from system.clusters, each collector takes one by
// rendezvous hashing of its id, so that another shard moves only those that go there, and
// it moves when nothing is unsure.
//
// What an absent receipt proves. A part, its entry in the log of the shard and its token
// are one transaction in Keeper. A replica that has executed all entries that the log had
// at some moment has every part from before that moment, or knows that no replica has it
// any more. So the receipt's absence there is a proof, for that moment, and on no other
// replica: a part that only a dead replica has stays in the queue of the others, for as
// long as Keeper knows of that one; when it is dropped (SYSTEM DROP REPLICA), they give
// the part up. This is asked of system.replicas (how much of the log is copied) and
// system.replication_queue (parts of the block's day that are to be fetched), in two steps
// where it is not so at once: the log's length, later the newest part in the queue when
// that much was copied, and done when none of the older ones is left. On a busy table the
// queue is never empty, and need not be.
//
// No block is sent again on a token. Nothing is sent to replicas a second time without
// that proof, so that it does not matter whether a token has run out: not after a week,
// nor when a thousand collectors wrote. What the token is for is the insert that is still
// under way after the proof. So a proof is good for ten minutes, in which no token runs
// out: a table that remembers fewer than 10,000, or replicated ones for less than an hour,
// is refused. A later proof begins anew, or with what was given up ten minutes before it,
// which is assumed to have ended by then: this is the only step that rests on time alone,
// since a server can be asked only about its own inserts. The simulation found that a
// proof without an end stores twice.
//
// A token is renewed among replicas, too, when a block was denied and is proved absent:
// the replica that had it is gone.
//
// No quorum is asked for. insert_quorum would keep a block from leaving the spool before
// two replicas have it. It would also stop all blocks while one of two replicas is
// updated, its failures leave the outcome open (319), and a query for the receipt sees a
// block that has not reached its quorum anyway, unless select_sequential_consistency is
// set, which does not go with parallel inserts. It would only save a block whose replica
// loses its disk before another has fetched it: if a fetch takes a second, the blocks of a
// second. A replica that is killed, or away for a week, loses none. It can be set in the
// profile; its errors are known (285, 286: tried again; 319: unsure), and its price is the
// operator's to choose. A spool keeps what is not stored, not copies of what is: a plain
// table, which is as good a store to Lectern, has one disk as well.
//
// Replicas are proved against a model. No Keeper can be had in the tests.
// TestSimulationWithReplicas brings blocks to shards of replicas, in a model of the rules
// above, that lag, die before or after a commit, come back, lose their place in Keeper and
// forget tokens, over addresses that lead to any shard and in clusters whose choice
// changes, with daemons that are killed: 1,000 seeds in make test, 10,000 in make
// test-replicas; nothing is stored twice, nothing waits for ever, and with one of the
// checks taken out it fails (mutants/). The questions to system.replicas,
// replication_queue and clusters are checked for their columns by a real engine, and
// clusters of plain tables run on two of them. In the model the ledger is replicated at
// once: that a generation of a token, a restart, another replica without it and a token
// that has run out come together is not covered.
//
// Columns are not copied. The table's types are those of a block, and ch-go's column is
// ours: the rows' memory, and the receipt's value behind it. Nothing is appended to the
// block. Without compression rows go from there to the socket (writev); with it ch-go
// copies them once into what it compresses: at most a block, its encoded form and its
// compressed one.
//
// reads is a plain MergeTree. SummingMergeTree deletes rows that sum up to nothing, and
// Aggregating ones would make counters wrap and parts differ from their blocks. A reader's
// minute that two blocks brought stands there twice, so questions add up; the views do.
// Partitions are days. Retention drops whole parts, and a receipt, at the last minute of
// its day, goes with the last of its rows.
//
// The ledger is a table of its own, a ReplacingMergeTree by (collector, block, stream,
// class), written before its block. Rows without their books would look as if nobody had
// sent them; books without their rows are under way. stored in it is how many events the
// block brings, so an audit needs no guess.
//
// Views and no incremental materialized view: that is another insert of another part,
// which can fail or be repeated alone. A projection is in the part; docs/QUERIES.md has
// one for questions about users.
//
// Tables are looked at before the first block of a connection: engine, partition and
// order, types, the windows of tokens, the retention against late_max. What cannot keep
// the promise is refused, with the statement that fixes it. Several addresses are replicas
// of one another: with a table that is not replicated they are refused, since a block
// whose answer was lost could be stored on two servers.
package clickhouse
