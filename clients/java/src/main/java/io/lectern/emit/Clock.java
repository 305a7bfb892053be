package io.lectern.emit;

/** The clocks that an engine asks. A test has its own. */
interface Clock {
    /** Unix milliseconds, by which events are dated. */
    long wall();

    /** Milliseconds that only ever grow, by which everything else is timed. */
    long now();

    /** The system's clocks. */
    Clock SYSTEM = new Clock() {
        @Override
        public long wall() {
            return System.currentTimeMillis();
        }

        @Override
        public long now() {
            return System.nanoTime() / 1_000_000;
        }
    };
}
