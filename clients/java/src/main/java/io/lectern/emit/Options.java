package io.lectern.emit;

import java.time.Duration;

/** What the options of UDP and TCP have in common. */
final class Options {
    static final Duration FLUSH_AGE = Duration.ofMillis(250);

    private Options() {}

    static void check(int stream, Duration flushAge, Key key, String audience) {
        if (stream < 0 || stream >= Wire.STREAM_RESERVED) {
            throw new IllegalArgumentException("stream " + stream + ": use 0 to 65534");
        }
        if (flushAge.isNegative()) {
            throw new IllegalArgumentException("a flush age of " + flushAge + ": use 0 or more");
        }
        if ((key == null) != (audience == null)) {
            throw new IllegalArgumentException("a key and an audience come together or not at all");
        }
        if (key != null) {
            new Seal(key, stream, audience); // checks the audience
        }
    }

    static Seal seal(Key key, int stream, String audience) {
        return key == null ? null : new Seal(key, stream, audience);
    }
}
