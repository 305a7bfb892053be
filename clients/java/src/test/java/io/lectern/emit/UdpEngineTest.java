package io.lectern.emit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.PortUnreachableException;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** UDP by a clock and a network of the tests' own. */
class UdpEngineTest {
    private final FakeClock clock = new FakeClock();
    private final List<ByteArrayOutputStream> sockets = new ArrayList<>();
    private int jam;
    private boolean refused;
    private boolean down;
    private final UdpEngine engine = new UdpEngine(UdpOptions.of(7), socket(), new FakeDialer(), clock);

    private final class FakeDialer implements Dialer<WritableByteChannel> {
        @Override
        public void start() {}

        @Override
        public WritableByteChannel poll() throws IOException {
            if (down) {
                throw new UnknownHostException("it cannot be resolved");
            }
            return socket();
        }
    }

    private WritableByteChannel socket() {
        ByteArrayOutputStream to = new ByteArrayOutputStream();
        sockets.add(to);
        return new WritableByteChannel() {
            @Override
            public int write(ByteBuffer b) throws IOException {
                if (refused) {
                    refused = false;
                    throw new PortUnreachableException();
                }
                if (jam > 0) {
                    jam--;
                    return 0;
                }
                int n = b.remaining();
                while (b.hasRemaining()) {
                    to.write(b.get());
                }
                return n;
            }

            @Override
            public boolean isOpen() {
                return true;
            }

            @Override
            public void close() {}
        };
    }

    private List<Decoder.Frame> frames(int socket) {
        return Decoder.all(sockets.get(socket).toByteArray());
    }

    private List<Long> times(int socket) {
        return frames(socket).stream().map(f -> f.time() - FakeClock.START).toList();
    }

    private void pass(long millis) {
        for (long i = 0; i < millis / 10; i++) {
            clock.time += 10;
            engine.step();
            Stats s = engine.stats();
            assertEquals(s.added(), s.sent() + s.buffered() + s.socket() + s.closed(), s.toString());
        }
    }

    private void add(int n) {
        for (int user = 0; user < n; user++) {
            assertTrue(engine.add(0, 42, user, clock.time, 0, Event.UNKNOWN));
        }
    }

    private static void follow(List<Decoder.Frame> frames) {
        for (int i = 1; i < frames.size(); i++) {
            Decoder.Frame before = frames.get(i - 1);
            Decoder.Frame f = frames.get(i);
            assertEquals(before.source(), f.source());
            assertEquals(before.sequence() + 1, f.sequence());
            assertEquals(before.position() + before.events().size(), f.position());
        }
    }

    @Test
    void beatsWhenItOpensAndWhileItIsSilent() {
        pass(60_000);
        assertEquals(List.of(0L, 0L, 0L, 1_000L, 3_000L, 7_000L, 15_000L, 31_000L, 47_000L), times(0));
        follow(frames(0));
        add(1); // ends the silence
        pass(1_500);
        assertEquals(List.of(60_000L, 61_250L), times(0).subList(9, 11));
    }

    @Test
    void sendsWhatIsFullOrOldOrFlushed() {
        add(1);
        pass(240);
        assertEquals(3, frames(0).size());
        pass(10);
        assertEquals(4, frames(0).size());
        add(1);
        engine.flush();
        assertEquals(5, frames(0).size());
        add(1000);
        assertEquals(7, frames(0).size());
        int size = frames(0).get(5).size();
        assertTrue(size > 1370 && size <= 1400, "a datagram of " + size);
        follow(frames(0));
    }

    @Test
    void whatIsNotTakenShowsAsLost() {
        jam = 1;
        add(5);
        engine.flush();
        add(2);
        engine.flush();
        Decoder.Frame f = frames(0).get(3);
        assertEquals(List.of(4L, 5L, 2), List.of(f.sequence(), f.position(), f.events().size()));
        assertEquals(5, engine.stats().socket());
        assertEquals(2, engine.stats().sent());
    }

