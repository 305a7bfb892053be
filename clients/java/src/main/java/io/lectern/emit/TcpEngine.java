package io.lectern.emit;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;
import java.util.Arrays;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Sends events over acknowledged connections, one at a time. It keeps them until the collector has made them durable; when a
 * connection ends, it makes another, after 100 ms to 10 s, and sends again what is not acknowledged.
 */
final class TcpEngine implements Engine {
    /** How long the first ack may take. */
    private static final long HELLO_WAIT = 10_000;
    /** How long frames may be in flight without a word from the collector. */
    private static final long SILENCE_MAX = 30_000;

    private static final long BACKOFF_MIN = 100;
    private static final long BACKOFF_MAX = 10_000;
    /** How often answers are looked for while some are awaited, and a connection that is full is tried. */
    private static final long ANSWER_POLL = 10;

    private static final long BUSY_POLL = 2;
    /** The most frames that a step gives to the kernel: who adds events waits for it. */
    private static final int STEP_FRAMES = 16;
    /** From here on a source ends as soon as nothing of it is kept. */
    private static final long RENUMBER_AFTER = Wire.NUMBER_MAX / 2;

    private final TcpOptions options;
    private final long flushAge;
    private final Dialer<? extends ByteChannel> dialer;
    private final Clock clock;
    private final Queue queue;
    private final Names names;
    /** The collector does not know names. */
    private boolean nameless;

    private final Counts counts = new Counts();
    private Seal seal;
    /** Every frame that was ever sent under this source has a sequence below this. */
    private long tried;
    /** The largest durable of this source. */
    private long acked;
    /** What the source belongs to, 0 where nothing with a name has answered yet. */
    private long spool;

    /** The connection, or null; then it is being made, or not before a time. */
    private Session session;

    private boolean dialling;
    private long retryAt;
    /** Something was acknowledged, or refused for good, since the last connection. */
    private boolean progress;

    private int failures;
    private boolean connected;
    /** Of the first event of the unfinished frame. */
    private long began;
    /** The unfinished frame is to be finished as soon as there is room. */
    private boolean overdue;

    private boolean closing;
    private long patience;
    private boolean over;
    private long due;
    private String trouble;

    /** One connection, from its hello on. */
    private static final class Session {
        final ByteChannel channel;
        final ByteBuffer hello;
        final Seal seal;
        final byte[] random;
        Seal.Session keys;
        final byte[] input = new byte[Wire.ANSWER_SIZE_MAX];
        final ByteBuffer in = ByteBuffer.wrap(input).limit(Wire.HEADER_SIZE);
        /** The first ack has come. */
        boolean greeted;
        /** The place in the queue of the frame that is sent next, and what of it the kernel has not yet, or null. */
        int cursor;

        ByteBuffer writing;
        long durable;
        long credit;
        long inFlight;
        /** The sequence of the first frame that was sent, or -1. */
        long begin = -1;
        /** The engine's tried when the connection began. */
        long triedBefore;
        /** The last ack, or when something came to be in flight. */
        long heard;

        long lastSent;
        long beatWait = BEAT_MIN;

        Session(ByteChannel channel, byte[] hello, Seal seal, byte[] random, long tried, long now) {
            this.channel = channel;
            this.hello = ByteBuffer.wrap(hello);
            this.seal = seal;
            this.random = random;
            triedBefore = tried;
            heard = now;
            lastSent = now;
        }

        /** How many bytes a frame of the queue has on this connection. */
        int size(Queue.Slot slot) {
            return slot.frame.length + (seal == null ? 0 : Wire.TAG_SIZE);
        }

        /** A frame of the queue as it goes over this connection. */
        ByteBuffer frame(Queue.Slot slot) {
            if (keys == null) {
                return ByteBuffer.wrap(slot.frame);
            }
            byte[] sealed = Arrays.copyOf(slot.frame, size(slot));
            keys.frame(sealed, slot.frame.length);
            return ByteBuffer.wrap(sealed);
        }
    }

    /** Why a connection ends. */
    private static final class End extends Exception {
        private static final long serialVersionUID = 1;

        enum Why {
            LOST,
            REFUSED,
            /** The collector acknowledged what was never sent. */
            AHEAD,
            /** Another spool answered. */
            SPOOL,
            /** Another key is to seal what follows. */
            REKEYED
        }

