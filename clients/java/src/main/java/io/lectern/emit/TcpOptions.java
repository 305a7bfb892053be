package io.lectern.emit;

import java.time.Duration;

/**
 * Options of an emitter over TCP; see {@link #of} for the defaults.
 *
 * @param stream the number of the application or site that the events belong to, 0 to 65534
 * @param flushAge how long an event waits at most for others to share its frame: 250 ms
 * @param frameSize the largest frame, in bytes, without its tag: 32 KiB
 * @param bufferSize how many bytes of frames are kept at most until they are acknowledged: 16 MiB, four frames at least. What
 *     does not fit is dropped, numbered and counted
 * @param key what seals the session, or null
 * @param audience whom sealed frames are for, as the collector has it; null without a key
 */
public record TcpOptions(int stream, Duration flushAge, int frameSize, int bufferSize, Key key, String audience) {
    /**
     * Checks the options.
     *
     * @throws IllegalArgumentException that says what is wrong with them
     */
    public TcpOptions {
        Options.check(stream, flushAge, key, audience);
        int most = Wire.FRAME_SIZE_MAX - (key == null ? 0 : Wire.TAG_SIZE);
        if (frameSize < Wire.SIZE_MIN || frameSize > most) {
            throw new IllegalArgumentException("frames of " + frameSize + " bytes: use " + Wire.SIZE_MIN + " to " + most);
        }
        if (bufferSize < 4 * frameSize) {
            throw new IllegalArgumentException("a buffer of " + bufferSize + " bytes: use " + 4 * frameSize + " or more");
        }
    }

    /**
     * The defaults.
     *
     * @param stream the number of the application or site
     * @return the options
     */
    public static TcpOptions of(int stream) {
        return new TcpOptions(stream, Options.FLUSH_AGE, 32 << 10, 16 << 20, null, null);
    }

    /**
     * The options, with another flush age.
     *
     * @param age the flush age
     * @return the options
     */
    public TcpOptions withFlushAge(Duration age) {
        return new TcpOptions(stream, age, frameSize, bufferSize, key, audience);
    }

    /**
     * The options, with frames of another size.
     *
     * @param size the largest, in bytes
     * @return the options
     */
    public TcpOptions withFrameSize(int size) {
        return new TcpOptions(stream, flushAge, size, bufferSize, key, audience);
    }

    /**
     * The options, with another buffer.
     *
     * @param size of all frames that are kept, in bytes
     * @return the options
     */
    public TcpOptions withBufferSize(int size) {
        return new TcpOptions(stream, flushAge, frameSize, size, key, audience);
    }

    /**
     * The options, with sessions that are sealed.
     *
     * @param secret what a key file of the collector holds
     * @param reader whom they are for: the collector's audience
     * @return the options
     */
    public TcpOptions sealed(Key secret, String reader) {
        return new TcpOptions(stream, flushAge, frameSize, bufferSize, secret, reader);
    }
}
