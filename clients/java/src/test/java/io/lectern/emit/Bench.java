package io.lectern.emit;

import com.timgroup.statsd.NonBlockingStatsDClientBuilder;
import com.timgroup.statsd.StatsDClient;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.channels.DatagramChannel;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;

/**
 * Events a second of CPU time of the whole process, all threads, into datagrams, beside a plain statsd client that does the
 * same job over the same socket.
 */
final class Bench {
    private static final int EVENTS = 1_000_000;

    private Bench() {}

    /** A million events of many readers of few contents, with dwell and progress. */
    private static List<Event> events() {
        List<Event> list = new ArrayList<>(EVENTS);
        long x = 1;
        for (int i = 0; i < EVENTS; i++) {
            x = x * 6_364_136_223_846_793_005L + 1;
            list.add(new Event(Kind.READ, x >>> 52, x >>> 20 & 0xF_FFFF, 1_767_225_600_000L + i / 100, 10_000, i % 101));
        }
        return list;
    }

    private static double cpu() {
        return ProcessHandle.current().info().totalCpuDuration().orElseThrow().toNanos() / 1e9;
    }

    /** Does the job so many times at once, since CPU time is known to 10 ms. */
    private static void measure(String name, int rounds, Runnable job) {
        for (int i = 0; i < rounds; i++) {
            job.run(); // until it is compiled
        }
        double best = Double.MAX_VALUE;
        for (int i = 0; i < 3; i++) {
            double before = cpu();
            for (int j = 0; j < rounds; j++) {
                job.run();
            }
            best = Math.min(best, cpu() - before);
        }
        System.out.printf("%s %.0f%n", name, rounds * (EVENTS / best));
    }

    public static void main(String[] args) throws IOException {
        // A socket that nobody reads: what it has no room for is thrown away by the kernel.
        DatagramChannel sink = DatagramChannel.open().bind(new InetSocketAddress("127.0.0.1", 0));
        int port = ((InetSocketAddress) sink.getLocalAddress()).getPort();
        List<Event> events = events();

        Packer packer = new Packer(1400);
        Numbers numbers = new Numbers(7, 1);
        measure("lectern-packer", 10, () -> {
            for (Event e : events) {
                int kind = e.kind().ordinal();
                if (!packer.add(kind, e.content(), e.user(), e.time(), e.dwell(), e.progress())) {
                    packer.finish(numbers);
                    packer.add(kind, e.content(), e.user(), e.time(), e.dwell(), e.progress());
                }
            }
        });
        try (Emitter emitter = Emitter.udp("127.0.0.1", port, UdpOptions.of(7))) {
            measure("lectern-add-all", 10, () -> {
                for (int i = 0; i < EVENTS; i += 1000) {
                    emitter.addAll(events.subList(i, i + 1000));
                }
            });
            measure("lectern-add", 10, () -> events.forEach(emitter::add));
        }
        Key key = Key.parse("1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        try (Emitter emitter = Emitter.udp("127.0.0.1", port, UdpOptions.of(7).sealed(key, "bench"))) {
            measure("lectern-add-sealed", 10, () -> events.forEach(emitter::add));
        }
        try (StatsDClient client = new NonBlockingStatsDClientBuilder()
                .prefix("reads")
                .hostname("127.0.0.1")
                .port(port)
                .maxPacketSizeBytes(1400)
                .queueSize(1 << 16)
                .enableTelemetry(false)
                .enableAggregation(false)
                .build()) {
            measure("dogstatsd-count-with-tags", 2, () -> {
                int n = 0;
                for (Event e : events) {
                    client.count("read", 1, "content:" + e.content(), "user:" + e.user());
                    pace(++n);
                }
            });
            measure("dogstatsd-count", 2, () -> {
                for (int n = 1; n <= EVENTS; n++) {
                    client.count("read", 1);
                    pace(n);
                }
            });
        }
    }

    /** A pause for the client's own threads: its queue is bounded, and what it drops it has not sent. */
    private static void pace(int n) {
        if (n % 20_000 == 0) {
            LockSupport.parkNanos(Duration.ofMillis(30).toNanos());
        }
    }
}