        final Why why;
        final transient Answer refusal;

        End(Why why, String message) {
            this(why, message, null);
        }

        End(Why why, String message, Answer refusal) {
            super(message, null, false, false);
            this.why = why;
            this.refusal = refusal;
        }

        static End lost(String message) {
            return new End(Why.LOST, message);
        }

        static End lost(IOException e) {
            return new End(Why.LOST, "the connection was lost: " + e.getMessage());
        }

        static End foreign() {
            return new End(Why.LOST, "it does not answer like a collector; check the address, and the key");
        }
    }

    TcpEngine(TcpOptions options, Dialer<? extends ByteChannel> dialer, Clock clock) {
        this.options = options;
        this.dialer = dialer;
        this.clock = clock;
        flushAge = options.flushAge().toMillis();
        seal = Options.seal(options.key(), options.stream(), options.audience());
        Numbers numbers = new Numbers(options.stream(), Seal.drawSource());
        queue = new Queue(new Packer(options.frameSize()), numbers, options.bufferSize());
        names = new Names(options.frameSize(), Names.SAID_FOR_TCP);
        retryAt = clock.now();
        due = retryAt;
    }

    /** Finishes the frame that is being packed, false where there is no room. */
    private boolean finish() {
        if (!queue.unfinished()) {
            return true;
        }
        overdue = !queue.finish(clock.wall());
        if (overdue) {
            return false;
        }
        finished();
        return true;
    }

    /**
     * Has the names that wait follow in a frame of their own, behind the events. False where there is no room: they are tried
     * again when they are as old again.
     */
    private boolean finishNames() {
        if (names.isEmpty()) {
            return true;
        }
        if (!finish() || !queue.finish(names, clock.wall())) {
            names.began = clock.now();
            return false;
        }
        finished();
        return true;
    }

    private void finished() {
        counts.frames++;
        due = clock.now();
        if (session != null) {
            session.beatWait = BEAT_MIN;
        }
    }

    private void connect(long now) {
        if (session != null || !dialling && now < retryAt) {
            return;
        }
        if (!dialling) {
            dialling = true;
            dialer.start();
        }
        ByteChannel channel;
        try {
            channel = dialer.poll();
        } catch (IOException e) {
            dialling = false;
            lost(End.lost("cannot connect: " + e.getMessage()), now);
            return;
        }
        if (channel == null) {
            return;
        }
        dialling = false;
        long source = queue.numbers.source;
        byte[] random = seal == null ? null : Seal.random();
        byte[] hello = seal == null
                ? Wire.hello(options.stream(), source, clock.wall())
                : seal.hello(source, clock.wall(), random);
        session = new Session(channel, hello, seal, random, tried, now);
        if (connected) {
            counts.renewals++;
        }
        connected = true;
    }

    /** Takes what the collector has said. */
    private void listen(Session s, long now) throws End {
        while (true) {
            try {
                int n = s.channel.read(s.in);
                if (n < 0) {
                    throw End.lost("the collector closed it; it may be full, or about to restart");
                }
                if (s.in.hasRemaining()) {
                    if (n == 0) {
                        return;
                    }
                    continue;
                }
            } catch (IOException e) {
                throw End.lost(e);
            }
            int size = Answer.size(s.input);
            if (size < 0) {
                throw End.foreign();
            }
            if (s.in.limit() < size) {
                s.in.limit(size);
                continue;
            }
            Answer answer = Answer.parse(s.input, size);
            s.in.clear().limit(Wire.HEADER_SIZE);
            if (answer == null) {
                throw End.foreign();
            }
            hear(s, answer, size, now);
        }
    }

    /** Draws the consequences of an answer, if it is the collector's. */
    private void hear(Session s, Answer answer, int size, long now) throws End {
        boolean ack = answer.word() == null;
        if (s.seal == null) {
            if ((s.input[3] & Wire.FLAG_SEALED) != 0) {
                throw End.foreign();
            }
        } else if (s.greeted || ack) {
            if (!s.greeted) {
                if ((s.input[3] & Wire.FLAG_SEALED) == 0) {
                    throw End.foreign();
                }
                byte[] random = Arrays.copyOfRange(s.input, Answer.RANDOM_AT, Answer.RANDOM_AT + Seal.RANDOM_SIZE);
                s.keys = s.seal.session(queue.numbers.source, s.random, random);
            }
            if (!s.keys.proves(s.input, size)) {
                throw End.foreign();
            }
        }
        if (!ack) {
            throw new End(End.Why.REFUSED, refused(answer), answer);
        }
        if (answer.source() != queue.numbers.source) {
            throw End.foreign();
        }
        acknowledge(s, answer, now);
    }

