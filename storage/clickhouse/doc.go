// Package clickhouse keeps blocks in ClickHouse, through its native protocol.
//
// A block is one insert of one Native block into one partition of the table reads, and
// so one part; a part is there as a whole or not at all. One more row of the same insert
// is its receipt:
//
//	stream 65535, content = collector id, user = block number, opens = 1,
//	dwell_ms = the block's checksum, minute = the last one of the block's day,
//	first and last = the block's window
//
// Where the receipt is, the block is. A block is stored when its receipt was read;
// ClickHouse's answer to the insert alone is not believed. The books go to the table
// ledger before the block. Writing them twice changes nothing.
//
// What follows says why, and what happens to an insert that may or may not have
// arrived. docs/OPERATIONS.md has the table of errors.
//
// # An insert whose answer proves nothing
//
// What a server answers proves nothing:
//
//   - ClickHouse writes its deduplication log before it renames the part. Killed between
//     the two, it answers the repetition of the same token with success, and the rows are
//     nowhere. make test-clickhouse-kills finds that at 2 of 216 points.
//   - After a power cut it is the reverse: parts are synced (fsync_after_insert), the
//     deduplication log is not, and a repetition is stored a second time.
//   - An answer can be lost before or after the commit, and an insert can land minutes
//     after it was given up.
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
//   - Blocks may be stored in any order. A block whose insert was not answered, or whose
//     receipt is absent without a proof, is unsure: its receipt is asked for again after
//     100 ms, then less often, down to every 2 min; other blocks come first; and the
//     number of unsure blocks is shown (lectern_blocks_unsure, an alert after ten minutes).
//   - A block of which an earlier process may have sent something (its number was given
//     before this one's spool was opened) is treated as sent without an answer.
//   - A collector belongs to a shard, and an absent receipt is a proof only where the
//     replica has followed the others: below.
//   - Inserts are not cancelled. A cancelled insert was seen to be there in part, and with
//     a spent token. At shutdown an insert in flight has what is left of stop.grace. Then
//     the connection is closed as if the process had ended, and the next process looks for
//     the receipt. A server that does not answer for clickhouse.answer_max is given up the
//     same way; keepalive and TCP_USER_TIMEOUT notice a dead machine sooner. After any
//     error the connection is closed: ch-go leaves it open in the middle of a block.
//   - async_insert = 0 (on by default since 26.2), no max_execution_time, query_id =
//     token, so that a server refuses the repetition while the first one runs. Settings
//     are marked important: a server that does not know one says so.
//   - No answer depends on the profile. A profile with a query cache, an overflow mode
//     break, limit, offset, a filter or NULL for empty sums would make a receipt look
//     absent that is there, or the reverse. Every question is sent with ClickHouse's own
//     defaults for these settings (settings.go), which even a user with readonly = 1 may
//     send. Limits stay the profile's: exceeding one is an error, and bars the collector.
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
// be there twice. So a collector belongs to a shard as long as one of its blocks may be
// there and is not known to be stored. Such are the blocks whose books or rows were sent,
// and all that an earlier process may have sent. The shard is recognised by what the server
// says: the place of reads in Keeper, with the transaction and the second in which it was
// made there, since two Keepers may have the same path; for a plain table its UUID and the
// server's; in ClickHouse Cloud the table's UUID. The shard is noted in the spool (file
// shard, synced) before anything is sent. A server of another shard is refused until no
// block is unsure, or until a person releases the blocks (lectern spool resend). When none
// is unsure, the new shard is noted and used. If the note is damaged, no server is used
// while blocks may have been sent. With clickhouse.cluster the shards come from
// system.clusters. Each collector chooses one by rendezvous hashing of its id, so that a
// new shard moves only the collectors that go there; a collector moves when none of its
// blocks is unsure.
//
// What an absent receipt proves. A part, its entry in the log of the shard and its token
// are one transaction in Keeper. A replica that has executed all entries that the log had
// at some moment has every part from before that moment, or knows that no replica has it
// any more. So the absence of a receipt on that replica, and on no other, is a proof for
// that moment. A part that only a dead replica has stays in the queue of the others as
// long as Keeper knows of the dead one; when that is dropped (SYSTEM DROP REPLICA), they
// give the part up. The collector asks system.replicas how much of the log is copied, and
// system.replication_queue which parts of the block's day are still to be fetched. When
// the replica is behind, that takes two steps. First the log's length is noted. When the
// replica has copied that much, the newest part in its queue is noted, too, and when
// neither that part nor an older one is left in the queue, the proof is there. On a busy
// table the queue is never empty, and need not be.
//
// No block is sent again on the strength of a token. Nothing is sent to replicas a second
// time without that proof, so it does not matter whether a token has run out, after a week
// or after a thousand collectors wrote. The token is there for an insert that is still
// under way after the proof. So a proof is good for ten minutes, in which no token runs
// out: a table that remembers fewer than 10,000, or replicated ones for less than an hour,
// is refused. After that it has to be made anew, unless it was begun ten minutes or more
// after the insert was given up. The insert is assumed to have ended by then: this is the
// only step that rests on time alone, since a server can be asked only about its own
// inserts. The simulation found that a proof that never expires stores blocks twice.
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
// second. A replica that is killed, or away for a week, loses none. Operators who want to
// pay for a quorum can set it in the profile; its errors are known (285, 286: tried again;
// 319: unsure). A spool keeps what is not stored, and no copies of what is: a plain table,
// which Lectern accepts as a store, is on one disk, too.
//
// Replicas are proved against a model. No Keeper can be had in the tests.
// TestSimulationWithReplicas brings blocks to shards of replicas, in a model of the rules
// above, that lag, die before or after a commit, come back, lose their place in Keeper and
// forget tokens, over addresses that lead to any shard and in clusters whose choice
// changes, with daemons that are killed: 1,000 seeds in make test, 10,000 in make
// test-replicas. Nothing is stored twice, and nothing waits for ever; when any one of the
// checks is taken out, the test fails (mutants/). The questions to system.replicas,
// replication_queue and clusters are checked for their columns by a real engine, and
// clusters of plain tables run on two engines. In the model the ledger is replicated at
// once. So one case is not covered: a restart, just after a new generation of a token was
// written, at a replica that does not have it yet, when the older token has run out.
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
// Views, and no incremental materialized views: such a view is another insert, of another
// part, which can fail or be repeated alone. A projection is in the part; docs/QUERIES.md has
// one for questions about users.
//
// Tables are checked before the first block of a connection: engine, partition and order,
// types, deduplication windows, the retention against late_max. Tables that cannot keep the
// promise are refused, with the statement that fixes them. Several addresses have to be
// replicas of one another: with a table that is not replicated they are refused, since a
// block whose answer was lost could be stored on two servers.
package clickhouse