    @Test
    void anOldSocketIsRenewedWithItsSource() {
        pass(400_000);
        assertEquals(1, sockets.size(), "one without events is kept");
        add(3);
        pass(300);
        assertEquals(2, sockets.size());
        List<Decoder.Frame> old = frames(0);
        List<Decoder.Frame> next = frames(1);
        follow(old);
        follow(next);
        assertNotEquals(old.get(0).source(), next.get(0).source());
        assertEquals(engine.source(), next.get(0).source());
        List<Decoder.Frame> last = old.subList(old.size() - 3, old.size());
        assertTrue(last.stream().allMatch(f -> f.events().isEmpty()));
        assertEquals(20, last.get(1).time() - last.get(0).time());
        assertEquals(20, last.get(2).time() - last.get(1).time());
        assertTrue(next.subList(0, 3).stream().allMatch(f -> f.events().isEmpty() && f.position() == 0));
        assertEquals(3, old.stream().mapToInt(f -> f.events().size()).sum()
                + next.stream().mapToInt(f -> f.events().size()).sum());
    }

    @Test
    void nobodyListensAndTheNameCannotBeResolved() {
        pass(2_000);
        add(2);
        engine.flush();
        refused = true;
        down = true;
        add(1);
        engine.flush();
        assertEquals(2, engine.stats().unreachable());
        pass(1_300);
        assertEquals(1, sockets.size(), "the old one stays");
        refused = true;
        down = false;
        add(1);
        engine.flush();
        pass(100);
        assertEquals(2, sockets.size());
        assertEquals(4, frames(0).stream().mapToInt(f -> f.events().size()).sum(), "nothing is sent again or lost");
    }

    @Test
    void closesWithTheLastBeats() {
        add(2);
        engine.close(5_000);
        assertFalse(engine.add(0, 1, 1, clock.time, 0, Event.UNKNOWN));
        engine.step();
        assertFalse(engine.closed());
        pass(40);
        assertTrue(engine.closed());
        assertEquals(List.of(0L, 0L, 0L, 0L, 0L, 20L, 40L), times(0));
        pass(60_000);
        assertEquals(7, frames(0).size(), "nothing comes behind the end");
    }

    private boolean name(String text) {
        return engine.name(text.getBytes(StandardCharsets.UTF_8));
    }

    private List<String> names() {
        follow(frames(0));
        return frames(0).stream().flatMap(f -> f.names().stream()).toList();
    }

    @Test
    void saysANameOnceAnHourInADatagramOfItsOwn() {
        for (int i = 0; i < 3; i++) {
            assertTrue(name("/a"));
        }
        assertTrue(name("/\u00e9"));
        pass(240);
        assertEquals(List.of(), names());
        pass(10);
        assertEquals(List.of("/a", "/\u00e9"), names());
        assertEquals(List.of(Wire.TYPE_NAMES, 0L), List.of(frames(0).get(3).type(), frames(0).get(3).position()));
        pass(59 * 60_000);
        assertTrue(name("/a"));
        engine.flush();
        assertEquals(2, names().size(), "within the hour");
        pass(60_000);
        assertTrue(name("/a"));
        add(2);
        engine.flush();
        Decoder.Frame last = frames(0).get(frames(0).size() - 1);
        assertEquals(List.of(2L, 1), List.of(last.position(), last.names().size()), "behind the events");
        // What is full goes out, and none is larger than a datagram.
        for (int i = 0; i < 100; i++) {
            assertTrue(name(String.format("/%0100d", i)));
        }
        assertTrue(name("/late"));
        engine.close(1_000);
        pass(40);
        assertEquals(2 + 1 + 101, names().size());
        assertTrue(frames(0).stream().allMatch(f -> f.size() <= 1400));
        assertFalse(name("/b"));
    }

    private boolean describe(long content, Attribute attribute, String text) {
        return engine.say(content, attribute.ordinal() + 1, text.getBytes(StandardCharsets.UTF_8));
    }