    private static String refused(Answer a) {
        if (a.word() == Refusal.UNEXPECTED) {
            return "the collector does not acknowledge; use one that does, or UDP";
        }
        // Whoever answers chose it, so that it may hold what a terminal obeys.
        String text = a.text().replaceAll("\\p{Cntrl}", "?");
        return "the collector refused: " + a.word().word + (text.isEmpty() ? "" : " \"" + text + "\"");
    }

    private void acknowledge(Session s, Answer ack, long now) throws End {
        if (spool == 0 && ack.spool() != 0 && tried == 0) {
            spool = ack.spool();
        }
        if (spool != ack.spool()) {
            throw new End(End.Why.SPOOL, "another spool answered; a new source goes on");
        }
        if (ack.durable() > tried) {
            throw new End(End.Why.AHEAD, "the collector acknowledged what was never sent; a new source goes on");
        }
        if (!s.greeted) {
            s.greeted = true;
            s.lastSent = now;
            trouble = null;
        }
        s.credit = ack.credit();
        s.heard = now;
        s.durable = Math.max(s.durable, ack.durable());
        if (ack.last()) {
            // What is not durable was not taken: it is as if it had never been sent.
            s.credit = 0;
            // Unless the collector has forgotten what it said of the source before.
            if (ack.durable() >= acked) {
                tried = ack.durable();
                s.triedBefore = Math.min(s.triedBefore, ack.durable());
            }
        }
        acked = Math.max(acked, ack.durable());
        release(s);
    }

    /** Releases the frames that are durable or refused, but for one of which the kernel has a part. */
    private void release(Session s) {
        for (Queue.Slot slot = queue.get(0); slot != null; slot = queue.get(0)) {
            if (s.cursor == 0 && s.writing != null || !slot.refused && slot.sequence >= s.durable) {
                break;
            }
            if (!slot.refused) {
                counts.acked += slot.events;
                counts.buffered -= slot.events;
                if (s.cursor > 0) {
                    s.inFlight -= s.size(slot);
                }
            }
            queue.pop();
            s.cursor = Math.max(0, s.cursor - 1);
            progress = true;
        }
        if (overdue) {
            finish();
        }
    }

    /** Whether credit allows so many bytes more. A single frame may go beyond it, so that a small one does not end all. */
    private static boolean allowed(Session s, int size) {
        if (s.credit == 0) {
            return false;
        }
        return s.inFlight == 0 || Long.compareUnsigned(s.inFlight + size, s.credit) <= 0;
    }

    /** Gives frames to the kernel, as far as credit allows and it takes them. It says whether it would take no more. */
    private boolean send(Session s, long now) throws End {
        for (int sent = 0; sent < STEP_FRAMES; ) {
            Queue.Slot slot = queue.get(s.cursor);
            if (slot == null) {
                break;
            }
            if (slot.refused) {
                s.cursor++;
                continue;
            }
            if (s.writing == null) {
                int size = s.size(slot);
                if (!allowed(s, size)) {
                    break;
                }
                if (s.inFlight == 0) {
                    s.heard = now;
                }
                if (s.begin < 0) {
                    s.begin = slot.sequence;
                }
                s.inFlight += size;
                tried = Math.max(tried, slot.sequence + 1);
                s.writing = s.frame(slot);
            }
            try {
                s.channel.write(s.writing);
            } catch (IOException e) {
                throw End.lost(e);
            }
            if (s.writing.hasRemaining()) {
                return true;
            }
            s.lastSent = now;
            s.writing = null;
            s.cursor++;
            sent++;
            release(s); // what was acknowledged meanwhile
        }
        return false;
    }

