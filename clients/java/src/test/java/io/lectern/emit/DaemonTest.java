package io.lectern.emit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.InputStream;
import java.net.ServerSocket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Against the real daemon, which LECTERN_TEST_BIN names: it is killed and comes again, and every event is counted once. */
class DaemonTest {
    @TempDir
    Path dir;

    private int port;
    private int ops;
    private Process daemon;

    @BeforeEach
    void start() throws IOException {
        assumeTrue(System.getenv("LECTERN_TEST_BIN") != null, "NOT RUN: LECTERN_TEST_BIN names no daemon");
        port = free();
        ops = free();
        spawn();
        until("it is ready", () -> !get("/readyz").isEmpty());
    }

    @AfterEach
    void kill() throws InterruptedException {
        if (daemon != null) {
            daemon.destroyForcibly().waitFor();
        }
    }

    private static int free() throws IOException {
        try (ServerSocket socket = new ServerSocket(0)) {
            return socket.getLocalPort();
        }
    }

    private ProcessBuilder command(String... words) {
        List<String> all = new ArrayList<>(List.of(System.getenv("LECTERN_TEST_BIN")));
        all.addAll(List.of(words));
        ProcessBuilder b = new ProcessBuilder(all).directory(dir.toFile());
        b.environment().keySet().removeIf(name -> name.startsWith("LECTERN_TEST_"));
        b.environment().put("LECTERN_LISTEN_ADDRESS", "127.0.0.1:" + port);
        b.environment().put("LECTERN_OPS_ADDRESS", "127.0.0.1:" + ops);
        return b;
    }

    private void spawn() throws IOException {
        daemon = command("serve")
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(dir.resolve("log").toFile()))
                .start();
    }

    /** What the daemon answers over HTTP, nothing while it does not. */
    private String get(String path) {
        try (InputStream in = URI.create("http://127.0.0.1:" + ops + path).toURL().openStream()) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            return "";
        }
    }

    private static void until(String what, BooleanSupplier so) {
        for (int i = 0; i < 3000; i++) {
            if (so.getAsBoolean()) {
                return;
            }
            pause(10);
        }
        throw new AssertionError("not within half a minute: " + what);
    }

    private static void pause(long millis) {
        try {
            TimeUnit.MILLISECONDS.sleep(millis);
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    /** Ends the daemon as it should be, and returns its books. */
    private String books() throws IOException, InterruptedException {
        new ProcessBuilder("kill", "-INT", Long.toString(daemon.pid())).start().waitFor();
        assertEquals(0, daemon.waitFor());
        Process books = command("books", "--json").start();
        String said = new String(books.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, books.waitFor());
        return said;
    }

    private static long number(String books, String key) {
        Matcher m = Pattern.compile("\"" + key + "\":(\\d+)").matcher(books);
        assertTrue(m.find(), books);
        return Long.parseLong(m.group(1));
    }

    @Test
    void tcpSurvivesADaemonThatIsKilled() throws IOException, InterruptedException {
        TcpOptions options = TcpOptions.of(3).withFlushAge(Duration.ofMillis(10)).withFrameSize(1000);
        Emitter emitter = Emitter.tcp("127.0.0.1", port, options);
        long added = 0;
        for (int round = 1; round <= 4; round++) {
            long before = emitter.stats().acked();
            for (int i = 0; i < 25_000; i++) {
                emitter.open(added % 7, ++added);
            }
            until("some are acknowledged", () -> emitter.stats().acked() > before);
            if (round < 4) {
                emitter.open(1, ++added); // is in flight
                pause(50);
                kill();
                spawn();
            }
        }
        Stats stats = emitter.close(Duration.ofMinutes(1));
        assertEquals(List.of(added, added), List.of(stats.added(), stats.acked()), stats.toString());
        assertTrue(stats.renewals() >= 3, stats.toString());
        String books = books();
        assertEquals(List.of(added, 0L), List.of(number(books, "accepted"), number(books, "lost")), books);
        assertTrue(books.endsWith("\"adds_up\":true}\n"), books);
    }

    @Test
    void udpIsCounted() throws IOException, InterruptedException {
        // An interrupt of the caller's does not close the socket.
        Thread.currentThread().interrupt();
        Stats stats;
        try (Emitter emitter = Emitter.udp("localhost", port, UdpOptions.of(3))) {
            for (int user = 0; user < 1000; user++) {
                assertTrue(emitter.open("/a", Integer.toString(user)));
            }
            emitter.flush();
            stats = emitter.close(Duration.ofSeconds(1));
        }
        assertTrue(Thread.interrupted());
        assertEquals(List.of(1000L, 1000L), List.of(stats.added(), stats.sent()), stats.toString());
        String accepted = "lectern_events_accepted_total(\\{[^}]*\\})? 1000\n";
        until("all is accepted", () -> Pattern.compile(accepted).matcher(get("/metrics")).find());
        String books = books();
        assertEquals(1000, number(books, "accepted"), books);
    }
}
