package io.lectern.emit;

/** The numbers of the next frame of a source. */
final class Numbers {
    final int stream;
    long source;
    long sequence;
    long position;

    Numbers(int stream, long source) {
        this.stream = stream;
        this.source = source;
    }

    Numbers copy() {
        Numbers n = new Numbers(stream, source);
        n.sequence = sequence;
        n.position = position;
        return n;
    }

    /** Begins another source. */
    void renew(long source) {
        this.source = source;
        sequence = 0;
        position = 0;
    }

    /**
     * Uses up the numbers of a frame with so many events. If it is not sent it shows as lost, and not as if it had never
     * been.
     */
    void use(long events) {
        sequence++;
        position += events;
    }

    /** Writes the header of an events frame without a tag, and uses up its numbers. */
    void header(byte[] b, int size, int count, long time) {
        header(b, Wire.TYPE_EVENTS, size, count, time);
    }

    /** Writes the header of a frame of names, likewise. */
    void names(byte[] b, int size, long time) {
        header(b, Wire.TYPE_NAMES, size, 0, time);
    }

    private void header(byte[] b, int type, int size, int count, long time) {
        Wire.putHeader(b, type, 0, size, count, stream, time & Wire.TIME_MAX, source, sequence, position);
        use(count);
    }

    /** A frame without events, which shows how far the source has numbered. */
    byte[] beat(long time) {
        byte[] b = new byte[Wire.HEADER_SIZE];
        header(b, Wire.HEADER_SIZE, 0, time);
        return b;
    }
}