    /** Does what is due on a connection, and returns when there is more. */
    private long use(Session s, long now) throws End {
        if (s.hello.hasRemaining()) {
            try {
                s.channel.write(s.hello);
            } catch (IOException e) {
                throw End.lost(e);
            }
            if (s.hello.hasRemaining()) {
                return now + BUSY_POLL;
            }
        }
        listen(s, now);
        if (!s.greeted) {
            if (now - s.heard >= HELLO_WAIT) {
                throw End.lost("it did not answer a hello within 10 s; check the address");
            }
            return now + ANSWER_POLL;
        }
        boolean rekeyed = s.seal != seal;
        if (rekeyed && s.inFlight == 0) {
            progress = true;
            throw new End(End.Why.REKEYED, "another key seals what follows");
        }
        beat(s, now);
        boolean full;
        try {
            // With another key nothing is sent until what is in flight is acknowledged.
            full = (!rekeyed || s.writing != null) && send(s, now);
        } catch (End e) {
            listen(s, now); // the reason may be there
            throw e;
        }
        if (s.inFlight > 0 && now - s.heard >= SILENCE_MAX) {
            throw End.lost("the collector acknowledged nothing for 30 s");
        }
        Queue.Slot next = queue.get(s.cursor);
        if (next != null && full) {
            return now + BUSY_POLL;
        }
        if (next != null && !rekeyed && allowed(s, s.size(next))) {
            return now;
        }
        if (next != null || s.inFlight > 0 || closing) {
            return now + ANSWER_POLL;
        }
        return s.lastSent + s.beatWait;
    }

    private void beat(Session s, long now) {
        boolean idle = s.inFlight == 0 && queue.size() == 0 && !closing;
        if (!idle || now - s.lastSent < s.beatWait) {
            return;
        }
        s.lastSent = now;
        s.beatWait = Math.min(2 * s.beatWait, BEAT_MAX);
        if (queue.packer.count() == 0 && queue.finish(clock.wall())) {
            counts.frames++;
        }
    }

    /** Draws the consequences of the end of a connection, or of an attempt to make one. */
    private void lost(End end, long now) {
        Session s = session;
        session = null;
        boolean again = end.why == End.Why.REKEYED;
        if (s != null) {
            close(s.channel);
            // What the kernel had a part of is sent again as a whole.
            s.writing = null;
            again |= judge(s, end);
        }
        trouble = end.getMessage();
        boolean moved = progress;
        progress = false;
        retryAt = now;
        if (moved) {
            failures = 0;
            if (again) {
                return; // the next connection is made at once
            }
        }
        long most = Math.min(BACKOFF_MIN << Math.min(failures, 10), BACKOFF_MAX);
        // Drawn, so that many clients of one collector do not come back at once.
        retryAt = now + most / 2 + ThreadLocalRandom.current().nextLong(most / 2) + 1;
        failures++;
    }

    private static void close(ByteChannel channel) {
        try {
            channel.close();
        } catch (IOException e) {
            // Nothing is left to be done with it.
        }
    }

    /** Whether a new source begins for it. */
    private boolean judge(Session s, End end) {
        if (end.why == End.Why.AHEAD || end.why == End.Why.SPOOL) {
            // What was never sent was not counted under these numbers, and the spool before may have stored all that was.
            return endSource(tried);
        }
        Answer a = end.refusal;
        if (a != null && a.word() == Refusal.TYPE) {
            giveUpNames(s);
        }
        if (a == null || a.source() != queue.numbers.source || s.begin < 0 || a.word().ofTheMoment()) {
            return false;
        }
        if (a.word() == Refusal.FORGOTTEN) {
            // Of this connection the collector has taken no frame.
            return s.begin > 0 && endSource(s.triedBefore);
        }
        if (a.word() == Refusal.POSITION && a.sequence() > 0) {
            // Somebody else numbers under this source. The frame itself was not taken, nor was any behind it on this
            // connection.
            return endSource(Math.max(s.triedBefore, a.sequence()));
        }
        refuse(s, a.sequence());
        return false;
    }

    /** Leaves a frame out that the collector refused. */
    private void refuse(Session s, long sequence) {
        for (int i = 0; i <= s.cursor; i++) {
            Queue.Slot slot = queue.get(i);
            if (slot != null && slot.sequence == sequence && !slot.refused) {
                slot.refused = true;
                counts.refused += slot.events;
                counts.buffered -= slot.events;
                progress = true;
                release(s);
                return;
            }
        }
    }

