package io.lectern.emit;

/** A clock that moves when it is told to. */
final class FakeClock implements Clock {
    static final long START = 1_767_225_600_000L;
    long time = START;

    @Override
    public long wall() {
        return time;
    }

    @Override
    public long now() {
        return time;
    }
}
