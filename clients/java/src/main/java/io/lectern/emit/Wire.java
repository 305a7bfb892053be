package io.lectern.emit;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/** The bytes: wire/SPEC.md of Lectern is the authority for each of them. */
final class Wire {
    static final int HEADER_SIZE = 40;
    static final int TAG_SIZE = 16;
    static final int FRAME_SIZE_MAX = 65_535;
    static final int EVENT_SIZE_MAX = 25;
    /** The smallest datagram or frame that holds any one event. */
    static final int SIZE_MIN = HEADER_SIZE + EVENT_SIZE_MAX;
    static final int STREAM_RESERVED = 65_535;
    /** What sequence, position, and position + count stay below. */
    static final long NUMBER_MAX = 1L << 48;
    static final long TIME_MAX = NUMBER_MAX - 1;
    static final int AT_MAX = (1 << 24) - 1;
    static final int DWELL_MAX = (1 << 24) - 1;
    static final int REFUSAL_TEXT_MAX = 255;
    /** The largest frame that a collector answers with. */
    static final int ANSWER_SIZE_MAX = HEADER_SIZE + 1 + 255 + REFUSAL_TEXT_MAX + TAG_SIZE;

    static final int FLAG_SEALED = 1;
    static final int FLAG_FINAL = 2;
    /** Where the key epoch of a sealed frame stands among its flags. */
    static final int EPOCH_SHIFT = 2;

    static final int TYPE_EVENTS = 1;
    static final int TYPE_HELLO = 2;
    static final int TYPE_ACK = 3;
    static final int TYPE_REFUSAL = 4;
    static final int TYPE_NAMES = 5;

    /** The bytes of a name in front of its text, and of the longest text. */
    static final int NAME_HEAD = 11;

    static final int NAME_TEXT_MAX = 512;

    /** An event is written into so much room: what comes next is stored over what it does not need. */
    static final int EVENT_ROOM = EVENT_SIZE_MAX + 8;

    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle SHORT = MethodHandles.byteArrayViewVarHandle(short[].class, ByteOrder.LITTLE_ENDIAN);

    private Wire() {}

    static long getLong(byte[] b, int at) {
        return (long) LONG.get(b, at);
    }

    static void putLong(byte[] b, int at, long value) {
        LONG.set(b, at, value);
    }

    static long getInt(byte[] b, int at) {
        return (int) INT.get(b, at) & 0xFFFFFFFFL;
    }

    static int getShort(byte[] b, int at) {
        return (short) SHORT.get(b, at) & 0xFFFF;
    }

    static void putShort(byte[] b, int at, int value) {
        SHORT.set(b, at, (short) value);
    }

    /** Writes a frame's header; position has the spool of an ack. */
    static void putHeader(
            byte[] b, int type, int flags, int size, int count, int stream, long time, long source, long sequence, long position) {
        b[0] = 'L';
        b[1] = 'E';
        b[2] = (byte) (0x10 | type);
        b[3] = (byte) flags;
        putShort(b, 4, size);
        putShort(b, 6, count);
        putLong(b, 8, stream | time << 16);
        putLong(b, 16, source);
        putLong(b, 24, sequence);
        putLong(b, 32, position);
    }

    static long source(byte[] frame) {
        return getLong(frame, 16);
    }

    static long sequence(byte[] frame) {
        return getLong(frame, 24);
    }

    /**
     * Writes an event to b at an offset, something behind it, and returns its size.
     *
     * @param at how far it is behind its frame's time
     * @param inheritContent whether the content is that of the event before it
     * @param progress negative if it is not known
     */
    static int putEvent(
            byte[] b,
            int offset,
            int kind,
            long content,
            boolean inheritContent,
            long user,
            boolean inheritUser,
            long at,
            int dwell,
            int progress) {
        int c = inheritContent ? 0 : numberSize(content | 1);
        int u = inheritUser ? 0 : numberSize(user | 1);
        long held = Math.min(dwell, DWELL_MAX);
        int a = numberSize(at);
        int d = numberSize(held);
        int p = progress >= 0 ? 1 : 0;
        b[offset] = (byte) (c << 4 | u);
        b[offset + 1] = (byte) (kind | a << 3 | d << 5 | p << 7);
        putLong(b, offset + 2, content);
        putLong(b, offset + 2 + c, user);
        // Seven bytes at most: one store for all three.
        putLong(b, offset + 2 + c + u, at | held << 8 * a | (long) (progress & 0xFF & -p) << 8 * (a + d));
        return 2 + c + u + a + d + p;
    }

    /** Writes what a frame of names says of a content, attribute 0 being its name, and returns its size. */
    static int putName(byte[] b, int offset, int attribute, long content, byte[] text) {
        b[offset] = (byte) attribute;
        putShort(b, offset + 1, text.length);
        putLong(b, offset + 3, content);
        System.arraycopy(text, 0, b, offset + NAME_HEAD, text.length);
        return NAME_HEAD + text.length;
    }

    /** The bytes of a number of which zero takes none. */
    static int numberSize(long n) {
        return 71 - Long.numberOfLeadingZeros(n) >>> 3;
    }

    /** A hello: who will send on this connection. */
    static byte[] hello(int stream, long source, long time) {
        byte[] b = new byte[HEADER_SIZE];
        putHeader(b, TYPE_HELLO, 0, HEADER_SIZE, 0, stream, time, source, 0, 0);
        return b;
    }
}
