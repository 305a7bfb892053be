package io.lectern.emit;

/**
 * One thing that one reader did with one piece of content.
 *
 * @param kind what the reader did
 * @param content the id of the content: its number, or {@link Emitter#id} of its text
 * @param user the id of the reader, likewise
 * @param time when, in Unix milliseconds; 0 is now, as the event is added
 * @param dwell milliseconds read since this reader's previous event on this content; what is above 2^24 - 1 (4 h 39 min)
 *     counts as that; of an impression or a click the variant of the headline, 0 to 255 (0 is 1)
 * @param progress how far the reader got, 0 to 100 percent, or {@link #UNKNOWN}
 */
public record Event(Kind kind, long content, long user, long time, int dwell, int progress) {
    /** The progress of an event of which it is not known. */
    public static final int UNKNOWN = -1;

    /** As seconds this is in the year 5138, as milliseconds in March 1973. */
    private static final long SECONDS_MAX = 100_000_000_000L;

    /**
     * Checks that a collector would take the event.
     *
     * @throws IllegalArgumentException if it would not
     */
    public Event {
        check(time, dwell, progress);
        if (kind == null) {
            throw new IllegalArgumentException("an event without a kind");
        }
        if (kind.compareTo(Kind.SHARE) > 0) {
            if (dwell > 255 || progress != UNKNOWN) {
                throw new IllegalArgumentException("a headline has a variant of 1 to 255, and no progress; its variant is " + dwell);
            }
            dwell = dwell == 1 ? 0 : dwell;
        }
    }

    /**
     * An event of now, without a dwell or progress.
     *
     * @param kind what the reader did
     * @param content the id of the content
     * @param user the id of the reader
     */
    public Event(Kind kind, long content, long user) {
        this(kind, content, user, 0, 0, UNKNOWN);
    }

    static void check(long time, int dwell, int progress) {
        if (progress < UNKNOWN || progress > 100) {
            throw new IllegalArgumentException("progress " + progress + ": use 0 to 100, or UNKNOWN");
        }
        if (dwell < 0) {
            throw new IllegalArgumentException("dwell " + dwell + ": use 0 or more");
        }
        if (time >>> 48 != 0) {
            throw new IllegalArgumentException("time " + time + ": use Unix milliseconds, 0 to 2^48 - 1");
        }
        if (time < SECONDS_MAX && time != 0) {
            throw new IllegalArgumentException(
                    "time " + time + " is before March 1973 in Unix milliseconds, so these may be seconds; use milliseconds, or 0 for now");
        }
    }
}
