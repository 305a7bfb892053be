package io.lectern.emit;

import java.util.Arrays;
import java.util.HexFormat;

/** A stream's secret of 32 bytes, with its key epoch: what a key file of Lectern holds. */
public final class Key {
    final int epoch;
    final byte[] secret;

    private Key(int epoch, byte[] secret) {
        this.epoch = epoch;
        this.secret = secret;
    }

    /**
     * Reads what a key file holds: the epoch, a colon, the secret in 64 hex digits, perhaps a line feed.
     *
     * @param line the whole file
     * @return the key
     * @throws IllegalArgumentException if it is none; the message does not show it
     */
    public static Key parse(String line) {
        String text = line.endsWith("\n") ? line.substring(0, line.length() - 1) : line;
        if (text.length() != 66 || text.charAt(0) < '0' || text.charAt(0) > '3' || text.charAt(1) != ':') {
            throw new IllegalArgumentException("a key is an epoch, 0 to 3, a colon, and 64 hex digits");
        }
        try {
            return new Key(text.charAt(0) - '0', HexFormat.of().parseHex(text, 2, 66));
        } catch (IllegalArgumentException e) {
            // Without the cause, which has a part of it.
            throw new IllegalArgumentException("a key is an epoch, 0 to 3, a colon, and 64 hex digits");
        }
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Key key && key.epoch == epoch && Arrays.equals(key.secret, secret);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(secret) * 31 + epoch;
    }

    /** Returns the epoch, and not the secret. */
    @Override
    public String toString() {
        return "Key[epoch=" + epoch + "]";
    }
}
