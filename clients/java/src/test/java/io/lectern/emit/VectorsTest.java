package io.lectern.emit;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** The vectors of wire/testdata, from an emitter's side. */
class VectorsTest {
    private record Line(String key, Map<String, String> fields, String text) {
        long number(String name) {
            return Long.parseUnsignedLong(fields.get(name));
        }

        int integer(String name) {
            return Integer.parseInt(fields.get(name));
        }

        byte[] hex(String name) {
            return HexFormat.of().parseHex(fields.getOrDefault(name, ""));
        }
    }

    private static final List<String> ATTRIBUTES = List.of("name", "title", "section", "author", "published", "words");

    private record Vector(String name, boolean ok, boolean minimal, List<Line> lines, byte[] bytes) {}

    private static List<Vector> vectors() throws IOException {
        List<Vector> list = new ArrayList<>();
        try (var files = Files.newDirectoryStream(Path.of("../../wire/testdata/vectors"), "*.txt")) {
            for (Path path : files) {
                list.add(parse(path));
            }
        }
        assertTrue(list.size() > 150, "vectors: " + list.size());
        return list;
    }

    private static Vector parse(Path path) throws IOException {
        String[] parts = Files.readString(path).split("\n\n", 2);
        boolean ok = false;
        boolean minimal = true;
        List<Line> lines = new ArrayList<>();
        for (String line : parts[0].split("\n")) {
            String[] pair = line.split(": ", 2);
            switch (pair[0]) {
                case "expect" -> ok = pair[1].equals("ok");
                case "minimal" -> minimal = !pair[1].equals("no");
                case "frame", "hello", "event", "name", "ack", "refusal", "seal" -> {
                    String[] words = pair[1].split(" text=", 2);
                    Map<String, String> fields = new HashMap<>();
                    for (String word : words[0].split(" ")) {
                        String[] field = word.split("=", 2);
                        fields.put(field[0], field.length > 1 ? field[1] : "");
                    }
                    lines.add(new Line(pair[0], fields, words.length > 1 ? words[1] : ""));
                }
                default -> {}
            }
        }
        byte[] bytes = HexFormat.of().parseHex(parts.length > 1 ? parts[1].replaceAll("\\s", "") : "");
        String name = path.getFileName().toString().replace(".txt", "");
        return new Vector(name, ok, minimal, lines, bytes);
    }

    private static boolean answers(Vector v) {
        return v.name.startsWith("control-") && !v.name.contains("hello");
    }

    private static Seal seal(Line seal, int stream) {
        String secret = HexFormat.of().formatHex(seal.hex("secret"));
        return new Seal(Key.parse(seal.integer("epoch") + ":" + secret), stream, seal.fields.get("audience"));
    }

    @Test
    void encodesEveryMinimalVector() throws IOException {
        int done = 0;
        int sealed = 0;
        for (Vector v : vectors()) {
            if (!v.ok || !v.minimal || answers(v)) {
                continue;
            }
            byte[] got = new byte[v.bytes.length + 64];
            int size = 0;
            int start = 0;
            Line frame = null;
            Line before = null;
            for (Line line : v.lines) {
                if (line.key.equals("frame")) {
                    frame = line;
                    before = null;
                    start = size;
                    size += header(got, start, line);
                } else if (line.key.equals("event")) {
                    size += event(got, size, line, before);
                    before = line;
                } else if (line.key.equals("name")) {
                    byte[] text = line.text.getBytes(StandardCharsets.UTF_8);
                    int attribute = ATTRIBUTES.indexOf(line.fields.get("attribute"));
                    size += Wire.putName(got, size, attribute, line.number("content"), text);
                    // What a name is the name of is its id.
                    assertTrue(attribute > 0 || Emitter.id(line.text) == line.number("content"), v.name);
                } else if (line.key.equals("hello")) {
                    System.arraycopy(line.hex("random"), 0, got, size, Seal.RANDOM_SIZE);
                    size += Seal.RANDOM_SIZE;
                } else if (line.key.equals("seal")) {
                    size = start + tag(got, start, size - start, frame, line);
                    sealed++;
                }
            }
            assertArrayEquals(v.bytes, Arrays.copyOf(got, size), v.name);
            done++;
        }
        assertTrue(done >= 60 && sealed >= 12, done + " vectors, " + sealed + " of them sealed");
    }

    private static int header(byte[] to, int offset, Line f) {
        byte[] b = new byte[Wire.HEADER_SIZE];
        int type = switch (f.fields.get("type")) {
            case "hello" -> Wire.TYPE_HELLO;
            case "names" -> Wire.TYPE_NAMES;
            default -> Wire.TYPE_EVENTS;
        };
        Wire.putHeader(
                b,
                type,
                0,
                f.integer("size"),
                f.integer("count"),
                f.integer("stream"),
                f.number("time"),
                f.number("source"),
                f.number("sequence"),
                f.number("position"));
        System.arraycopy(b, 0, to, offset, b.length);
        return b.length;
    }

    private static int event(byte[] to, int offset, Line e, Line before) {
        long content = e.number("content");
        long user = e.number("user");
        String progress = e.fields.get("progress");
        return Wire.putEvent(
                to,
                offset,
                Kind.valueOf(e.fields.get("kind").toUpperCase(Locale.ROOT)).ordinal(),
                content,
                before != null && before.number("content") == content,
                user,
                before != null && before.number("user") == user,
                e.number("at"),
                e.integer("dwell"),
                progress.equals("-") ? Event.UNKNOWN : Integer.parseInt(progress));
    }

