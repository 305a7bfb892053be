package io.lectern.emit;

import java.util.Arrays;

/** The frames that are kept until they are acknowledged, and the one that is being packed. */
final class Queue {
    /** What a frame costs beside its bytes, about. */
    private static final int SLOT_COST = 96;

    final Packer packer;
    final Numbers numbers;
    private final int bytesMax;
    private int bytes;
    private Slot[] ring = new Slot[64];
    private int head;
    private int size;
    /** Events that were dropped behind the newest frame. */
    private long skipped;

    /** A numbered frame, without a tag. */
    static final class Slot {
        final byte[] frame;
        final int events;
        /** Events that were dropped before it: they use up a sequence in front of it. */
        private final long skip;
        long sequence;
        /** The collector refused it. */
        boolean refused;

        boolean isNames() {
            return (frame[2] & 15) == Wire.TYPE_NAMES;
        }

        private Slot(byte[] frame, int events, long skip) {
            this.frame = frame;
            this.events = events;
            this.skip = skip;
        }

        /** Takes the next numbers. A source cannot begin with dropped events: nobody would know it. */
        private void number(Numbers n) {
            if (skip > 0 && n.sequence > 0) {
                n.use(skip);
            }
            sequence = n.sequence;
            Wire.putLong(frame, 16, n.source);
            Wire.putLong(frame, 24, n.sequence);
            Wire.putLong(frame, 32, n.position);
            n.use(events);
        }
    }

    Queue(Packer packer, Numbers numbers, int bytesMax) {
        this.packer = packer;
        this.numbers = numbers;
        this.bytesMax = bytesMax;
    }

    int size() {
        return size;
    }

    /** The frame at a place, the oldest at 0, or null behind the newest. */
    Slot get(int i) {
        return i < size ? ring[head + i & ring.length - 1] : null;
    }

    /** Whether there is anything that no frame holds yet. */
    boolean unfinished() {
        return packer.count() > 0 || skipped > 0;
    }

    /** Takes note of an event that is dropped. */
    void skip() {
        skipped++;
    }

    /** Puts the unfinished frame behind the others, false where there is no room. Without events it becomes a beat. */
    boolean finish(long wall) {
        if (bytes + packer.size() + SLOT_COST > bytesMax) {
            return false;
        }
        int events = packer.count();
        Numbers none = new Numbers(numbers.stream, numbers.source); // its own come below
        byte[] frame;
        if (events > 0) {
            int length = packer.finish(none);
            frame = Arrays.copyOf(packer.bytes(), length);
        } else {
            frame = none.beat(wall);
        }
        put(frame, events);
        return true;
    }

    /** Puts the names that wait behind the others, in a frame, false where there is no room. No event may wait for one. */
    boolean finish(Names names, long wall) {
        int length = names.size();
        if (bytes + length + SLOT_COST > bytesMax) {
            return false;
        }
        put(Arrays.copyOf(names.finish(new Numbers(numbers.stream, numbers.source), wall), length), 0);
        return true;
    }

    private void put(byte[] frame, int events) {
        Slot slot = new Slot(frame, events, skipped);
        slot.number(numbers);
        skipped = 0;
        bytes += frame.length + SLOT_COST;
        push(slot);
    }

    private void push(Slot slot) {
        if (size == ring.length) {
            Slot[] larger = new Slot[2 * size];
            for (int i = 0; i < size; i++) {
                larger[i] = get(i);
            }
            ring = larger;
            head = 0;
        }
        ring[head + size++ & ring.length - 1] = slot;
    }

    /** Removes the oldest frame. */
    Slot pop() {
        Slot slot = ring[head];
        ring[head] = null;
        head = head + 1 & ring.length - 1;
        size--;
        bytes -= slot.frame.length + SLOT_COST;
        return slot;
    }

    /** Begins a new source: the frames that are kept become its first. */
    void renew(long source) {
        numbers.renew(source);
        for (int i = 0; i < size; i++) {
            get(i).number(numbers);
        }
    }
}
