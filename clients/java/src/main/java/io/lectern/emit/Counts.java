package io.lectern.emit;

/** What {@link Stats} is made from. */
final class Counts {
    long added;
    long sent;
    long acked;
    long buffered;
    long queue;
    long socket;
    long closed;
    long refused;
    long unsure;
    long frames;
    long unreachable;
    long renewals;

    Stats stats() {
        return new Stats(added, sent, acked, buffered, queue, socket, closed, refused, unsure, frames, unreachable, renewals);
    }
}
