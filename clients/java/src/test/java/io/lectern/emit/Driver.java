package io.lectern.emit;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Map;

/** The driver for {@code lectern conform}: wire/SPEC.md, section 14. */
final class Driver implements Clock {
    private final Map<String, String> names = new HashMap<>();
    private long time = 1_767_225_600_000L;
    private long jam;
    private Engine engine;

    @Override
    public long wall() {
        return time;
    }

    @Override
    public long now() {
        return time;
    }

    /** Makes a socket as soon as it is asked for: on the loopback interface that takes no time. */
    private <S> Dialer<S> dialer(String address, Sockets.Maker<S> maker) {
        return new Dialer<>() {
            @Override
            public void start() {}

            @Override
            public S poll() throws IOException {
                int colon = address.lastIndexOf(':');
                String host = address.substring(0, colon);
                String to = names.getOrDefault(host, host);
                if (to.endsWith(".test")) {
                    throw new IOException("no such name: " + to);
                }
                int port = Integer.parseInt(address.substring(colon + 1));
                return maker.make(new InetSocketAddress(InetAddress.getByName(to), port));
            }
        };
    }

    /** A socket that the kernel takes nothing from while it is jammed. */
    private WritableByteChannel jammed(InetSocketAddress to) throws IOException {
        WritableByteChannel socket = Sockets.udp(to);
        return new WritableByteChannel() {
            @Override
            public int write(ByteBuffer b) throws IOException {
                if (jam > 0) {
                    jam--;
                    return 0;
                }
                return socket.write(b);
            }

            @Override
            public boolean isOpen() {
                return socket.isOpen();
            }

            @Override
            public void close() throws IOException {
                socket.close();
            }
        };
    }

    /** Lets the emitter do all that needs no time. */
    private void quiet() {
        if (engine == null) {
            return;
        }
        engine.step();
        for (int i = 0; i < 100_000 && !engine.closed() && engine.due() <= time; i++) {
            engine.step();
        }
    }

    private String dial(String[] words) throws IOException {
        String address = words[2];
        int stream = 0;
        Duration flush = null;
        Duration age = null;
        int datagram = 0;
        int frame = 0;
        int buffer = 0;
        Key key = null;
        String audience = null;
        try {
            for (int i = 3; i < words.length; i++) {
                String[] pair = words[i].split("=", 2);
                switch (pair[0]) {
                    case "stream" -> stream = Integer.parseInt(pair[1]);
                    case "flush" -> flush = Duration.ofMillis(Long.parseLong(pair[1]));
                    case "age" -> age = Duration.ofMillis(Long.parseLong(pair[1]));
                    case "datagram" -> datagram = Integer.parseInt(pair[1]);
                    case "frame" -> frame = Integer.parseInt(pair[1]);
                    case "buffer" -> buffer = Integer.parseInt(pair[1]);
                    case "key" -> key = Key.parse(pair[1]);
                    case "audience" -> audience = pair[1];
                    default -> {
                        return "error unknown option " + pair[0];
                    }
                }
            }
            if (words[1].equals("udp")) {
                UdpOptions o = UdpOptions.of(stream);
                o = new UdpOptions(
                        stream,
                        flush == null ? o.flushAge() : flush,
                        datagram == 0 ? o.datagramSize() : datagram,
                        age == null ? o.socketAge() : age,
                        key,
                        audience);
                Dialer<WritableByteChannel> dialer = dialer(address, this::jammed);
                engine = new UdpEngine(o, dialer.poll(), dialer, this);
            } else {
                TcpOptions o = TcpOptions.of(stream);
                o = new TcpOptions(
                        stream,
                        flush == null ? o.flushAge() : flush,
                        frame == 0 ? o.frameSize() : frame,
                        buffer == 0 ? o.bufferSize() : buffer,
                        key,
                        audience);
                engine = new TcpEngine(o, dialer(address, Sockets::tcp), this);
            }
        } catch (IllegalArgumentException e) {
            return "no invalid";
        }
        return "ok";
    }

