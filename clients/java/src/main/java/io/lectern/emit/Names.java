package io.lectern.emit;

import java.util.Arrays;

/** The names that wait for their frame, and those that were said lately. */
final class Names {
    /** How long a name is not said again. Over UDP nobody answers, so that what was lost is said again sooner. */
    static final long SAID_FOR_UDP = 3_600_000;

    static final long SAID_FOR_TCP = 24 * SAID_FOR_UDP;

    /** How many names are remembered at the most, in groups: what is forgotten is said again, which does no harm. */
    private static final int SAID_MAX = 1 << 16;

    private static final int GROUP = 4;

    private final int sizeMax;
    private final long saidFor;
    /** The frame that waits, whose header is still to be written. Made with the first name, as what was said is. */
    private byte[] frame;

    private int size = Wire.HEADER_SIZE;
    /** The ids of the names that were said, and when, and 1: at 0 there is none. */
    private long[] ids;

    private long[] times;
    /** When the first of those that wait came. */
    long began;

    /** For frames of at most so many bytes. */
    Names(int sizeMax, long saidFor) {
        this.sizeMax = sizeMax;
        this.saidFor = saidFor;
    }

    /**
     * Checks that a frame holds the text, and a collector takes it.
     *
     * @throws IllegalArgumentException if not
     */
    void check(byte[] text) {
        int most = Math.min(Wire.NAME_TEXT_MAX, sizeMax - Wire.HEADER_SIZE - Wire.NAME_HEAD);
        if (text.length < 1 || text.length > most) {
            throw new IllegalArgumentException("a name of " + text.length + " bytes: use 1 to " + most);
        }
    }

    /** Whether none waits. */
    boolean isEmpty() {
        return size == Wire.HEADER_SIZE;
    }

    /** The bytes of the frame that waits. */
    int size() {
        return size;
    }

    /** Takes a good name, unless it was said lately. False where the frame has no room for it: finish that, and add it again. */
    boolean add(byte[] text, long now) {
        if (frame == null) {
            frame = new byte[sizeMax];
            ids = new long[SAID_MAX];
            times = new long[SAID_MAX];
        }
        long id = XxHash64.hash(text);
        int place = place(id);
        if (times[place] > 0 && ids[place] == id && now + 1 - times[place] < saidFor) {
            return true;
        }
        if (size + Wire.NAME_HEAD + text.length > sizeMax) {
            return false;
        }
        ids[place] = id;
        times[place] = now + 1;
        if (isEmpty()) {
            began = now;
        }
        size += Wire.putName(frame, size, 0, id, text);
        return true;
    }

    /** Forgets those that wait. */
    void clear() {
        size = Wire.HEADER_SIZE;
    }

    /** Where it is remembered that a name was said, or is to be: in place of the one of its group that was said longest ago. */
    private int place(long id) {
        int first = ((int) id & SAID_MAX / GROUP - 1) * GROUP;
        int oldest = first;
        for (int i = first; i < first + GROUP; i++) {
            if (times[i] > 0 && ids[i] == id) {
                return i;
            }
            if (times[i] < times[oldest]) {
                oldest = i;
            }
        }
        return oldest;
    }

    /** The frame that waits, which uses up a sequence and no position. There is room behind it for a tag. */
    byte[] finish(Numbers numbers, long wall) {
        byte[] finished = Arrays.copyOf(frame, size + Wire.TAG_SIZE);
        numbers.names(finished, size, wall);
        size = Wire.HEADER_SIZE;
        return finished;
    }
}