    /**
     * Is for a collector that does not know names, and cannot say which frame that was: those that wait or are kept are not
     * sent to it, nor are others.
     */
    private void giveUpNames(Session s) {
        for (int i = 0; i < queue.size(); i++) {
            Queue.Slot slot = queue.get(i);
            if (slot.isNames() && !slot.refused) {
                slot.refused = true;
                nameless = true;
                progress = true;
            }
        }
        if (nameless) {
            names.clear();
        }
        release(s);
    }

    /**
     * Begins a new source. The frames below unsure may have been counted: they are given up. The others become the first of
     * the new source.
     */
    private boolean endSource(long unsure) {
        // Whoever answers so to a source that has sent nothing will do it again: then this is no progress, and the next
        // connection waits.
        progress |= tried > 0;
        while (queue.size() > 0 && queue.get(0).sequence < unsure) {
            Queue.Slot slot = queue.pop();
            if (!slot.refused) {
                counts.unsure += slot.events;
                counts.buffered -= slot.events;
            }
        }
        renewSource();
        if (overdue) {
            finish();
        }
        return true;
    }

    private void renewSource() {
        queue.renew(Seal.drawSource());
        tried = 0;
        acked = 0;
        spool = 0;
    }

    /** Ends what has come to its end: the closing, or a source with too high numbers. */
    private void settle(long now) {
        if (closing && queue.size() == 0) {
            finishNames();
        }
        if (queue.size() == 0) {
            if (Math.max(queue.numbers.position, queue.numbers.sequence) >= RENUMBER_AFTER) {
                renewSource();
                if (session != null) {
                    close(session.channel);
                    session = null;
                }
                retryAt = now;
            }
            over |= closing && !queue.unfinished();
        }
        over |= closing && now - patience >= 0;
        if (over) {
            counts.closed += counts.buffered;
            counts.buffered = 0;
            if (session != null) {
                close(session.channel);
                session = null;
            }
        }
    }

    private void schedule(long link) {
        due = link;
        if (queue.packer.count() > 0 && !overdue) {
            due = Math.min(due, began + flushAge);
        }
        if (!names.isEmpty()) {
            due = Math.min(due, names.began + flushAge);
        }
        if (closing) {
            due = Math.min(due, patience);
        }
        if (over) {
            due = Long.MAX_VALUE;
        }
    }

    @Override
    public boolean add(int kind, long content, long user, long time, int dwell, int progress) {
        counts.added++;
        if (closing) {
            counts.closed++;
            return false;
        }
        Packer packer = queue.packer;
        if (!packer.add(kind, content, user, time, dwell, progress)
                && !(finish() && packer.add(kind, content, user, time, dwell, progress))) {
            queue.skip();
            overdue = true;
            counts.queue++;
            return true;
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
        long now = clock.now();
        while (!nameless && !names.add(content, attribute, text, now)) {
            if (!finishNames()) {
                break;
            }
        }
        if (!names.isEmpty()) {
            due = Math.min(due, names.began + flushAge);
        }
        return true;
    }

    @Override
    public void flush() {
        finish();
        finishNames();
    }

    @Override
    public void step() {
        if (over) {
            return;
        }
        long now = clock.now();
        if (queue.unfinished() && (overdue || now - began >= flushAge)) {
            finish();
        }
        if (!names.isEmpty() && now - names.began >= flushAge) {
            finishNames();
        }
        connect(now);
        long next = dialling ? now + ANSWER_POLL : retryAt;
        if (session != null) {
            try {
                next = use(session, now);
            } catch (End end) {
                lost(end, now);
                next = now;
            }
        }
        settle(now);
        schedule(next);
    }

    @Override
    public long due() {
        return due;
    }

    @Override
    public void close(long millis) {
        if (!closing) {
            flush();
            closing = true;
            due = clock.now();
            patience = due + millis;
        }
    }

    @Override
    public boolean closed() {
        return over;
    }

    @Override
    public Stats stats() {
        return counts.stats();
    }

    @Override
    public long source() {
        return queue.numbers.source;
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
        if (!seal.key.equals(key)) {
            seal = seal.with(key);
            due = clock.now();
        }
    }

    @Override
    public Clock clock() {
        return clock;
    }
}
