package io.lectern.emit;

/**
 * What became of the events so far. At every instant {@code added = sent + acked + buffered + queue + socket + closed +
 * refused + unsure}.
 *
 * @param added events that {@code add} was given and found good
 * @param sent UDP: in datagrams that the kernel took
 * @param acked TCP: that the collector has made durable
 * @param buffered that are kept here, sent or not
 * @param queue dropped since there was no room for them here; numbered, so that the collector's books show them as lost
 * @param socket UDP: dropped since the kernel did not take their datagram; numbered
 * @param closed that came after {@code close}, or that {@code close} gave up
 * @param refused TCP: in frames that the collector refused
 * @param unsure TCP: sent under a source that ended before they were acknowledged. Nobody knows whether they were counted;
 *     they are not sent again
 * @param frames frames that were numbered, beats included
 * @param unreachable events in datagrams to which the host answered that nobody listens, part of {@code sent}. There may
 *     have been more: hosts limit how often they answer
 * @param renewals sockets or connections after the first
 */
public record Stats(
        long added,
        long sent,
        long acked,
        long buffered,
        long queue,
        long socket,
        long closed,
        long refused,
        long unsure,
        long frames,
        long unreachable,
        long renewals) {}
