package io.lectern.emit;

import static io.lectern.emit.Wire.ANSWER_SIZE_MAX;
import static io.lectern.emit.Wire.FLAG_FINAL;
import static io.lectern.emit.Wire.FLAG_SEALED;
import static io.lectern.emit.Wire.HEADER_SIZE;
import static io.lectern.emit.Wire.NUMBER_MAX;
import static io.lectern.emit.Wire.TAG_SIZE;

import java.nio.charset.StandardCharsets;

/**
 * What a collector says on a connection: an ack, or a refusal if word is set.
 *
 * @param source whose ack it is, or of the refused frame; 0 where there is no frame to name
 * @param sequence of the refused frame
 * @param durable every frame below this sequence is durable
 * @param credit bytes that may be in flight, unsigned
 * @param last whether nothing beyond durable was taken, nor will be
 * @param spool what the ack speaks for
 * @param word why something was refused
 * @param text more for people, as it came
 */
record Answer(
        long source, long sequence, long durable, long credit, boolean last, long spool, Refusal word, String text) {
    /** The random of a sealed ack begins here. */
    static final int RANDOM_AT = HEADER_SIZE + 16;

    /** The size of the answer that begins with these bytes, or -1 where no collector begins like this. */
    static int size(byte[] b) {
        int type = b[2] & 15;
        int flags = b[3] & 0xFF;
        int size = Wire.getShort(b, 4);
        boolean sealed = (flags & FLAG_SEALED) != 0;
        int known = FLAG_SEALED | (type == Wire.TYPE_ACK ? FLAG_FINAL : 0) | (sealed ? 3 << Wire.EPOCH_SHIFT : 0);
        boolean good = b[0] == 'L'
                && b[1] == 'E'
                && (b[2] & 0xF0) == 0x10
                && (type == Wire.TYPE_ACK || type == Wire.TYPE_REFUSAL)
                && (flags & ~known) == 0
                && size >= HEADER_SIZE + (sealed ? TAG_SIZE : 0)
                && size <= ANSWER_SIZE_MAX
                && Wire.getShort(b, 6) == 0
                && Wire.getShort(b, 8) != Wire.STREAM_RESERVED
                && Wire.sequence(b) >>> 48 == 0
                && Wire.getLong(b, 32) >>> 48 == 0;
        return good ? size : -1;
    }

    /** Reads a whole answer, the first size bytes of b; null where no collector answers like this. */
    static Answer parse(byte[] b, int size) {
        if (size < HEADER_SIZE || size(b) != size) {
            return null;
        }
        boolean sealed = (b[3] & FLAG_SEALED) != 0;
        int end = size - (sealed ? TAG_SIZE : 0);
        long source = Wire.source(b);
        if ((b[2] & 15) == Wire.TYPE_REFUSAL) {
            return refusal(b, end, source);
        }
        long durable = end >= RANDOM_AT ? Wire.getLong(b, HEADER_SIZE) : -1;
        if (end != RANDOM_AT + (sealed ? 16 : 0) || durable < 0 || durable > NUMBER_MAX) {
            return null;
        }
        boolean last = (b[3] & FLAG_FINAL) != 0;
        return new Answer(source, 0, durable, Wire.getLong(b, HEADER_SIZE + 8), last, Wire.getLong(b, 32), null, "");
    }

    private static Answer refusal(byte[] b, int end, long source) {
        int n = end > HEADER_SIZE ? b[HEADER_SIZE] & 0xFF : 0;
        int text = HEADER_SIZE + 1 + n;
        Refusal word = n == 0 || text > end ? null : Refusal.of(b, HEADER_SIZE + 1, n);
        if (word == null || end - text > Wire.REFUSAL_TEXT_MAX) {
            return null;
        }
        String said = new String(b, text, end - text, StandardCharsets.UTF_8);
        return new Answer(source, Wire.sequence(b), 0, 0, false, 0, word, said);
    }
}
