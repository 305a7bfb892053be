// Package spool keeps what the collector accepted on disk until a store has it. It is
// the line behind a cut:
//
//	cut ─► seal ─► log ─► flush ─► segment ─► block ─► store
//
// and owns both of its files: the log (package wal) and segments (package segment), in
// a place (package place). FORMAT.md draws them and says in which order they are
// written. These are all the words:
//
//   - A seal is all that one cut brought: rows, books, and the sources that moved. It is
//     an entry of the log, has the next number, and is durable when Seal says so. A seal
//     that cannot be written is pending, until Retry has written it.
//   - The log's snapshots, stamps and marks say what else a start must know: all
//     sources, the total of events sent to each stream, and what is applied.
//   - A flush writes the rows of many seals, added up, to a segment. Applied is the part
//     of the log that is in segments; a log file is removed when all of it is applied.
//   - A segment's blocks have numbers that are never given again. Blocks wait in the
//     queue, in their order, until they are stored; a block that the store refuses is
//     parked.
//   - A segment is tried when the store may have seen a block of it. Segments that are not
//     tried are compacted, many into one, while the store is away.
//   - Files that nothing needs any more are tidied away; damaged ones are set aside.
//   - A place is claimed by a daemon, and vacant when it holds nothing. Its block numbers
//     are unchecked until the store was asked for the last number that it knows; its
//     blocks go to one shard of the store.
//
// # Reasons
//
// Why segments, and not seals that are read again. A block could be computed again from
// its seals, but a later version might compute it differently. So its bytes are written
// once, to a segment, and the log can go early. Segments that no store has seen are
// compacted while the store is away, so an outage takes disk by distinct keys. After a
// restart every segment counts as tried and is no longer compacted, since nobody knows
// whether the store saw it.
//
// Blocks go on from the store's last number. The collector id and the block number name a
// block for ever; storing one again is harmless. Before the first block goes to a store,
// the store is asked for the last number that it has of this collector. If the spool had
// not given that number when it was opened, the spool is an older copy, and nothing is
// stored from it. A store that is away at the start, or does not answer within 5 s, is
// asked at the first contact; until then blocks wait.
//
// The newest log knows which numbers were given. If only its header is damaged, its first
// record has what is needed to read it. If nothing of it can be read and no seals of older
// logs wait, nothing could be stored a second time, and only the numbers are in doubt: they
// go on at the log's id times 2^32, more than any log had room to give. If older seals
// wait, they may be in blocks that were stored and removed. Then the store is asked, and if
// its answer does not settle the matter, a person must (lectern spool renew). An I/O error
// is not damage: the operation is tried again, or the start is refused.
//
// A spool belongs to its directory. The file with the collector id records its own
// creation time, which no copy reproduces: a copy is refused. After the clone of a whole
// disk, where even that time is the same, the store's last number tells. If both clones go
// on at once, the second block with the same number is recognised by its checksum: it is
// parked, and an alarm is raised.
//
// Marks are small files, not one page. Beside logs and segments there are a few files that
// each say one thing: collector, shard, unchecked, vacant, renewing, resend-N. One page
// with two slots, written in turn, would be one format in place of six. But a page has one
// writer, and these files have several: lectern spool resend puts its file beside a daemon
// that runs, vacant is left by whichever process has emptied the place, and renewing by a
// command that was cut off, for whatever starts next. They are also lost one by one. A
// place whose file collector is damaged takes its id from the names of other files, and
// shard and unchecked survive, which they would not under one checksum. Nor would a page be
// faster: each file is written a few times in a spool's life, while what changes with every
// cut is in the log's records and costs no write of its own.
package spool