    private String add(String[] words) {
        long at = 0;
        int dwell = 0;
        int progress = Event.UNKNOWN;
        long n = 1;
        for (int i = 4; i < words.length; i++) {
            String[] pair = words[i].split("=", 2);
            long value = Long.parseLong(pair[1]);
            switch (pair[0]) {
                case "at" -> at = value;
                case "dwell" -> dwell = (int) Math.min(value, Integer.MAX_VALUE);
                case "progress" -> progress = (int) Math.min(value, 1000);
                case "n" -> n = value;
                default -> {
                    return "error unknown option " + pair[0];
                }
            }
        }
        Event event;
        try {
            Kind kind = Kind.valueOf(words[1].toUpperCase(java.util.Locale.ROOT));
            long content = Long.parseUnsignedLong(words[2]);
            event = new Event(kind, content, Long.parseUnsignedLong(words[3]), at, dwell, progress);
        } catch (IllegalArgumentException e) {
            return "no invalid";
        }
        if (engine == null) {
            return "no closed";
        }
        int kind = event.kind().ordinal();
        for (long i = 0; i < n; i++) {
            if (!engine.add(kind, event.content(), event.user() + i, at == 0 ? time : at, dwell, progress)) {
                return "no closed";
            }
        }
        return "ok";
    }

    private String say(long content, int attribute, byte[] text) {
        try {
            // Of what is no UTF-8 there is no String that an Emitter could be given.
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(text));
            return engine != null && engine.say(content, attribute, text) ? "ok" : "no closed";
        } catch (CharacterCodingException | IllegalArgumentException e) {
            return "no invalid";
        }
    }

    private String stats() {
        Stats s = engine == null ? new Counts().stats() : engine.stats();
        return LogCommand.line(s);
    }

    private String answer(String[] words) throws IOException {
        boolean closed = engine == null || engine.closed();
        switch (words[0]) {
            case "hello" -> {
                return "ok client=java/0.1.0 has=udp,tcp,sealed,resolve,jam,names,attributes";
            }
            case "resolve" -> names.put(words[1], words[2]);
            case "dial" -> {
                return dial(words);
            }
            case "add" -> {
                return add(words);
            }
            case "name" -> {
                byte[] text = HexFormat.of().parseHex(words.length > 1 ? words[1] : "");
                return say(XxHash64.hash(text), 0, text);
            }
            case "describe" -> {
                int attribute = Attribute.valueOf(words[2].toUpperCase(Locale.ROOT)).ordinal() + 1;
                byte[] text = HexFormat.of().parseHex(words.length > 3 ? words[3] : "");
                return say(Long.parseUnsignedLong(words[1]), attribute, text);
            }
            case "flush" -> {
                if (closed) {
                    return "no closed";
                }
                engine.flush();
            }
            case "poll" -> {}
            case "clock" -> {
                time += Long.parseLong(words[1]);
                quiet();
                return engine != null && engine.closed() ? "ok closed" : "ok";
            }
            case "stats" -> {
                return stats();
            }
            case "close" -> {
                if (closed) {
                    return "no closed";
                }
                engine.close(Long.parseLong(words[1]));
                quiet();
                return engine.closed() ? "ok closed" : "ok closing";
            }
            case "key" -> {
                if (closed) {
                    return "no closed";
                }
                engine.key(Key.parse(words[1]));
            }
            case "jam" -> jam = Long.parseLong(words[1]);
            case "hash" -> {
                byte[] b = HexFormat.of().parseHex(words.length > 1 ? words[1] : "");
                return "ok id=" + Long.toUnsignedString(XxHash64.hash(b));
            }
            default -> {
                return "error unknown command: " + words[0];
            }
        }
        return "ok";
    }

    public static void main(String[] args) throws IOException {
        Driver driver = new Driver();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            if (line.startsWith("#")) {
                continue;
            }
            // What came before the command is read before it, and what it makes due is done.
            driver.quiet();
            String answer;
            try {
                answer = driver.answer(line.split(" "));
            } catch (IOException | RuntimeException e) {
                answer = "error " + e;
            }
            driver.quiet();
            System.out.println(answer);
        }
    }
}