    /** Seals the frame at an offset, as its seal line says, and returns its size. */
    private static int tag(byte[] to, int offset, int size, Line frame, Line line) {
        Seal seal = seal(line, frame.integer("stream"));
        byte[] b = Arrays.copyOf(Arrays.copyOfRange(to, offset, offset + size), size + Wire.TAG_SIZE);
        int whole;
        if (frame.fields.get("type").equals("hello")) {
            byte[] random = Arrays.copyOfRange(b, Wire.HEADER_SIZE, Wire.HEADER_SIZE + Seal.RANDOM_SIZE);
            b = seal.hello(frame.number("source"), frame.number("time"), random);
            whole = b.length;
        } else if (line.fields.containsKey("collector")) {
            whole = seal.session(frame.number("source"), line.hex("emitter"), line.hex("collector")).frame(b, size);
        } else {
            whole = seal.frame(b, size);
        }
        System.arraycopy(b, 0, to, offset, whole);
        return whole;
    }

    @Test
    void readsEveryAnswer() throws IOException {
        int acks = 0;
        int refusals = 0;
        int sealed = 0;
        for (Vector v : vectors()) {
            if (!answers(v)) {
                continue;
            }
            Line frame = v.lines.get(0);
            Line body = v.lines.get(1);
            assertEquals(v.bytes.length, Answer.size(v.bytes), v.name);
            Answer a = Answer.parse(v.bytes, v.bytes.length);
            assertNotNull(a, v.name);
            assertEquals(frame.number("source"), a.source(), v.name);
            if (body.key.equals("ack")) {
                assertEquals(body.number("durable"), a.durable(), v.name);
                assertEquals(body.number("credit"), a.credit(), v.name);
                assertEquals(frame.number("position"), a.spool(), v.name);
                assertEquals((frame.integer("flags") & Wire.FLAG_FINAL) != 0, a.last(), v.name);
                acks++;
            } else {
                assertEquals(body.fields.get("word"), a.word().word, v.name);
                assertEquals(body.text, a.text(), v.name);
                assertEquals(frame.number("sequence"), a.sequence(), v.name);
                refusals++;
            }
            if (v.lines.size() > 2) {
                Line seal = v.lines.get(2);
                Seal.Session keys = seal(seal, frame.integer("stream"))
                        .session(a.source(), seal.hex("emitter"), seal.hex("collector"));
                assertTrue(keys.proves(v.bytes, v.bytes.length), v.name);
                for (int i = 0; i < v.bytes.length; i++) {
                    byte[] wrong = v.bytes.clone();
                    wrong[i] ^= 1;
                    assertTrue(!keys.proves(wrong, wrong.length), v.name + " with byte " + i + " changed");
                }
                sealed++;
            }
            for (int cut = 0; cut < v.bytes.length; cut++) {
                byte[] part = Arrays.copyOf(v.bytes, Math.max(cut, Wire.HEADER_SIZE));
                assertNull(Answer.parse(part, cut), v.name + " of " + cut + " bytes");
            }
        }
        assertTrue(acks >= 8 && refusals >= 16 && sealed >= 3, acks + " acks, " + refusals + " refusals, " + sealed + " sealed");
    }

    @Test
    void takesNoAnswerThatIsRefused() throws IOException {
        for (Vector v : vectors()) {
            if (!v.ok && v.bytes.length >= Wire.HEADER_SIZE) {
                assertNull(Answer.parse(v.bytes, v.bytes.length), v.name);
            }
        }
    }

    /** Of other lengths, by another implementation (github.com/cespare/xxhash). */
    @Test
    void hashesAsOthersDo() {
        String text = "The quick brown fox jumps over the lazy dog. ".repeat(5);
        Object[][] cases = {
            {0, 0xef46db3751d8e999L}, {1, 0x5b4d6af247a3cf7bL}, {3, 0x4108f90b5de14d15L}, {4, 0xcdf13a49d263200fL},
            {5, 0xf0d7a3adcfa8c683L}, {7, 0xc6fce9d72e310949L}, {8, 0xd07b38a78a153b0bL}, {9, 0x9d1214db001dfc69L},
            {11, 0x61cbdf23c67af875L}, {12, 0xb2ed38017844f789L}, {13, 0xed6dc8c5841a51e4L}, {16, 0x0f7e67014943a311L},
            {31, 0x3f8d95ab32c127d9L}, {32, 0xe2bbc9136629a4eeL}, {33, 0x6d92fe2ebab7db31L}, {36, 0x9457ee2b0cace793L},
            {47, 0x60d0416764fbd063L}, {63, 0xdfaec775b4e0369fL}, {64, 0xf38b75aac47f6e3aL}, {65, 0x4c7bcaca703d0fe0L},
            {100, 0x748b482c10d9fb2aL}, {200, 0xff798b7ab5da97cbL}
        };
        for (Object[] c : cases) {
            assertEquals((long) c[1], Emitter.id(text.substring(0, (int) c[0])), c[0] + " bytes");
        }
        assertEquals(0x44bc2cf5ad770999L, Emitter.id("abc"));
        assertEquals(0x03ddd990388813edL, Emitter.id("/articles/na\u00efve-caf\u00e9"));
    }
}
