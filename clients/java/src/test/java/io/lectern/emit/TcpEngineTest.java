package io.lectern.emit;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Sessions with a collector that loses connections and acks, ends, and refuses frames: each event is counted once. */
class TcpEngineTest {
    private static final Key KEY = Key.parse("2:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");

    private final FakeClock clock = new FakeClock();
    private Random random = new Random(1);
    private boolean faults;
    private long credit = 1 << 20;
    private Conn conn;
    private long connections;

    /** What the collector has: next sequence, and users, now and made durable. */
    private final Map<Long, Long> next = new HashMap<>();

    private final Map<Long, Long> durable = new HashMap<>();
    private final List<Long> taken = new ArrayList<>();
    private int sealedTaken;
    private int sealedNames;
    private final Map<String, byte[]> frames = new HashMap<>();
    private long refused;
    /** Names in frames that had not come before. */
    private final List<String> names = new ArrayList<>();
    /** The collector does not know them. */
    private boolean nameless;


    /** One connection, seen from the collector. */
    private class Conn implements ByteChannel {
        final ByteArrayOutputStream input = new ByteArrayOutputStream();
        final ArrayDeque<Byte> output = new ArrayDeque<>();
        long source;
        boolean hello;
        boolean ended;
        boolean reset;

        @Override
        public int read(ByteBuffer b) throws IOException {
            if (reset) {
                throw new IOException("reset");
            }
            if (output.isEmpty()) {
                return ended ? -1 : 0;
            }
            int n = 0;
            while (b.hasRemaining() && !output.isEmpty() && !(faults && n > 0 && random.nextInt(3) == 0)) {
                b.put(output.poll());
                n++;
            }
            return n;
        }

        @Override
        public int write(ByteBuffer b) throws IOException {
            if (reset) {
                throw new IOException("reset");
            }
            int n = faults && random.nextInt(3) == 0 ? random.nextInt(b.remaining() + 1) : b.remaining();
            byte[] part = new byte[n];
            b.get(part);
            if (!ended) {
                input.writeBytes(part);
                serve(this);
            }
            return n;
        }

        @Override
        public boolean isOpen() {
            return !ended;
        }

        @Override
        public void close() {
            ended = true;
        }
    }

    private final class FakeDialer implements Dialer<ByteChannel> {
        @Override
        public void start() {}

        @Override
        public ByteChannel poll() throws IOException {
            if (faults && random.nextInt(4) == 0) {
                throw new IOException("refused");
            }
            if (conn != null) {
                conn.ended = true;
            }
            conn = new Conn();
            connections++;
            return conn;
        }
    }

    private void serve(Conn c) {
        while (!c.ended) {
            byte[] all = c.input.toByteArray();
            int size = all.length < Wire.HEADER_SIZE ? Integer.MAX_VALUE : Wire.getShort(all, 4);
            if (all.length < size) {
                return;
            }
            c.input.reset();
            c.input.write(all, size, all.length - size);
            take(c, Arrays.copyOf(all, size));
        }
    }

    private void take(Conn c, byte[] bytes) {
        Decoder.Frame f = Decoder.all(bytes).get(0);
        if (!c.hello) {
            assertEquals(Wire.TYPE_HELLO, f.type());
            c.hello = true;
            c.source = f.source();
            ack(false);
            return;
        }
        assertEquals(c.source, f.source());
        byte[] before = frames.putIfAbsent(f.source() + "/" + f.sequence(), bytes);
        if (before != null) {
            assertArrayEquals(before, bytes, "a numbered frame changed");
        }
        long want = next.getOrDefault(f.source(), 0L);
        if (f.sequence() < want) {
            return; // a duplicate
        }
        next.put(f.source(), f.sequence() + 1);
        if (faults && !f.events().isEmpty() && random.nextInt(40) == 0) {
            refused += f.events().size();
            refuse(f, "kind");
            return;
        }
        if (f.type() == Wire.TYPE_NAMES && nameless) {
            next.put(f.source(), want);
            refuse(new Decoder.Frame(0, 0, 0, 0, 0, 0, 0, 0, List.of(), List.of()), "type"); // it names no frame
            return;
        }
        names.addAll(f.names());
        f.events().forEach(e -> taken.add(e.user()));
    }

