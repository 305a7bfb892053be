package io.lectern.emit;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** The names that wait for their frame, and those that were said lately. */
final class Names {
    /** How long a name is not said again. Over UDP nobody answers, so that what was lost is said again sooner. */
    static final long SAID_FOR_UDP = 3_600_000;

    static final long SAID_FOR_TCP = 24 * SAID_FOR_UDP;

    /** How much is remembered at the most, in groups: what is forgotten is said again, which does no harm. */
    private static final int SAID_MAX = 1 << 16;

    private static final int GROUP = 4;

    private final int sizeMax;
    private final long saidFor;
    /** The frame that waits, whose header is still to be written. Made with the first name, as what was said is. */
    private byte[] frame;

    private int size = Wire.HEADER_SIZE;
    /** What was said last of a content: hashes of it with its attribute and of the text, and when, and 1: at 0 nothing was. */
    private long[] keys;

    private long[] texts;
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
    void check(int attribute, byte[] text) {
        int least = attribute == 0 ? 1 : 0;
        int most = Math.min(Wire.NAME_TEXT_MAX, sizeMax - Wire.HEADER_SIZE - Wire.NAME_HEAD);
        if (text.length < least || text.length > most) {
            throw new IllegalArgumentException("a text of " + text.length + " bytes: use " + least + " to " + most);
        }
        if (attribute > Attribute.AUTHOR.ordinal() + 1 && !isNumber(text)) {
            throw new IllegalArgumentException("no decimal number of 0 to 2^48 - 1: " + new String(text, StandardCharsets.UTF_8));
        }
    }

    /** Whether a text is a decimal number without leading zeros, or empty. */
    private static boolean isNumber(byte[] text) {
        long number = 0;
        for (byte c : text) {
            if (c < '0' || c > '9') {
                return false;
            }
            number = 10 * number + c - '0';
        }
        return text.length <= 15 && (text.length < 2 || text[0] != '0') && number < Wire.NUMBER_MAX;
    }

    /** Whether none waits. */
    boolean isEmpty() {
        return size == Wire.HEADER_SIZE;
    }

    /** The bytes of the frame that waits. */
    int size() {
        return size;
    }

    /** Takes what is good, unless it was said lately. False where the frame has no room for it: finish that, and add it again. */
    boolean add(long content, int attribute, byte[] text, long now) {
        if (frame == null) {
            frame = new byte[sizeMax];
            keys = new long[SAID_MAX];
            texts = new long[SAID_MAX];
            times = new long[SAID_MAX];
        }
        // A name's content is the hash of its text.
        long key = attribute == 0 ? content : key(content, attribute);
        long hash = attribute == 0 ? content : XxHash64.hash(text);
        int place = place(key);
        if (times[place] > 0 && keys[place] == key && texts[place] == hash && now + 1 - times[place] < saidFor) {
            return true;
        }
        if (size + Wire.NAME_HEAD + text.length > sizeMax) {
            return false;
        }
        keys[place] = key;
        texts[place] = hash;
        times[place] = now + 1;
        if (isEmpty()) {
            began = now;
        }
        size += Wire.putName(frame, size, attribute, content, text);
        return true;
    }

    /** Forgets those that wait. */
    void clear() {
        size = Wire.HEADER_SIZE;
    }

    private static long key(long content, int attribute) {
        byte[] b = new byte[9];
        b[0] = (byte) attribute;
        Wire.putLong(b, 1, content);
        return XxHash64.hash(b);
    }

    /** Where it is remembered what was said, or is to be: in place of what was said longest ago in its group. */
    private int place(long key) {
        int first = ((int) key & SAID_MAX / GROUP - 1) * GROUP;
        int oldest = first;
        for (int i = first; i < first + GROUP; i++) {
            if (times[i] > 0 && keys[i] == key) {
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
