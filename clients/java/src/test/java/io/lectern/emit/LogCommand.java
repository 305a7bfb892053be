package io.lectern.emit;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Locale;

/** Sends the events on its standard input: one a line, parted by tabs, of milliseconds, kind, content and reader. */
final class LogCommand {
    private LogCommand() {}

    static String line(Stats s) {
        return "ok added=" + s.added() + " sent=" + s.sent() + " acked=" + s.acked() + " buffered=" + s.buffered() + " queue="
                + s.queue() + " socket=" + s.socket() + " closed=" + s.closed() + " refused=" + s.refused() + " unsure="
                + s.unsure();
    }

    /** Says what a content is called, and what every client's log says of it. */
    private static void named(Emitter emitter, String content) {
        long id = Emitter.id(content);
        emitter.name(content);
        emitter.describe(id, Attribute.TITLE, "Title of " + content);
        emitter.describe(id, Attribute.SECTION, "Log");
        emitter.describe(id, Attribute.AUTHOR, "A. Writer");
        emitter.describe(id, Attribute.PUBLISHED, 1_767_225_600_000L);
        emitter.describe(id, Attribute.WORDS, 1200);
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        boolean udp = args[0].equals("udp");
        int colon = args[1].lastIndexOf(':');
        String host = args[1].substring(0, colon);
        int port = Integer.parseInt(args[1].substring(colon + 1));
        int stream = Integer.parseInt(args[2]);
        Emitter emitter =
                udp ? Emitter.udp(host, port, UdpOptions.of(stream)) : Emitter.tcp(host, port, TcpOptions.of(stream));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        int n = 0;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] f = line.split("\t");
            Kind kind = Kind.valueOf(f[1].toUpperCase(Locale.ROOT));
            long time = Long.parseLong(f[0]);
            emitter.add(new Event(kind, Emitter.id(f[2]), Emitter.id(f[3]), time, 0, Event.UNKNOWN));
            named(emitter, f[2]);
            if (udp && ++n % 200 == 0) {
                Thread.sleep(1);
            }
        }
        System.out.println(line(emitter.close(Duration.ofMinutes(1))));
    }
}