    private void refuse(Decoder.Frame f, String word) {
        byte[] b = new byte[Wire.HEADER_SIZE + 1 + word.length()];
        Wire.putHeader(b, Wire.TYPE_REFUSAL, 0, b.length, 0, f.stream(), 0, f.source(), f.sequence(), 0);
        b[Wire.HEADER_SIZE] = (byte) word.length();
        for (int i = 0; i < word.length(); i++) {
            b[Wire.HEADER_SIZE + 1 + i] = (byte) word.charAt(i);
        }
        say(b);
        conn.ended = true;
    }

    private void ack(boolean last) {
        byte[] b = new byte[Wire.HEADER_SIZE + 16 + 8];
        int flags = last ? Wire.FLAG_FINAL : 0;
        Wire.putHeader(b, Wire.TYPE_ACK, flags, Wire.HEADER_SIZE + 16, 0, 7, 0, conn.source, 0, 1000);
        Wire.putLong(b, 40, durable.getOrDefault(conn.source, 0L));
        Wire.putLong(b, 48, last ? 0 : credit);
        say(Arrays.copyOf(b, 56));
    }

    private void say(byte[] b) {
        for (byte x : b) {
            conn.output.add(x);
        }
    }

    private void seal() {
        durable.putAll(next);
        sealedTaken = taken.size();
        sealedNames = names.size();
        if (conn != null && conn.hello && !conn.ended && !(faults && random.nextInt(3) == 0)) {
            ack(false);
        }
    }

    private void trouble() {
        switch (random.nextInt(10)) {
            case 0 -> {
                // Killed: what was not sealed is gone.
                next.clear();
                next.putAll(durable);
                taken.subList(sealedTaken, taken.size()).clear();
                names.subList(sealedNames, names.size()).clear();
                conn.reset = true;
                conn.ended = true;
            }
            case 1 -> {
                seal();
                if (conn.hello && !conn.ended) {
                    ack(true);
                }
                conn.ended = true;
            }
            case 2 -> credit = new long[] {0, 500, 3000, 1 << 20}[random.nextInt(4)];
            default -> seal();
        }
    }

    private TcpEngine engine(TcpOptions o) {
        return new TcpEngine(o, new FakeDialer(), clock);
    }

    private void step(TcpEngine e) {
        e.step();
        Stats s = e.stats();
        assertEquals(s.added(), s.acked() + s.buffered() + s.queue() + s.closed() + s.refused() + s.unsure(), s.toString());
    }

    private void quiet(TcpEngine e) {
        step(e);
        while (!e.closed() && e.due() <= clock.time) {
            step(e);
        }
    }

    private void add(TcpEngine e, long user) {
        assertTrue(e.add(0, 42, user, clock.time, 0, Event.UNKNOWN));
    }

    @Test
    void everyEventIsCountedOnceOrAccountedFor() {
        long renewals = 0;
        long full = 0;
        for (int seed = 0; seed < 60; seed++) {
            TcpEngineTest world = new TcpEngineTest();
            world.random = new Random(seed);
            world.faults = true;
            Stats s = world.run("seed " + seed);
            renewals += s.renewals();
            full += s.queue();
        }
        assertTrue(renewals > 100 && full > 100, "the simulation had what it is for");
    }

    private Stats run(String said) {
        int frame = new int[] {65, 200, 1000}[random.nextInt(3)];
        int buffer = frame * new int[] {8, 20, 1000}[random.nextInt(3)];
        TcpEngine e = engine(TcpOptions.of(7).withFrameSize(frame).withBufferSize(buffer));
        long added = 0;
        for (int i = 0; i < 1500; i++) {
            for (int n = random.nextInt(3) == 0 ? random.nextInt(20) : 0; n > 0; n--) {
                add(e, ++added);
            }
            if (random.nextInt(4) == 0) {
                name(e, "/" + random.nextInt(300));
            }
            if (random.nextInt(4) == 0 && conn != null) {
                trouble();
            }
            clock.time += new int[] {1, 10, 100, 1000}[random.nextInt(4)];
            step(e);
        }
        faults = false;
        credit = 1 << 20;
        e.close(600_000);
        for (int i = 0; i < 20_000 && !e.closed(); i++) {
            clock.time += 50;
            step(e);
            seal();
        }
        Stats s = e.stats();
        assertEquals(new HashSet<>(names).size(), names.size(), said + ": a name came twice within the hours of a run");
        assertTrue(names.size() > 10, said + ": names came");
        assertTrue(e.closed() && s.closed() == 0, said + ": " + s + " " + e.trouble());
        Set<Long> once = new HashSet<>(taken);
        assertEquals(taken.size(), once.size(), said + ": an event was counted twice");
        assertEquals(added, s.added(), said);
        assertTrue(once.size() <= s.acked() && once.size() + refused >= s.acked(), said + ": " + once.size() + " of " + s);
        return s;
    }

