package io.lectern.emit;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Sends read events to a Lectern collector, over UDP or over acknowledged TCP. All its methods may be called from any number
 * of threads at once, platform or virtual ones; none but {@code close} waits for the network.
 *
 * <pre>{@code
 * try (Emitter emitter = Emitter.udp("127.0.0.1", 8420, UdpOptions.of(1))) {
 *     emitter.open("/articles/42", "reader-9");
 *     emitter.read("/articles/42", "reader-9", 10_000);
 *     emitter.finish("/articles/42", "reader-9", 18_500);
 * }
 * }</pre>
 */
public final class Emitter implements AutoCloseable {
    /** How long {@link #close()} may take. */
    public static final Duration PATIENCE = Duration.ofSeconds(5);

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition wake = lock.newCondition();
    private final Condition ended = lock.newCondition();
    private final Engine engine;
    private final Clock clock;
    /** Until when the thread waits; Long.MIN_VALUE while it does not. */
    private long sleepsUntil = Long.MIN_VALUE;

    /** The thread has ended. */
    private boolean over;

    private Emitter(Engine engine) {
        this.engine = engine;
        clock = engine.clock();
        Thread thread = new Thread(this::run, "lectern-emit");
        thread.setDaemon(true);
        thread.start();
    }

    /**
     * Opens an emitter over UDP. Nothing waits for the collector and nothing is resent; what is lost shows in its books. It
     * resolves the name before it returns.
     *
     * @param host the collector's name or address
     * @param port its port
     * @param options what else there is to choose
     * @return the emitter
     * @throws IOException if the name cannot be resolved, or the system has no socket; that nobody listens is no reason: see
     *     {@link #trouble}
     */
    public static Emitter udp(String host, int port, UdpOptions options) throws IOException {
        return new Emitter(new UdpEngine(
                options,
                Sockets.first(host, port, Sockets::udp),
                Sockets.inBackground(host, port, Sockets::udp),
                Clock.SYSTEM));
    }

    /**
     * Opens an emitter over acknowledged TCP. It keeps every event until the collector has made it durable, and sends it
     * again, over new connections, until then. It connects in the background, and tries for as long as it takes: see {@link
     * #trouble}.
     *
     * @param host the collector's name or address
     * @param port its port
     * @param options what else there is to choose
     * @return the emitter
     */
    public static Emitter tcp(String host, int port, TcpOptions options) {
        return new Emitter(new TcpEngine(options, Sockets.inBackground(host, port, Sockets::tcp), Clock.SYSTEM));
    }

    /**
     * The id of content or of a reader that has a text (a slug, a path, a UUID) and no number: the XXH64 of its UTF-8 with
     * seed 0, which ClickHouse's xxHash64 gives, too.
     *
     * @param text the text
     * @return its id, of which all 64 bits count
     */
    public static long id(String text) {
        return XxHash64.hash(text.getBytes(StandardCharsets.UTF_8));
    }

    /**
     * Takes one event. It never waits for the network, and never fails for what that does: what there is no room for is
     * dropped, numbered and counted.
     *
     * @param event the event
     * @return false if the emitter is closed
     */
    public boolean add(Event event) {
        lock.lock();
        try {
            return take(event);
        } finally {
            woken();
            lock.unlock();
        }
    }

    /**
     * Takes many events at once, for less than one by one.
     *
     * @param events the events
     * @return false if the emitter is closed
     */
    public boolean addAll(List<Event> events) {
        lock.lock();
        try {
            boolean taken = true;
            for (Event event : events) {
                taken &= take(event);
            }
            return taken;
        } finally {
            woken();
            lock.unlock();
        }
    }

    private boolean take(Event e) {
        long time = e.time() == 0 ? clock.wall() : e.time();
        return engine.add(e.kind().ordinal(), e.content(), e.user(), time, e.dwell(), e.progress());
    }

