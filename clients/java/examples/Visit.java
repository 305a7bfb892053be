import io.lectern.emit.Emitter;
import io.lectern.emit.Event;
import io.lectern.emit.Kind;
import io.lectern.emit.TcpOptions;
import io.lectern.emit.UdpOptions;
import java.io.IOException;
import java.time.Duration;

/** A reader's visit, over UDP and then over TCP, to a daemon on 127.0.0.1:8420. */
public class Visit {
    public static void main(String[] args) throws IOException {
        try (Emitter emitter = Emitter.udp("127.0.0.1", 8420, UdpOptions.of(1))) {
            emitter.open("/articles/42", "reader-9");
            emitter.read("/articles/42", "reader-9", 10_000);
            emitter.finish("/articles/42", "reader-9", 18_500);
            System.out.println("udp: " + emitter.close(Duration.ofSeconds(5)));
        }
        try (Emitter emitter = Emitter.tcp("127.0.0.1", 8420, TcpOptions.of(1))) {
            long content = Emitter.id("/articles/42");
            emitter.add(new Event(Kind.READ, content, Emitter.id("reader-9"), System.currentTimeMillis(), 10_000, 75));
            emitter.share("/articles/42", "reader-9");
            System.out.println("tcp: " + emitter.close(Duration.ofSeconds(5)));
        }
    }
}
