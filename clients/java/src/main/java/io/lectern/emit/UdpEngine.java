package io.lectern.emit;

import java.io.Closeable;
import java.io.IOException;
import java.net.PortUnreachableException;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;

/**
 * Sends events in datagrams. Nothing waits for the collector and nothing is resent.
 *
 * <p>A socket is a source, since behind a new one there may be another collector: when the socket is old, or nobody listens,
 * the old source ends with its last beats, the name is resolved again, and a new source begins over a new socket.
 */
final class UdpEngine implements Engine {
    /** How many beats a source sends when it begins and when it ends: one at least should arrive. */
    private static final int BEATS = 3;
    /** The time between the last beats: a buffer that overflows is not empty again at once. */
    private static final long BEAT_GAP = 20;
    /** How old a socket gets at least, and how long a failed attempt to replace it is not repeated. */
    private static final long RENEW_WAIT = 1_000;
    /** How often a socket that is being made is asked for. */
    private static final long DIAL_POLL = 20;

    private final long flushAge;
    private final long socketAge;
    private final Dialer<? extends WritableByteChannel> dialer;
    private final Clock clock;
    private final Packer packer;
    private final Names names;
    private final Numbers numbers;
    private final Counts counts = new Counts();
    private final ByteBuffer out;
    private Seal seal;
    private Flow flow;
    private Ending old;
    /** Of the first event of the unfinished datagram. */
    private long began;
    private long lastSent;
    private long beatWait = BEAT_MIN;
    /** When the last beat was sent. */
    private long beaten;
    /** Of the socket. */
    private long born;
    /** When the last attempt to replace it ended. */
    private long tried;
    private boolean dialling;
    private boolean closing;
    /** The final beats that have still to be sent, when the next one is due, and when all of them are. */
    private int beatsLeft;
    private long lastBeat;
    private long patience;
    private long due;
    private String trouble;

    /** One socket. */
    private static final class Flow implements Closeable {
        final WritableByteChannel socket;
        /** In the last datagram that the kernel took. */
        long events;

        Flow(WritableByteChannel socket) {
            this.socket = socket;
        }

        @Override
        public void close() {
            try {
                socket.close();
            } catch (IOException e) {
                // Nothing is left to be done with it.
            }
        }
    }

    /** A source that ends. */
    private static final class Ending {
        final Flow flow;
        final Numbers numbers;
        int left = BEATS;
        long due;

        Ending(Flow flow, Numbers numbers, long due) {
            this.flow = flow;
            this.numbers = numbers;
            this.due = due;
        }
    }

    /** Begins over a connected socket that never waits, with the opening beats. */
    UdpEngine(UdpOptions options, WritableByteChannel first, Dialer<? extends WritableByteChannel> dialer, Clock clock) {
        this.dialer = dialer;
        this.clock = clock;
        flushAge = options.flushAge().toMillis();
        socketAge = options.socketAge().toMillis();
        seal = Options.seal(options.key(), options.stream(), options.audience());
        int room = options.datagramSize() - (seal == null ? 0 : Wire.TAG_SIZE);
        packer = new Packer(room);
        names = new Names(room, Names.SAID_FOR_UDP);
        numbers = new Numbers(options.stream(), Seal.drawSource());
        out = ByteBuffer.allocateDirect(options.datagramSize());
        flow = new Flow(first);
        born = clock.now();
        tried = born;
        lastSent = born;
        open();
        schedule();
    }

    private void open() {
        for (int i = 0; i < BEATS; i++) {
            beat();
        }
        beatWait = BEAT_MIN;
    }

    private void beat() {
        send(flow, beat(numbers), 0);
        lastSent = clock.now();
        beaten = lastSent;
    }

    /** The next beat of a source, in out. */
    private ByteBuffer beat(Numbers of) {
        byte[] b = new byte[Wire.HEADER_SIZE + Wire.TAG_SIZE];
        of.header(b, Wire.HEADER_SIZE, 0, clock.wall());
        return fill(b, Wire.HEADER_SIZE);
    }

    private ByteBuffer fill(byte[] b, int size) {
        int whole = seal == null ? size : seal.frame(b, size);
        return out.clear().put(b, 0, whole).flip();
    }

    /** Sends the unfinished datagram. It is numbered before that is tried. */
    private void send() {
        int events = packer.count();
        if (events == 0) {
            return;
        }
        int size = packer.finish(numbers);
        counts.buffered -= events;
        beatWait = BEAT_MIN;
        send(flow, fill(packer.bytes(), size), events);
        lastSent = clock.now();
    }

    /** Sends the names that wait, in a datagram of their own. */
    private void sendNames() {
        if (names.isEmpty()) {
            return;
        }
        int size = names.size();
        beatWait = BEAT_MIN;
        send(flow, fill(names.finish(numbers, clock.wall()), size), 0);
        lastSent = clock.now();
    }

