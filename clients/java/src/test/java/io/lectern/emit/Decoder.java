package io.lectern.emit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** Reads frames byte by byte, sharing nothing with what writes them. */
final class Decoder {
    record Frame(
            int type,
            int flags,
            int size,
            int stream,
            long time,
            long source,
            long sequence,
            long position,
            List<Event> events,
            List<String> names) {}

    private final byte[] b;
    private int at;

    private Decoder(byte[] b) {
        this.b = b;
    }

    static List<Frame> all(byte[] b) {
        Decoder d = new Decoder(b);
        List<Frame> list = new ArrayList<>();
        while (d.at < b.length) {
            list.add(d.frame());
        }
        return list;
    }

    private long number(int n) {
        long result = 0;
        for (int i = n - 1; i >= 0; i--) {
            result = result * 256 + (b[at + i] & 0xFF);
        }
        at += n;
        return result;
    }

    private Frame frame() {
        int start = at;
        assertEquals(0x454C, number(2));
        int type = (int) number(1);
        assertEquals(1, type / 16);
        int flags = (int) number(1);
        int size = (int) number(2);
        int count = (int) number(2);
        int stream = (int) number(2);
        long time = number(6);
        long source = number(8);
        long sequence = number(8);
        long position = number(8);
        List<Event> events = new ArrayList<>();
        long content = 0;
        long user = 0;
        for (int i = 0; i < count; i++) {
            int lengths = (int) number(1);
            int shape = (int) number(1);
            assertTrue(i > 0 || lengths / 16 > 0 && lengths % 16 > 0, "the first event inherits");
            content = lengths / 16 > 0 ? number(lengths / 16) : content;
            user = lengths % 16 > 0 ? number(lengths % 16) : user;
            long behind = number(shape / 8 % 4);
            int dwell = (int) number(shape / 32 % 4);
            int progress = shape >= 128 ? (int) number(1) : Event.UNKNOWN;
            events.add(new Event(Kind.values()[shape % 8], content, user, time + behind, dwell, progress));
        }
        int tag = flags % 2 * 16;
        List<String> names = new ArrayList<>();
        while (type % 16 == 5 && at - start < size - tag) {
            long attribute = number(1);
            int length = (int) number(2);
            long id = number(8);
            String text = new String(b, at, length, StandardCharsets.UTF_8);
            assertTrue(attribute > 0 || Emitter.id(text) == id);
            names.add(attribute == 0 ? text : attribute + " " + id + " " + text);
            at += length;
        }
        at += tag;
        assertEquals(size, at - start, "count or size are wrong");
        return new Frame(type % 16, flags, size, stream, time, source, sequence, position, events, names);
    }

    /** The fewest bytes of a frame without a tag. */
    static byte[] minimal(Frame f) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes(new byte[] {'L', 'E', (byte) (16 + f.type), 0});
        long[][] fields = {
            {f.size, 2}, {f.events.size(), 2}, {f.stream, 2}, {f.time, 6}, {f.source, 8}, {f.sequence, 8}, {f.position, 8}
        };
        for (long[] field : fields) {
            out.writeBytes(little(field[0], (int) field[1], (int) field[1]));
        }
        Event before = null;
        for (Event e : f.events) {
            byte[] content = before != null && before.content() == e.content() ? new byte[0] : little(e.content(), 1, 8);
            byte[] user = before != null && before.user() == e.user() ? new byte[0] : little(e.user(), 1, 8);
            byte[] behind = little(e.time() - f.time, 0, 8);
            byte[] dwell = little(e.dwell(), 0, 8);
            out.write(content.length * 16 + user.length);
            out.write(e.kind().ordinal() + behind.length * 8 + dwell.length * 32 + (e.progress() >= 0 ? 128 : 0));
            out.writeBytes(content);
            out.writeBytes(user);
            out.writeBytes(behind);
            out.writeBytes(dwell);
            if (e.progress() >= 0) {
                out.write(e.progress());
            }
            before = e;
        }
        return out.toByteArray();
    }

    private static byte[] little(long n, int least, int most) {
        BigInteger value = new BigInteger(Long.toUnsignedString(n));
        int size = Math.min(most, Math.max(least, (value.bitLength() + 7) / 8));
        byte[] result = new byte[size];
        for (int i = 0; i < size; i++) {
            result[i] = value.shiftRight(8 * i).byteValue();
        }
        return result;
    }
}
