package io.lectern.emit;

import static io.lectern.emit.Wire.AT_MAX;
import static io.lectern.emit.Wire.HEADER_SIZE;

/** Packs events into frames. They are encoded as they come. */
final class Packer {
    private final int sizeMax;
    private byte[] buffer;
    private int count;
    private int size = HEADER_SIZE;
    /** What the events' at counts from: the oldest, or a little before it. */
    private long base;
    private long oldest;
    private long newest;
    /** The ids of the last event. */
    private long content;
    private long user;

    /** A packer of frames of at most so many bytes. */
    Packer(int sizeMax) {
        this.sizeMax = sizeMax;
        buffer = new byte[sizeMax + Wire.EVENT_ROOM];
    }

    /** Events in the unfinished frame. */
    int count() {
        return count;
    }

    /** The most bytes that the unfinished frame takes. */
    int size() {
        return size;
    }

    /** Puts an event into the unfinished frame, or says that it belongs into the next one. */
    boolean add(int kind, long content, long user, long time, int dwell, int progress) {
        if (count == 0) {
            base = time;
            oldest = time;
            newest = time;
        }
        if (time < base) {
            return addOlder(kind, content, user, time, dwell, progress);
        }
        long at = time - base;
        if (at > AT_MAX) {
            return false;
        }
        return put(kind, content, user, time, at, dwell, progress);
    }

    private boolean put(int kind, long content, long user, long time, long at, int dwell, int progress) {
        int added = encode(size, kind, content, user, at, dwell, progress);
        if (size + added > sizeMax) {
            return false;
        }
        size += added;
        count++;
        this.content = content;
        this.user = user;
        oldest = Math.min(oldest, time);
        newest = Math.max(newest, time);
        return true;
    }

    private int encode(int offset, int kind, long content, long user, long at, int dwell, int progress) {
        boolean first = count == 0;
        boolean sameContent = !first && content == this.content;
        boolean sameUser = !first && user == this.user;
        return Wire.putEvent(buffer, offset, kind, content, sameContent, user, sameUser, at, dwell, progress);
    }

    /**
     * Adds an event that is older than what the others count from: they are encoded anew. To count from further back each
     * time keeps that seldom, and the last word is finish's.
     */
    private boolean addOlder(int kind, long content, long user, long time, int dwell, int progress) {
        for (long slack : new long[] {(newest - time) / 8, 0}) {
            long to = time - slack;
            if (newest - to > AT_MAX) {
                continue;
            }
            int shifted = shiftedSize(to);
            // Behind the frame, only to see how long it is.
            int added = encode(size, kind, content, user, slack, dwell, progress);
            if (shifted + added > sizeMax) {
                continue;
            }
            // Moved behind its place first, so that no byte is written over before it was read.
            int start = HEADER_SIZE + shifted - size;
            System.arraycopy(buffer, HEADER_SIZE, buffer, start, size - HEADER_SIZE);
            shift(start, to);
            return put(kind, content, user, time, slack, dwell, progress);
        }
        return false;
    }

    /** The size of the frame once its events count from another base. */
    private int shiftedSize(long to) {
        int result = size;
        for (int i = HEADER_SIZE; i < size; i += eventSize(i)) {
            result += Wire.numberSize(at(i) + base - to) - atSize(i);
        }
        return result;
    }

    /** Encodes the body, which begins at from, anew for another base. */
    private void shift(int from, long to) {
        int read = from;
        int write = HEADER_SIZE;
        for (int i = 0; i < count; i++) {
            int eventSize = eventSize(read);
            int front = 2 + (buffer[read] >> 4 & 15) + (buffer[read] & 15);
            int shape = buffer[read + 1];
            long at = at(read) + base - to;
            int atSize = Wire.numberSize(at);
            int tailAt = read + front + atSize(read);
            int tailSize = read + eventSize - tailAt;
            int tail = 0;
            for (int j = 0; j < tailSize; j++) {
                tail |= (buffer[tailAt + j] & 0xFF) << 8 * j;
            }
            System.arraycopy(buffer, read, buffer, write, front);
            buffer[write + 1] = (byte) (shape & ~(3 << 3) | atSize << 3);
            write += front;
            long rest = at | (tail & 0xFFFFFFFFL) << 8 * atSize;
            for (int j = 0; j < atSize + tailSize; j++) {
                buffer[write++] = (byte) (rest >>> 8 * j);
            }
            read += eventSize;
        }
        size = write;
        base = to;
    }

    private int atSize(int event) {
        return buffer[event + 1] >> 3 & 3;
    }

    private long at(int event) {
        int from = event + 2 + (buffer[event] >> 4 & 15) + (buffer[event] & 15);
        long at = 0;
        for (int j = 0; j < atSize(event); j++) {
            at |= (buffer[from + j] & 0xFFL) << 8 * j;
        }
        return at;
    }

    private int eventSize(int event) {
        int shape = buffer[event + 1];
        int ids = (buffer[event] >> 4 & 15) + (buffer[event] & 15);
        return 2 + ids + (shape >> 3 & 3) + (shape >> 5 & 3) + (shape >> 7 & 1);
    }

    /**
     * Finishes the frame, which must have events, and uses up its numbers. Its bytes are the first of {@link #bytes} until
     * the next event is added, and there is room behind them for a tag.
     *
     * @return the frame's size
     */
    int finish(Numbers numbers) {
        if (base != oldest) {
            shift(HEADER_SIZE, oldest);
        }
        int finished = size;
        numbers.header(buffer, finished, count, base);
        count = 0;
        size = HEADER_SIZE;
        return finished;
    }

    byte[] bytes() {
        return buffer;
    }
}