    /**
     * Gives a numbered frame to the kernel. An answer that nobody listens is for the datagram before it, and comes in place
     * of sending this one: so that is tried again.
     */
    private void send(Flow to, ByteBuffer frame, int events) {
        counts.frames++;
        try {
            boolean taken;
            try {
                taken = to.socket.write(frame) > 0;
            } catch (PortUnreachableException e) {
                trouble = "nobody listens there";
                counts.unreachable += to.events;
                to.events = 0;
                renewSoon(clock.now());
                taken = to.socket.write(frame.rewind()) > 0;
            }
            if (taken) {
                counts.sent += events;
                to.events = events;
                return;
            }
            trouble = "the kernel's buffer is full";
        } catch (PortUnreachableException e) {
            trouble = "nobody listens there";
        } catch (IOException e) {
            trouble = String.valueOf(e.getMessage());
            renewSoon(clock.now());
        }
        counts.socket += events;
    }

    private void renewSoon(long now) {
        boolean recent = now - born < RENEW_WAIT || now - tried < RENEW_WAIT;
        if (!dialling && old == null && !closing && !recent) {
            dialling = true;
            due = now;
            dialer.start();
        }
    }

    /** Replaces the socket where that is due. While there cannot be another, the old one stays. */
    private void renew(long now) {
        // One over which no events went is kept: who has nothing to send need not begin sources.
        if (numbers.position > 0 && now - born >= socketAge) {
            renewSoon(now);
        }
        if (!dialling) {
            return;
        }
        WritableByteChannel made;
        try {
            made = dialer.poll();
            if (made == null) {
                return;
            }
        } catch (IOException e) {
            trouble = String.valueOf(e.getMessage());
            dialling = false;
            tried = now;
            return;
        }
        dialling = false;
        tried = now;
        if (closing) {
            new Flow(made).close();
            return;
        }
        old = new Ending(flow, numbers.copy(), now);
        flow = new Flow(made);
        numbers.renew(Seal.drawSource());
        born = now;
        trouble = null;
        counts.renewals++;
        open();
    }

    /** Sends the final beats of the source before, over its own socket. */
    private void retire(long now) {
        if (old == null || now < old.due) {
            return;
        }
        send(old.flow, beat(old.numbers), 0);
        old.due = now + BEAT_GAP;
        if (--old.left == 0) {
            old.flow.close();
            old = null;
        }
    }

    /** Sends the final beats of the present source. */
    private void end(long now) {
        if (beatsLeft == 0 || now < lastBeat && now < patience) {
            return;
        }
        beat();
        lastBeat = now + BEAT_GAP;
        if (--beatsLeft == 0) {
            flow.close();
        }
    }

    private void schedule() {
        if (closed()) {
            due = Long.MAX_VALUE;
            return;
        }
        due = closing ? Long.MAX_VALUE : lastSent + beatWait;
        if (packer.count() > 0) {
            due = Math.min(due, began + flushAge);
        }
        if (!names.isEmpty()) {
            due = Math.min(due, names.began + flushAge);
        }
        if (seal != null && !closing) {
            due = Math.min(due, beaten + BEAT_MAX);
        }
        if (dialling) {
            due = Math.min(due, clock.now() + DIAL_POLL);
        }
        if (old != null) {
            due = Math.min(due, old.due);
        }
        if (beatsLeft > 0) {
            due = Math.min(due, Math.min(lastBeat, patience));
        }
    }

    @Override
    public boolean add(int kind, long content, long user, long time, int dwell, int progress) {
        counts.added++;
        if (closing) {
            counts.closed++;
            return false;
        }
        if (!packer.add(kind, content, user, time, dwell, progress)) {
            send();
            packer.add(kind, content, user, time, dwell, progress);
        }
        counts.buffered++;
        if (packer.count() == 1) {
            began = clock.now();
            due = Math.min(due, began + flushAge);
        }
        return true;
    }

    @Override
    public boolean say(long content, int attribute, byte[] text) {
        names.check(attribute, text);
        if (closing) {
            return false;
        }
        while (!names.add(content, attribute, text, clock.now())) {
            sendNames();
        }
        if (!names.isEmpty()) {
            due = Math.min(due, names.began + flushAge);
        }
        return true;
    }

    @Override
    public void flush() {
        send();
        sendNames();
    }

    @Override
    public void step() {
        long now = clock.now();
        if (closed()) {
            return;
        }
        renew(now);
        retire(now);
        if (packer.count() > 0 && now - began >= flushAge) {
            send();
        }
        if (!names.isEmpty() && now - names.began >= flushAge) {
            flush();
        }
        if (!closing && now - lastSent >= beatWait) {
            beat();
            beatWait = Math.min(2 * beatWait, BEAT_MAX);
        }
        // Its time opens a sealed source anywhere, where those of its events may be too old.
        if (!closing && seal != null && now - beaten >= BEAT_MAX) {
            beat();
        }
        end(now);
        schedule();
    }

    @Override
    public long due() {
        return due;
    }

    @Override
    public void close(long millis) {
        if (closing) {
            return;
        }
        flush();
        closing = true;
        beatsLeft = BEATS;
        lastBeat = clock.now();
        patience = lastBeat + millis;
        due = lastBeat;
    }

    @Override
    public boolean closed() {
        return closing && beatsLeft == 0 && old == null && !dialling;
    }

    @Override
    public Stats stats() {
        return counts.stats();
    }

    @Override
    public long source() {
        return numbers.source;
    }

    @Override
    public String trouble() {
        return trouble;
    }

    @Override
    public void key(Key key) {
        if (seal == null) {
            throw new IllegalStateException("the emitter was opened without a key");
        }
        seal = seal.with(key);
    }

    @Override
    public Clock clock() {
        return clock;
    }
}