    private void name(TcpEngine e, String text) {
        assertTrue(e.name(text.getBytes(StandardCharsets.UTF_8)));
    }

    private void pass(TcpEngine e, long millis) {
        for (long i = 0; i < millis / 50; i++) {
            clock.time += 50;
            quiet(e);
            seal();
        }
    }

    @Test
    void saysANameOnceADay() {
        TcpEngine e = engine(TcpOptions.of(7));
        for (int i = 0; i < 3; i++) {
            add(e, i);
            name(e, "/a");
        }
        pass(e, 1_000);
        assertEquals(List.of("/a"), names);
        clock.time += 24 * 3_600_000 - 2_000;
        name(e, "/a");
        pass(e, 500);
        assertEquals(List.of("/a"), names, "within the day");
        clock.time += 1_000;
        name(e, "/a");
        name(e, "/b");
        e.close(10_000);
        pass(e, 10_000);
        assertTrue(e.closed());
        assertEquals(List.of("/a", "/a", "/b"), names);
        assertFalse(e.name(new byte[] {'c'}));
    }

    @Test
    void saysNamesThatFoundNoRoomBeforeTheEnd() {
        credit = 0;
        TcpEngine e = engine(TcpOptions.of(7).withFrameSize(65).withBufferSize(520));
        for (long user = 0; e.stats().queue() == 0; user++) {
            add(e, user);
            e.flush();
        }
        name(e, "/a");
        e.close(60_000);
        credit = 1 << 20;
        pass(e, 10_000);
        assertTrue(e.closed());
        assertEquals(List.of("/a"), names);
    }

    @Test
    void sendsNoMoreNamesToACollectorThatKnowsNone() {
        nameless = true;
        TcpEngine e = engine(TcpOptions.of(7));
        add(e, 1);
        name(e, "/a");
        pass(e, 250);
        name(e, "/c"); // waits while the refusal comes
        pass(e, 30_000);
        assertEquals(List.of(1L, 2L), List.of(e.stats().acked(), connections), e.trouble());
        name(e, "/b");
        add(e, 2);
        e.close(10_000);
        pass(e, 10_000);
        assertTrue(e.closed());
        assertEquals(List.of(2L, 0L, 2L), List.of(e.stats().acked(), e.stats().closed(), connections));
        assertEquals(List.of(), names);
    }

    @Test
    void goesOnBehindWhatIsDurable() {
        TcpEngine e = engine(TcpOptions.of(7));
        quiet(e);
        for (int i = 0; i < 4; i++) {
            add(e, i);
            e.flush();
        }
        quiet(e);
        assertEquals(List.of(0L, 1L, 2L, 3L), taken);
        durable.put(e.source(), 2L);
        conn.reset = true;
        for (int i = 0; i < 30; i++) {
            clock.time += 10;
            quiet(e);
        }
        assertEquals(2, connections);
        assertEquals(2, e.stats().acked());
        assertEquals(4, frames.size(), "the same frames again");
        seal();
        clock.time += 10;
        quiet(e);
        assertEquals(4, e.stats().acked());
    }

    @Test
    void aCollectorThatProvesNothingIsNotBelieved() {
        Conn stranger = new Conn() {
            @Override
            public int write(ByteBuffer b) {
                int n = b.remaining();
                hello = true;
                source = Wire.getLong(b.array(), 16);
                b.position(b.limit());
                return n;
            }
        };
        TcpEngine sealed = new TcpEngine(
                TcpOptions.of(7).sealed(KEY, "here"),
                new Dialer<ByteChannel>() {
                    @Override
                    public void start() {}

                    @Override
                    public ByteChannel poll() {
                        return stranger;
                    }
                },
                clock);
        add(sealed, 1);
        step(sealed);
        conn = stranger;
        ack(false);
        long source = sealed.source();
        clock.time += 10;
        step(sealed);
        assertTrue(sealed.trouble().contains("does not answer like a collector"), sealed.trouble());
        assertEquals(source, sealed.source(), "no consequence is drawn");
        assertEquals(1, sealed.stats().buffered());
    }
}