    private boolean add(Kind kind, long content, long user, int dwell) {
        Event.check(0, dwell, Event.UNKNOWN);
        lock.lock();
        try {
            return engine.add(kind.ordinal(), content, user, clock.wall(), dwell, Event.UNKNOWN);
        } finally {
            woken();
            lock.unlock();
        }
    }

    /**
     * The reader opened the content.
     *
     * @param content the id of the content
     * @param user the id of the reader
     * @return false if the emitter is closed
     */
    public boolean open(long content, long user) {
        return add(Kind.OPEN, content, user, 0);
    }

    /**
     * The reader opened the content.
     *
     * @param content the text of the content
     * @param user the text of the reader
     * @return false if the emitter is closed
     */
    public boolean open(String content, String user) {
        return open(id(content), id(user));
    }

    /**
     * The reader kept reading.
     *
     * @param content the id of the content
     * @param user the id of the reader
     * @param dwell milliseconds since the event before
     * @return false if the emitter is closed
     */
    public boolean read(long content, long user, int dwell) {
        return add(Kind.READ, content, user, dwell);
    }

    /**
     * The reader kept reading.
     *
     * @param content the text of the content
     * @param user the text of the reader
     * @param dwell milliseconds since the event before
     * @return false if the emitter is closed
     */
    public boolean read(String content, String user, int dwell) {
        return read(id(content), id(user), dwell);
    }

    /**
     * The reader reached the end.
     *
     * @param content the id of the content
     * @param user the id of the reader
     * @param dwell milliseconds since the event before
     * @return false if the emitter is closed
     */
    public boolean finish(long content, long user, int dwell) {
        return add(Kind.FINISH, content, user, dwell);
    }

    /**
     * The reader reached the end.
     *
     * @param content the text of the content
     * @param user the text of the reader
     * @param dwell milliseconds since the event before
     * @return false if the emitter is closed
     */
    public boolean finish(String content, String user, int dwell) {
        return finish(id(content), id(user), dwell);
    }

    /**
     * The reader kept it for later.
     *
     * @param content the id of the content
     * @param user the id of the reader
     * @return false if the emitter is closed
     */
    public boolean save(long content, long user) {
        return add(Kind.SAVE, content, user, 0);
    }

    /**
     * The reader kept it for later.
     *
     * @param content the text of the content
     * @param user the text of the reader
     * @return false if the emitter is closed
     */
    public boolean save(String content, String user) {
        return save(id(content), id(user));
    }

    /**
     * The reader passed it on.
     *
     * @param content the id of the content
     * @param user the id of the reader
     * @return false if the emitter is closed
     */
    public boolean share(long content, long user) {
        return add(Kind.SHARE, content, user, 0);
    }

    /**
     * The reader passed it on.
     *
     * @param content the text of the content
     * @param user the text of the reader
     * @return false if the emitter is closed
     */
    public boolean share(String content, String user) {
        return share(id(content), id(user));
    }

    /**
     * A variant of the content's headline was shown.
     *
     * @param content the id of the content
     * @param user the id of the reader, 0 for nobody in particular
     * @param variant 1 to 255; 1 where nothing is tried
     * @return false if the emitter is closed
     */
    public boolean impression(long content, long user, int variant) {
        return add(new Event(Kind.IMPRESSION, content, user, 0, variant, Event.UNKNOWN));
    }

    /**
     * A variant of the content's headline was followed.
     *
     * @param content the id of the content
     * @param user the id of the reader, 0 for nobody in particular
     * @param variant 1 to 255; 1 where nothing is tried
     * @return false if the emitter is closed
     */
    public boolean click(long content, long user, int variant) {
        return add(new Event(Kind.CLICK, content, user, 0, variant, Event.UNKNOWN));
    }

    /**
     * Says what a content is called: the text of which its id is the hash ({@link #id}), so that people read it where the id
     * would stand. Call it with every event of the content, or once: it is sent once a day, over UDP, where nobody answers,
     * once an hour. It never waits: what there is no room for is said with the next call.
     *
     * @param text the text of the content, 1 to 512 bytes in UTF-8
     * @return false if the emitter is closed
     * @throws IllegalArgumentException if it is shorter or longer
     */
    public boolean name(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        lock.lock();
        try {
            return engine.name(bytes);
        } finally {
            woken();
            lock.unlock();
        }
    }

