// Command lectern receives read events, counts them, stores what was counted
// and answers what was read most.
//
// # One daemon follows another
//
// A daemon that is replaced while traffic comes hands over three things: its sockets, its
// clients, and its spool. The elder is the daemon that was there first, the newcomer the
// one that follows.
//
// After SIGTERM a daemon ends in this order:
//
//  1. For stop.drain_time everything that comes is read, since in a pod network datagrams
//     come until every node has heard of the end. At first /readyz says ok: an ending pod
//     that is not ready is sent nothing, and without a successor no pod would be sent
//     anything. For the last stop.unready_time it says 503: kube-proxy leaves pinned flows
//     with an ending pod that is ready until its socket is gone, and moves them when it is
//     not ready.
//  2. The sockets take nothing new.
//  3. Sessions lose their credit, and what is on its way is still taken. Then they are no
//     longer read; a cut follows, and when it is durable a final ack and the end of the
//     stream.
//  4. The loops end, the UDP sockets are read dry, and the last cut is sealed.
//  5. What waits goes to the store until stop.grace is over; the rest stays in the spool.
//
// A final ack says that nothing else of the source was taken or will be. So the client can
// safely send what is behind that ack to the next collector, under a new source if the
// next one does not know the old one (when their spools are separate). Without a final ack
// those frames might be durable and only their ack lost: the end of a stream looks the
// same when the process is killed. If the last seal fails or takes more than 5 s there is
// no final ack. After SIGINT, mostly from a keyboard, the first step is left out, since
// nobody waits to send elsewhere; stop.drain_time is 0 by default for the same reason.
//
// The port (listen.share_port). Old and new are in one SO_REUSEPORT group, so there is no
// drain time: step 2 hands over at once. The elder connects its UDP sockets to its own
// address, port 9, where nobody is. A connected socket is no candidate for other peers'
// datagrams: new ones go to the newcomer, and what the elder holds is read. Closing it
// instead loses what it holds. Flows are spread by the order of sockets in the group. The
// newcomer's sockets come after the elder's, and the elder's leave in reverse order, so a
// flow moves from elder to newcomer once, never back: each source's frames up to some
// sequence are with the elder, the later ones with the newcomer, and both books together
// are right. (If the first
// left first, the kernel would fill its place with the last of the group, and some flows
// would come back for a moment. Nothing would be lost, but both books would show losses
// until their spans are settled.) The TCP socket is closed, and connections in its queue
// are reset, which clients of sessions take as any lost connection.
// (net.ipv4.tcp_migrate_req=1 has the kernel give these to the newcomer instead.) A daemon
// cannot keep another from joining the group; it can only refuse to join itself.
//
// The spool goes from one to the other by package takeover.
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
// compared once, at the start. Both numbers include the tables outside Go's heap, which Go
// does not count. So Go's limit is what these tables leave of the number, and is set anew
// each second.
package main
