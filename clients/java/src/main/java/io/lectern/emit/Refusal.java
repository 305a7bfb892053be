package io.lectern.emit;

import java.nio.charset.StandardCharsets;
import java.util.Locale;

/** Why a frame or a connection is not taken: the closed list of the protocol. */
enum Refusal {
    SHORT, MAGIC, VERSION, TYPE, FLAGS, SIZE, COUNT, STREAM, NUMBER, LENGTH, INHERIT, KIND, PROGRESS, NAME, BODY, SEALED, UNSEALED, TIME,
    UNEXPECTED, TRUNCATED, REST, SEQUENCE, POSITION, SOURCES, CONNECTIONS, IDLE, CREDIT, FORGOTTEN;

    final String word = name().toLowerCase(Locale.ROOT);

    /** The refusal with this word, or null. */
    static Refusal of(byte[] b, int offset, int size) {
        String word = new String(b, offset, size, StandardCharsets.ISO_8859_1);
        for (Refusal r : values()) {
            if (r.word.equals(word)) {
                return r;
            }
        }
        return null;
    }

    /** Whether it is of the moment, and not of the frame. */
    boolean ofTheMoment() {
        return switch (this) {
            case SOURCES, CONNECTIONS, IDLE, CREDIT, UNEXPECTED, SEALED, UNSEALED -> true;
            default -> false;
        };
    }
}
