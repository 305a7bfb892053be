// Package live keeps in memory who reads what now: how many different readers each
// content, and each stream, had in the last minute and in the last five, and how often
// contents were opened in each of the last 66 minutes (of which /now.json shows 61). It is
// fed with the rows of each cut, off the event loops, and asks no store.
//
// # What is counted
//
// Time is that of the cuts, in whole seconds. A reader is with a content at the second s
// if he had an event there in one of the sixty seconds that end with s, or of the three
// hundred. An event counts at its own time. An event that is dated ahead is seen when its
// minute begins, or when its rows leave before that. A late event counts at its own time,
// too, as far as that is still shown. The numbers are exact: TestAgainstAMap compares them
// with a map of all events.
//
// # How
//
// A table has a slot for each reader of a content, found by a hash of both, with the
// second of his last event. Looking there for each event would cost a second cache miss,
// beside that of the table of the minute (package storage). So Readers are a
// storage.Watcher. They are shown only the first row of a reader and content in a minute,
// rows with opens, coarse rows, and rows of minutes that are over. When a minute is over,
// they are told when each of its readers was seen last. Until then no reader of the minute
// can leave. The tables of minutes and this one are in the order of the same hashes, so
// one sequential pass over both does it.
//
// A reader who is silent leaves the last minute at one moment, and the last five at
// another. When a minute begins, each slot whose reader may leave either before the minute
// ends is put on a wheel, which has a list for each second. Most of these readers are seen
// again before that: each slot is looked at about once a minute, however many events it
// gets.
//
// When a reader comes or goes, the counters of his content change. His entry among the
// readers of the stream counts the contents that he is with, so that he counts once in the
// stream however many he reads.
//
// Both tables begin small, and grow where they lie (pages.Memory.Grow), up to a limit.
//
// Readers are told apart by 64 bits of a hash with a seed of the process, without
// comparing the ids. The probability that of three million readers any two are taken for
// one is less than one in a million.
//
// Figures are made at the end of a cut while somebody asks (Latest), and read through a
// pointer.
//
// # Bounds
//
// Readers (slots, and readers of streams) and contents are limited. Each stream that the
// configuration names, and all others together, may hold at most eight times what is still
// free, which is eight ninths of the whole: so nobody takes all of it. Events of readers
// for whom there is no room count as coarse, as do events of coarse rows. The minute's
// table knows these readers, so that rows without opens have each looked for once a minute
// at most. A content that nobody reads leaves when another needs its room, or else when its
// last open is 66 minutes old.
//
// # Several daemons
//
// A reader who is with several daemons counts once, so their numbers cannot be added up. A
// Sample has hashes of readers: all of them where there are few, which makes the union
// exact, otherwise the smallest hashes. Every daemon then samples the same readers, which
// shows how many readers come twice. Union computes the number from that, and its error.
package live
