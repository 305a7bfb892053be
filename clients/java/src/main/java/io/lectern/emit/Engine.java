package io.lectern.emit;

/** An emitter without a thread or a lock: one function does what is due, and never waits. */
interface Engine {
    /** After so long without a frame a beat goes out; while the silence lasts, each waits twice as long. */
    long BEAT_MIN = 1_000;

    long BEAT_MAX = 16_000;

    /**
     * Takes one good event of a time. What there is no room for is dropped, numbered and counted.
     *
     * @return false if the engine is closed
     */
    boolean add(int kind, long content, long user, long time, int dwell, int progress);

    /**
     * Says what a content is called, by the UTF-8 of which its id is the hash, unless it was said lately. What there is no
     * room for is said with the next call.
     *
     * @return false if the engine is closed
     * @throws IllegalArgumentException if no collector would take it
     */
    default boolean name(byte[] text) {
        return say(XxHash64.hash(text), 0, text);
    }

    /**
     * Says what an attribute of a content is, by its number and in UTF-8, unless that was said lately: the last text counts.
     * Number 0 is the name.
     *
     * @return false if the engine is closed
     * @throws IllegalArgumentException if no collector would take it
     */
    boolean say(long content, int attribute, byte[] text);

    /** Finishes the frame that waits for more, so that it is sent. */
    void flush();

    /** Does what is due, a bounded part of it: see due. */
    void step();

    /** When step wants to be called next, by the clock; what is past is at once. The others may bring it forward. */
    long due();

    /** Begins to close. After so many milliseconds it gives up. */
    void close(long patience);

    boolean closed();

    Stats stats();

    long source();

    /** Why nothing can be sent at the moment, or null. */
    String trouble();

    /** Has what follows sealed with another key. */
    void key(Key key);

    Clock clock();
}