    /**
     * Says more of a content. It is sent when it changes, and as often as a name; of each attribute the last text counts.
     *
     * @param content the content's number, or {@link #id} of its text
     * @param text up to 512 bytes in UTF-8, of PUBLISHED and WORDS a decimal number; an empty one takes back what was said
     * @return false if the emitter is closed
     * @throws IllegalArgumentException if it is longer, or no number of 0 to 2^48 - 1
     */
    public boolean describe(long content, Attribute attribute, String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        lock.lock();
        try {
            return engine.say(content, attribute.ordinal() + 1, bytes);
        } finally {
            woken();
            lock.unlock();
        }
    }

    /** Says of a content a number, such as when it was published: see the other describe. */
    public boolean describe(long content, Attribute attribute, long number) {
        return describe(content, attribute, Long.toString(number));
    }

    /** Has the events sent that wait for others. It waits for nothing. */
    public void flush() {
        lock.lock();
        try {
            engine.flush();
        } finally {
            woken();
            lock.unlock();
        }
    }

    /**
     * What became of the events so far.
     *
     * @return the numbers
     */
    public Stats stats() {
        lock.lock();
        try {
            return engine.stats();
        } finally {
            lock.unlock();
        }
    }

    /**
     * The number under which the collector knows this emitter now. It changes when a new source begins.
     *
     * @return the number, of which all 64 bits count
     */
    public long source() {
        lock.lock();
        try {
            return engine.source();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Why nothing can be sent at the moment. It needs no action: trying goes on.
     *
     * @return a text for people, or null
     */
    public String trouble() {
        lock.lock();
        try {
            return engine.trouble();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Has what follows sealed with another key, in place of the one that the options gave.
     *
     * @param key what the new key file holds
     * @throws IllegalStateException if the options had none
     */
    public void key(Key key) {
        lock.lock();
        try {
            engine.key(key);
        } finally {
            woken();
            lock.unlock();
        }
    }

    /** Closes as {@code close(PATIENCE)} does. */
    @Override
    public void close() {
        close(PATIENCE);
    }

    /**
     * Sends what waits and ends the emitter: over UDP with the final beats, which take 40 ms, over TCP when all is
     * acknowledged. Calling it again waits for the same end.
     *
     * @param patience after which it gives up; what it then gave up is in {@link Stats#closed}
     * @return what became of all events
     */
    public Stats close(Duration patience) {
        lock.lock();
        try {
            engine.close(Math.min(patience.toMillis(), TimeUnit.DAYS.toMillis(365)));
            woken();
            while (!over) {
                ended.awaitUninterruptibly();
            }
            return engine.stats();
        } finally {
            lock.unlock();
        }
    }

    /** Wakes the thread, if the engine is due earlier than it thinks. */
    private void woken() {
        if (engine.due() < sleepsUntil) {
            sleepsUntil = Long.MIN_VALUE;
            wake.signal();
        }
    }

    /** Calls the engine when it is due, until it is closed. */
    private void run() {
        lock.lock();
        try {
            for (engine.step(); !engine.closed(); engine.step()) {
                long wait = engine.due() - clock.now();
                if (wait <= 0) {
                    // Whoever adds events has its turn.
                    lock.unlock();
                    Thread.yield();
                    lock.lock();
                    continue;
                }
                sleepsUntil = engine.due();
                sleep(wait);
                sleepsUntil = Long.MIN_VALUE;
            }
        } finally {
            over = true;
            ended.signalAll();
            lock.unlock();
        }
    }

    private void sleep(long millis) {
        try {
            wake.await(millis, TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            // Nobody has this thread to interrupt it; if somebody does, it is only early.
        }
    }
}
