// Package spool keeps what the collector accepted on disk until a store has it. It is
// the line behind a cut:
//
//	cut ─► seal ─► log ─► flush ─► segment ─► block ─► store
//
// and owns both of its files: the log (package wal) and segments (package segment), in
// a place (package place). FORMAT.md draws them and says in which order they are
// written. The words, and there are no others:
//
//   - A seal is all that one cut brought: rows, books, and the sources that moved. It is
//     an entry of the log, has the next number, and is durable when Seal says so. One
//     that cannot be written is pending, until Retry has written it.
//   - The log's snapshots, stamps and marks say what else a start must know: all
//     sources, the total of events sent to each stream, and what is applied.
//   - A flush writes rows, of many seals added up, to a segment. Applied is what of the
//     log is in segments; a log file goes when all of it is.
//   - A segment's blocks have numbers that never come back. They wait in the queue, in
//     their order, until they are stored; one that the store will not take is parked.
//   - A segment is tried when the store may have seen a block of it. Others are
//     compacted, many into one, while the store is away.
//   - Whatever nothing needs any more is tidied away; what is damaged is set aside.
//   - A place is claimed by a daemon, and vacant when it holds nothing. Its block numbers
//     are unchecked until the store was asked for the last one that it knows; its blocks
//     go to one shard of the store.
//
// # Reasons
//
// Why segments, and not seals that are read again. A block could be computed again from
// its seals; a later version might compute it differently. So its bytes are written once,
// to a segment, and the log is released early. Segments that no store has seen are
// compacted while the store is away, so an outage costs disk by distinct keys. After a
// restart every segment counts as tried and is no longer compacted, since nobody knows
// whether the store saw it.
//
// Blocks go on from the store's last number. The collector id and the block number name a
// block for ever; storing one again is harmless. Before the first block goes to a store,
// the store is asked for the last number that it has of this collector. A number that the
// spool had not given when it was opened means that the spool is an older copy, and then
// nothing is stored from it. A store that is away at the start, or does not answer within
// 5 s, is asked at the first contact; until then blocks wait.
//
// The newest log knows which numbers were given. Where only its header is damaged, its
// first record has what reading it takes. Where nothing of it can be read and no seals of
// older logs wait, there is nothing that could be stored a second time, so that numbers
// alone are at stake: they go on at the log's id times 2^32, more than any log had room to
// give. Where older seals wait, they may be in blocks that are stored and gone; then the
// store is asked, and if its answer does not settle it, a person must (lectern spool
// renew). An I/O error is not damage: it is tried again, or refuses the start.
//
// A spool belongs to its directory. The file with the collector id records its own
// creation time, which no copy reproduces: a copy is refused. After the clone of a whole
// disk, where even that is the same, the store's numbers tell. Where both clones go on
// at once, the second block by one name shows by its checksum: it is parked, and an
// alarm is raised.
//
// Marks are small files, not one page. Beside logs and segments there are a few files that
// each say one thing: collector, shard, unchecked, vacant, renewing, resend-N. One page
// with two slots, written in turn, would be one format in place of six. But a page has one
// writer, and these have several: lectern spool resend puts its file beside a daemon that
// runs, vacant is left by whichever process has emptied the place, and renewing by a
// command that was cut off, for whatever starts next. They are lost one by one: a place
// whose collector is damaged takes its id from the names of the others, and what shard and
// unchecked say must not go with it, as it would with one checksum. Nor would a page be
// quicker: each is written a few times in a spool's life, while what changes with every
// cut stands in the log's records and costs no write of its own.
package spool
