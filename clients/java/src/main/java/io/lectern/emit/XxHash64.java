package io.lectern.emit;

import static java.lang.Long.rotateLeft;

/** XXH64 with seed 0. */
final class XxHash64 {
    private static final long P1 = 0x9E3779B185EBCA87L;
    private static final long P2 = 0xC2B2AE3D27D4EB4FL;
    private static final long P3 = 0x165667B19E3779F9L;
    private static final long P4 = 0x85EBCA77C2B2AE63L;
    private static final long P5 = 0x27D4EB2F165667C5L;

    private XxHash64() {}

    static long hash(byte[] b) {
        int i = 0;
        long h = P5;
        if (b.length >= 32) {
            long v1 = P1 + P2;
            long v2 = P2;
            long v3 = 0;
            long v4 = -P1;
            for (; b.length - i >= 32; i += 32) {
                v1 = round(v1, Wire.getLong(b, i));
                v2 = round(v2, Wire.getLong(b, i + 8));
                v3 = round(v3, Wire.getLong(b, i + 16));
                v4 = round(v4, Wire.getLong(b, i + 24));
            }
            h = rotateLeft(v1, 1) + rotateLeft(v2, 7) + rotateLeft(v3, 12) + rotateLeft(v4, 18);
            h = merge(merge(merge(merge(h, v1), v2), v3), v4);
        }
        h += b.length;
        for (; b.length - i >= 8; i += 8) {
            h = rotateLeft(h ^ round(0, Wire.getLong(b, i)), 27) * P1 + P4;
        }
        if (b.length - i >= 4) {
            h = rotateLeft(h ^ Wire.getInt(b, i) * P1, 23) * P2 + P3;
            i += 4;
        }
        for (; i < b.length; i++) {
            h = rotateLeft(h ^ (b[i] & 0xFF) * P5, 11) * P1;
        }
        h = (h ^ h >>> 33) * P2;
        h = (h ^ h >>> 29) * P3;
        return h ^ h >>> 32;
    }

    private static long round(long lane, long input) {
        return rotateLeft(lane + input * P2, 31) * P1;
    }

    private static long merge(long h, long lane) {
        return (h ^ round(0, lane)) * P1 + P4;
    }
}