    /** Each attribute goes out when it changes, once an hour, and the last text counts. */
    @Test
    void saysAnAttributeWhenItChanges() {
        for (int i = 0; i < 3; i++) {
            assertTrue(describe(42, Attribute.TITLE, "L\u2019\u00e9toile"));
            assertTrue(describe(42, Attribute.WORDS, "1200"));
        }
        engine.flush();
        List<String> want = new ArrayList<>(List.of("1 42 L\u2019\u00e9toile", "5 42 1200"));
        assertEquals(want, names());
        describe(42, Attribute.TITLE, "B");
        describe(42, Attribute.TITLE, "L\u2019\u00e9toile");
        describe(43, Attribute.WORDS, "1200");
        describe(42, Attribute.SECTION, "B");
        describe(42, Attribute.AUTHOR, "");
        describe(42, Attribute.PUBLISHED, "281474976710655");
        describe(42, Attribute.WORDS, "");
        engine.flush();
        want.addAll(List.of("1 42 B", "1 42 L\u2019\u00e9toile", "5 43 1200", "2 42 B", "3 42 ", "4 42 281474976710655", "5 42 "));
        assertEquals(want, names());
        pass(59 * 60_000);
        describe(42, Attribute.SECTION, "B");
        describe(42, Attribute.WORDS, "");
        engine.flush();
        assertEquals(want, names(), "within the hour");
        pass(60_000);
        describe(42, Attribute.SECTION, "B");
        engine.flush();
        want.add("2 42 B");
        assertEquals(want, names());
        engine.close(1_000);
        pass(40);
        assertFalse(describe(42, Attribute.TITLE, "late"));
    }

    @Test
    void takesNoAttributeThatACollectorWouldRefuse() {
        assertThrows(IllegalArgumentException.class, () -> describe(42, Attribute.TITLE, "x".repeat(513)));
        for (String wrong : List.of("many", "-1", "01", "1.5", "281474976710656", "1000000000000000")) {
            assertThrows(IllegalArgumentException.class, () -> describe(42, Attribute.WORDS, wrong), wrong);
            assertThrows(IllegalArgumentException.class, () -> describe(42, Attribute.PUBLISHED, wrong), wrong);
        }
        assertTrue(describe(42, Attribute.TITLE, "\u00e9".repeat(256)));
        assertTrue(describe(42, Attribute.WORDS, "0"));
        engine.flush();
        assertEquals(2, names().size());
    }

    @Test
    void takesNoNameThatACollectorWouldRefuse() {
        assertThrows(IllegalArgumentException.class, () -> name(""));
        assertThrows(IllegalArgumentException.class, () -> name("x".repeat(513)));
        assertTrue(name("x".repeat(512)));
        UdpOptions o = UdpOptions.of(7).withDatagramSize(65);
        UdpEngine small = new UdpEngine(o, socket(), new FakeDialer(), clock);
        assertThrows(IllegalArgumentException.class, () -> small.name("fifteen bytes: ".getBytes(StandardCharsets.UTF_8)));
        assertTrue(small.name("fourteen bytes".getBytes(StandardCharsets.UTF_8)));
    }

    /** Says names of these numbers, and returns how many were sent so far. */
    private int say(int from, int to) {
        for (int i = from; i < to; i++) {
            clock.time += i % 10 == 0 ? 1 : 0;
            name("/" + i);
        }
        engine.flush();
        return names().size();
    }

    /** However many names are said, 65,536 of them are remembered, those that were said last. */
    @Test
    void whatIsForgottenIsSaidAgain() {
        assertEquals(300_000, say(0, 300_000));
        int newest = say(290_000, 300_000) - 300_000;
        assertTrue(newest < 200, newest + " of the newest 10,000 were said again");
        int oldest = say(0, 10_000) - newest - 300_000;
        assertTrue(oldest > 9_900, oldest + " of the oldest 10,000 were said again");
    }
}
