// Command lectern receives read events, counts them, stores what was counted
// and answers what was read most.
//
// # One daemon follows another
//
// A daemon that is replaced while traffic comes hands over three things: its sockets, its
// clients, and its spool. Elder is the one that was there first, newcomer the one that
// follows.
//
// The end has this order after SIGTERM:
//
//  1. For stop.drain_time everything that comes is read, since in a pod network datagrams
//     come until every node has heard of the end. At first /readyz says ok: an ending pod
//     that is not ready is sent nothing, and if it has no successor, nobody is. For the
//     last stop.unready_time it says 503, since kube-proxy leaves pinned flows with an
//     ending pod that is ready until its socket is gone, and moves them when it is not
//     ready.
//  2. The sockets take nothing new.
//  3. Sessions lose their credit, and what is on its way is still taken. Then they are no
//     longer read; a cut and its seal follow, then a final ack and the end of the stream.
//  4. The loops end, the UDP sockets are read dry, and the last cut is sealed.
//  5. What waits goes to the store until stop.grace is over; the rest stays in the spool.
//
// A final ack says that nothing else of the source was taken or will be. So the client can
// safely send what is behind that ack to the next collector, under a new source if the
// next one does not know the old one (when their spools are separate). Without a final ack
// those frames might have been sealed and their ack lost: the end of a stream looks the
// same when the process is killed. If the last seal fails or takes more than 5 s there is
// no final ack. After SIGINT, mostly from a keyboard, the first step is left out, since
// nobody waits to send elsewhere; stop.drain_time is 0 by default for the same reason.
//
// The port (listen.share_port). Old and new are in one SO_REUSEPORT group, so there is no
// drain time: step 2 hands over at once. The elder connects its UDP sockets to its own
// address, port 9, where nobody is. A connected socket is no candidate for other peers'
// datagrams: new ones go to the newcomer, and what the elder holds is read. Closing it
// instead loses what it holds. Flows are spread by the order of sockets in the group. The
// newcomer's come after the elder's, and the elder's leave last one first, so a flow moves
// from elder to newcomer once, never back: each source's frames up to some sequence are
// with one, the others with the other, and both books together are right. (If the first
// left first, the kernel would fill its place with the last of the group, and some flows
// would come back for a moment. Nothing would be lost, but both books would show losses
// until their spans are settled.) The TCP socket is closed, and connections in its queue
// are reset, which clients of sessions take as any lost connection.
// (net.ipv4.tcp_migrate_req=1 has the kernel give these to the newcomer instead.) A daemon
// cannot keep another from joining the group; it can only refuse to join itself.
//
// The spool (spool.share). Each daemon locks a place: spool.dir itself, or a directory
// below it, 1, 2, …, each an ordinary spool with a collector id and spool.size_max of its
// own. A start looks at all locks behind a door that one process at a time passes. If none
// is held, it takes spool.dir, whatever is in it. Otherwise it is a newcomer, the holders
// are its elders, and it takes a place that is vacant, or makes one. When all elders'
// locks are free it adopts their places and every other free one that is not vacant; from
// then on it adopts whatever becomes free. There is always exactly one eldest: of several
// newcomers, the later waits for the earlier.
//
// To adopt is, in this order: lock and recover the place; merge its sources into those
// that live here; bring its seals and blocks to the store under its own collector id and
// numbers, since some may be stored already; wait until a cut with the merged sources is
// sealed here; have the place forget its sources, give back its reserve, mark it vacant.
// The process may end after any step, and the next start adopts the place again. A source
// that is found in several places is taken from the one that knows more.
//
// Exactly once, meanwhile. What must not happen: a client sends frames to the elder, which
// seals them and dies before the ack; the client comes to the newcomer, which does not
// know the source and counts them again. It cannot be seen whether a source is new or the
// elder's, not even by its first sequence: the frames of a source that starts at 0 may
// just have been sealed by the elder. So while an elder runs, a newcomer does not answer
// the hello of a source that it does not know. The client waits, sends nothing, and keeps
// its events; the ack follows within a tenth of a second of the adoption, and says what
// the elder had sealed. After 8 s the connection is closed without a word, before the
// client's own patience ends, and it comes again. The elder answers everybody: no newcomer
// has a source that it does not know, since a newcomer begins with a vacant place. An
// elder that sees a newcomer does not wait for the store at its end, since the newcomer
// can do that, and clients wait.
//
// Disk: each place has spool.size_max, so during a hand-over there may be twice as much. A
// vacant place keeps its last log file (64 MiB) and its collector id, so that ids do not
// multiply.
//
// The price: clients that begin while two daemons are there, and come to the newcomer,
// wait until the elder has gone. So two daemons on one spool are for a hand-over, not for
// good; after a minute the newcomer says so. A daemon with spool.share = false does not
// start where another is.
//
// Datagrams are counted by both without asking. When a source is merged, what lies between
// the two parts is booked as sent and lost: a datagram that neither has seen; where they
// overlap, the spans settle it. If a place is adopted a second time (the first adopter
// died before it was done), its sources' parts lie within those known here, and nothing is
// booked again.
//
// Two on one Parquet directory. With spool.share the lock of parquet.dir is shared. Each
// file's name has the collector's id, each process writes, merges and removes its own
// collectors' files, and readers read all, as they always did.
//
// # Memory
//
// If GOMEMLIMIT is set, it applies. Otherwise Go's soft limit is what the configuration
// needs at its limits, as lectern check adds it up (without a limit, garbage would exceed
// that), or 80 % of the limit of the process's control group where that is less: the
// kernel counts socket buffers and file pages on top of what Go counts. The two are
// compared once, at the start. Tables beside the heap are in both numbers but not in Go's,
// so Go's limit is what they leave; it is set anew each second.
package main
