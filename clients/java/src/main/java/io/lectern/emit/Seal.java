package io.lectern.emit;

import static io.lectern.emit.Wire.HEADER_SIZE;
import static io.lectern.emit.Wire.TAG_SIZE;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.Arrays;
import javax.crypto.Cipher;
import javax.crypto.Mac;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/** The keys that are made of a secret, and the tags that they make: section 8 of the protocol. */
final class Seal {
    static final int RANDOM_SIZE = 16;
    private static final SecureRandom RANDOM = new SecureRandom();

    final Key key;
    private final int stream;
    private final byte[] audience;
    private final Tagger frames;

    /**
     * What seals the frames of a stream for an audience.
     *
     * @throws IllegalArgumentException if the audience is not 1 to 63 characters out of A-Z a-z 0-9 . _ -
     */
    Seal(Key key, int stream, String audience) {
        if (!audience.matches("[A-Za-z0-9._-]{1,63}")) {
            throw new IllegalArgumentException("an audience is 1 to 63 characters out of A-Z a-z 0-9 . _ -");
        }
        this.key = key;
        this.stream = stream;
        this.audience = audience.getBytes(StandardCharsets.US_ASCII);
        frames = new Tagger(derive(1, new byte[0]), key.epoch);
    }

    /** The same with another key. */
    Seal with(Key other) {
        return new Seal(other, stream, new String(audience, StandardCharsets.US_ASCII));
    }

    /** Seals the events frame of size bytes in b, outside of a session, and returns its size with the tag. */
    int frame(byte[] b, int size) {
        return frames.seal(b, size);
    }

    /** A sealed hello, of the emitter's random. */
    byte[] hello(long source, long time, byte[] random) {
        int size = HEADER_SIZE + RANDOM_SIZE + TAG_SIZE;
        byte[] b = Arrays.copyOf(Wire.hello(stream, source, time), size);
        b[3] = (byte) (Wire.FLAG_SEALED | key.epoch << Wire.EPOCH_SHIFT);
        Wire.putShort(b, 4, size);
        System.arraycopy(random, 0, b, HEADER_SIZE, RANDOM_SIZE);
        byte[] tag = hmac(derive(2, new byte[0]), b, size - TAG_SIZE);
        System.arraycopy(tag, 0, b, size - TAG_SIZE, TAG_SIZE);
        return b;
    }

    static byte[] random() {
        byte[] random = new byte[RANDOM_SIZE];
        RANDOM.nextBytes(random);
        return random;
    }

    /** Draws a number for a numbering that begins. */
    static long drawSource() {
        return RANDOM.nextLong();
    }

    /** The keys of one connection. */
    Session session(long source, byte[] emitter, byte[] collector) {
        byte[] of = new byte[8 + 2 * RANDOM_SIZE];
        Wire.putLong(of, 0, source);
        System.arraycopy(emitter, 0, of, 8, RANDOM_SIZE);
        System.arraycopy(collector, 0, of, 8 + RANDOM_SIZE, RANDOM_SIZE);
        return new Session(new Tagger(derive(3, of), key.epoch), derive(4, of), key.epoch);
    }

    /** The key of a number: of this epoch, stream and audience, and what is between them. */
    private byte[] derive(int number, byte[] of) {
        byte[] message = new byte[4 + of.length + audience.length];
        message[0] = (byte) number;
        message[1] = (byte) key.epoch;
        Wire.putShort(message, 2, stream);
        System.arraycopy(of, 0, message, 4, of.length);
        System.arraycopy(audience, 0, message, 4 + of.length, audience.length);
        return hmac(key.secret, message, message.length);
    }

    private static byte[] hmac(byte[] key, byte[] b, int size) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            mac.update(b, 0, size);
            return mac.doFinal();
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException("every Java has HmacSHA256", e);
        }
    }

    /** The keys of a sealed session. */
    static final class Session {
        private final Tagger up;
        private final byte[] down;
        private final int epoch;

        private Session(Tagger up, byte[] down, int epoch) {
            this.up = up;
            this.down = down;
            this.epoch = epoch;
        }

        /** Seals the events frame of size bytes in b, behind which there is room for the tag, and returns the whole size. */
        int frame(byte[] b, int size) {
            return up.seal(b, size);
        }

        /** Whether the collector wrote this answer. */
        boolean proves(byte[] b, int size) {
            int want = Wire.FLAG_SEALED | epoch << Wire.EPOCH_SHIFT;
            if ((b[3] & ~Wire.FLAG_FINAL) != want) {
                return false;
            }
            byte[] tag = Arrays.copyOf(hmac(down, b, size - TAG_SIZE), TAG_SIZE);
            return MessageDigest.isEqual(tag, Arrays.copyOfRange(b, size - TAG_SIZE, size));
        }
    }

    /** Makes the tags of events frames. */
    private static final class Tagger {
        private final SecretKeySpec key;
        private final int flags;
        private final Cipher cipher;

        Tagger(byte[] key, int epoch) {
            this.key = new SecretKeySpec(key, 0, 16, "AES");
            flags = Wire.FLAG_SEALED | epoch << Wire.EPOCH_SHIFT;
            try {
                cipher = Cipher.getInstance("AES/GCM/NoPadding");
            } catch (GeneralSecurityException e) {
                throw new IllegalStateException("this Java has no AES/GCM/NoPadding", e);
            }
        }

        int seal(byte[] b, int size) {
            b[3] = (byte) flags;
            Wire.putShort(b, 4, size + TAG_SIZE);
            try {
                cipher.init(Cipher.ENCRYPT_MODE, key, new GCMParameterSpec(8 * TAG_SIZE, b, 8, 24));
                cipher.updateAAD(b, 0, size);
                return size + cipher.doFinal(b, size);
            } catch (GeneralSecurityException e) {
                throw new IllegalStateException("a frame could not be sealed", e);
            }
        }
    }
}
