package io.lectern.emit;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** What goes into a packer comes out of a decoder that shares nothing with it. */
class PackerTest {
    private static final long START = 1_700_000_000_000L;

    private static long pick(Random r, long... list) {
        return list[r.nextInt(list.length)];
    }

    private static Event event(Random r, long now) {
        long small = r.nextLong() >>> r.nextInt(64);
        long content = pick(r, 0, 1, 255, 256, 0xFFFFFFFFL, 1L << 40, -1, r.nextLong(), small);
        long user = pick(r, 0, 1, 255, 256, 0xFFFFFFFFL, 1L << 40, -1, r.nextLong(), small);
        long jump = pick(r, 0, 1, 200, 300, 70_000, Wire.AT_MAX, Wire.AT_MAX + 1, 1L << 40);
        long time = now + (long) (r.nextDouble() * (2 * jump + 1)) - pick(r, 0, 0, 1, 200, 300);
        int progress = r.nextBoolean() ? r.nextInt(101) : Event.UNKNOWN;
        Kind kind = Kind.values()[r.nextInt(5)];
        return new Event(kind, content, user, Math.min(time, Wire.TIME_MAX), r.nextInt(1 << 24) >> r.nextInt(25), progress);
    }

    private static boolean add(Packer p, Event e) {
        return p.add(e.kind().ordinal(), e.content(), e.user(), e.time(), e.dwell(), e.progress());
    }

    private static void finish(Packer p, Numbers n, ByteArrayOutputStream to) {
        if (p.count() > 0) {
            int size = p.finish(n);
            to.write(p.bytes(), 0, size);
        }
    }

    @Test
    void whatGoesInComesOut() {
        for (int seed = 0; seed < 300; seed++) {
            sequence(seed);
        }
    }

    private static void sequence(int seed) {
        Random r = new Random(seed);
        String said = "seed " + seed;
        int size = (int) pick(r, Wire.SIZE_MIN, 100, 1400, 32 << 10, Wire.FRAME_SIZE_MAX);
        Packer p = new Packer(size);
        Numbers n = new Numbers(seed, seed);
        ByteArrayOutputStream sent = new ByteArrayOutputStream();
        List<Event> want = new ArrayList<>();
        int beats = 0;
        long now = START;
        boolean falling = r.nextInt(4) == 0;
        for (int i = 0; i < 3000; i++) {
            now += falling ? -r.nextInt(50) : r.nextInt(50);
            Event e = event(r, now);
            if (!add(p, e)) {
                finish(p, n, sent);
                assertTrue(add(p, e), said);
            }
            want.add(e);
            int dice = r.nextInt(200);
            if (dice == 0) {
                finish(p, n, sent);
            } else if (dice == 1) {
                sent.writeBytes(n.beat(now));
                beats++;
            }
        }
        finish(p, n, sent);
        byte[] bytes = sent.toByteArray();
        List<Event> got = new ArrayList<>();
        long position = 0;
        int at = 0;
        int i = 0;
        for (Decoder.Frame f : Decoder.all(bytes)) {
            assertEquals(List.of((long) seed, (long) i++, position), List.of(f.source(), f.sequence(), f.position()), said);
            assertTrue(f.size() <= size, said);
            assertArrayEquals(Decoder.minimal(f), Arrays.copyOfRange(bytes, at, at + f.size()), said);
            if (f.events().isEmpty()) {
                beats--;
            } else {
                assertEquals(f.time(), f.events().stream().mapToLong(Event::time).min().getAsLong(), said);
            }
            position += f.events().size();
            at += f.size();
            got.addAll(f.events());
        }
        assertEquals(want, got, said);
        assertEquals(0, beats, said);
    }

    /** An event that comes out of order costs no frame of its own. */
    @Test
    void fallingTimesShareFrames() {
        Packer p = new Packer(32 << 10);
        Numbers n = new Numbers(0, 1);
        int full = 0;
        for (int i = 0; i < 20_000; i++) {
            Event e = new Event(Kind.OPEN, 1, i % 100, START - i, 0, Event.UNKNOWN);
            if (!add(p, e)) {
                full++;
                p.finish(n);
                assertTrue(add(p, e));
            }
        }
        assertTrue(full <= 5, "frames: " + full);
    }

    @Test
    void eventsThatACollectorRefusesCannotBeMade() {
        long[][] wrong = {{START, 0, 101}, {START, 0, -2}, {START, -1, 0}, {1L << 48, 0, 0}, {-1, 0, 0}, {1_700_000_000, 0, 0}};
        for (long[] w : wrong) {
            assertThrows(
                    IllegalArgumentException.class,
                    () -> new Event(Kind.OPEN, 1, 2, w[0], (int) w[1], (int) w[2]),
                    Arrays.toString(w));
        }
        Packer p = new Packer(1400);
        assertTrue(add(p, new Event(Kind.READ, 1, 2, START, Integer.MAX_VALUE, 100)));
        int size = p.finish(new Numbers(0, 1));
        Event held = Decoder.all(Arrays.copyOf(p.bytes(), size)).get(0).events().get(0);
        assertEquals(Wire.DWELL_MAX, held.dwell());
    }
}
