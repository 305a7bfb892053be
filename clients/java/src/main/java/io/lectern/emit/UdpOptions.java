package io.lectern.emit;

import java.time.Duration;

/**
 * Options of an emitter over UDP; see {@link #of} for the defaults.
 *
 * @param stream the number of the application or site that the events belong to, 0 to 65534
 * @param flushAge how long an event waits at most for others to share its datagram: 250 ms
 * @param datagramSize the largest datagram, in bytes: 1400
 * @param socketAge how long a socket is kept that sends events, before the name is resolved again and a new source begins on
 *     a new one: 5 minutes, at least a second
 * @param key what seals the frames, or null
 * @param audience whom sealed frames are for, as the collector has it; null without a key
 */
public record UdpOptions(int stream, Duration flushAge, int datagramSize, Duration socketAge, Key key, String audience) {
    /**
     * Checks the options.
     *
     * @throws IllegalArgumentException that says what is wrong with them
     */
    public UdpOptions {
        Options.check(stream, flushAge, key, audience);
        int least = Wire.SIZE_MIN + (key == null ? 0 : Wire.TAG_SIZE);
        if (datagramSize < least || datagramSize > 65_507) {
            throw new IllegalArgumentException("datagrams of " + datagramSize + " bytes: use " + least + " to 65507");
        }
        if (socketAge.compareTo(Duration.ofSeconds(1)) < 0) {
            throw new IllegalArgumentException("a socket age of " + socketAge + ": use a second or more");
        }
    }

    /**
     * The defaults.
     *
     * @param stream the number of the application or site
     * @return the options
     */
    public static UdpOptions of(int stream) {
        return new UdpOptions(stream, Options.FLUSH_AGE, 1400, Duration.ofMinutes(5), null, null);
    }

    /**
     * The options, with another flush age.
     *
     * @param age the flush age
     * @return the options
     */
    public UdpOptions withFlushAge(Duration age) {
        return new UdpOptions(stream, age, datagramSize, socketAge, key, audience);
    }

    /**
     * The options, with datagrams of another size.
     *
     * @param size the largest, in bytes
     * @return the options
     */
    public UdpOptions withDatagramSize(int size) {
        return new UdpOptions(stream, flushAge, size, socketAge, key, audience);
    }

    /**
     * The options, with another socket age.
     *
     * @param age the socket age
     * @return the options
     */
    public UdpOptions withSocketAge(Duration age) {
        return new UdpOptions(stream, flushAge, datagramSize, age, key, audience);
    }

    /**
     * The options, with frames that are sealed.
     *
     * @param secret what a key file of the collector holds
     * @param reader whom they are for: the collector's audience
     * @return the options
     */
    public UdpOptions sealed(Key secret, String reader) {
        return new UdpOptions(stream, flushAge, datagramSize, socketAge, secret, reader);
    }
}
