// Package live keeps in memory who reads what now: how many different readers each
// content, and each stream, had in the last minute and in the last five, and what was
// opened in the last hour. It is fed with the rows of each cut, off the event loops,
// and asks no store.
//
// # What is counted
//
// Time is that of the cuts, in whole seconds. A reader is with a content at the second s
// if he had an event there in one of the sixty seconds that end with s, or of the three
// hundred. An event counts at its own time. One that is dated ahead is seen when its
// minute runs, or its rows leave before that. What comes late counts where it belongs, as
// far as that is still shown. The numbers are exact: TestAgainstAMap compares them with a
// map of all events.
//
// # How
//
// A table has a slot for each reader of a content, found by a hash of both, with the
// second of his last event. To look there for each event would be a second miss of the
// cache, beside that of the table of the minute (package storage). So Readers are a
// storage.Watcher: they are shown the first row of a reader in a minute alone, and told
// when the minute is over when each was seen last. In between he cannot leave, since he
// was there within the minute. The tables of minutes and this one are in the order of the
// same hashes: telling goes through both as they lie.
//
// A reader who is silent leaves the last minute at one moment, and the last five at
// another. When a minute begins, each slot of which one of these may come before its end
// is put on a wheel, which has a list for each second. Most of those readers are seen
// again before: each slot is looked at about once a minute, however many events it gets.
//
// When a reader comes or goes, the counters of his content change, and his entry among
// the readers of the stream says with how many contents he is: so who reads two of them
// is counted once in the stream.
//
// Both tables begin small, and grow where they lie: memory for as many readers as there
// may ever be is mapped at once, and what was never touched of it takes none.
//
// Readers are told apart by 64 bits of a hash with a seed of the process, without
// comparing the ids: of three million readers two are taken for one with a probability
// of less than one in a million.
//
// Figures are made behind a cut while somebody asks (Latest), and read by a pointer.
//
// # Bounds
//
// Slots and contents have a limit. Streams that the configuration names, and all others
// together, may each take up to eight times what is free: so nobody takes all of it.
// Events of readers for whom there is no room are counted as coarse, and those of rows
// that are coarse already. As long as there are such readers, each row is wanted. A
// content that nobody reads leaves when another needs its room, and an hour after its
// last open otherwise.
//
// # Several daemons
//
// Readers who are with several daemons are to count once, so numbers cannot be added
// up. A Sample has hashes of readers: of all where they are few, which makes the union
// exact, otherwise those with the smallest hashes. The same readers are in the samples
// of every daemon then, which shows how many of them come twice; Union has the rest, and
// its error.
package live
