<?php

declare(strict_types=1);

namespace Lectern;

/**
 * Hands read events to a relay on this machine (`lectern edge`), over a Unix datagram socket.
 *
 * A PHP process lives for one request, as far as its variables go: as an emitter of its own it would begin a source for each
 * request. The relay lives on, and is the emitter. Each event is one datagram, written at once and without waiting; what the
 * kernel does not take is dropped, counted, and told with the next event that goes through.
 *
 * wire/SPEC.md, section 15, says every byte.
 */
final class Relay
{
    private const STREAM_MAX = 65534;
    private const DWELL_MAX = (1 << 24) - 1;
    private const TIME_MAX = (1 << 48) - 1;
    /** What is below is seconds and not milliseconds: as milliseconds it is before March 1973. */
    private const SECONDS_MAX = 100_000_000_000;
    private const DROPPED_MAX = 65535;
    private const DATAGRAM_MAX = 2048;
    private const TEXT_MAX = 512;
    /** Names and attributes that are remembered to have been said, and for how many seconds. */
    private const SAID_MAX = 1024;
    private const SAID_FOR = 86400;

    /** @var resource|null */
    private $socket = null;
    private int $sent = 0;
    private int $dropped = 0;
    private int $untold = 0; // of these
    private int $late = 0; // that came after close
    private bool $closed = false;
    /** @var array<string, array{string|int, int}> what was said last of contents, and when, the oldest first */
    private array $said = [];

    /**
     * Connects with the first event.
     *
     * @param string $path the relay's socket: edge.relay in its configuration
     * @param int $stream number of the application or site that the events belong to, 0 to 65534
     */
    public function __construct(private readonly string $path, private readonly int $stream = 0)
    {
        if ($stream < 0 || $stream > self::STREAM_MAX) {
            throw new \ValueError("stream $stream is outside of 0 to " . self::STREAM_MAX);
        }
    }

    /**
     * The id of content or of a reader that has a text (a slug, a path, a UUID) and no number: the number that ClickHouse's
     * xxHash64 gives. PHP has no unsigned numbers, so half of them are negative here.
     */
    public static function id(string $text): int
    {
        return \unpack('J', \hash('xxh64', $text, true))[1];
    }

    /** The reader opened the content. See add. */
    public function open(int $content, int $user, int $dwell = 0, ?int $progress = null, ?int $at = null): bool
    {
        return $this->add(Kind::Open, $content, $user, $dwell, $progress, $at);
    }

    /** The reader kept reading: a heartbeat, with the dwell since the event before. See add. */
    public function read(int $content, int $user, int $dwell = 0, ?int $progress = null, ?int $at = null): bool
    {
        return $this->add(Kind::Read, $content, $user, $dwell, $progress, $at);
    }

    /** The reader reached the end. See add. */
    public function finish(int $content, int $user, int $dwell = 0, ?int $progress = null, ?int $at = null): bool
    {
        return $this->add(Kind::Finish, $content, $user, $dwell, $progress, $at);
    }

    /** The reader kept the content for later. See add. */
    public function save(int $content, int $user, int $dwell = 0, ?int $progress = null, ?int $at = null): bool
    {
        return $this->add(Kind::Save, $content, $user, $dwell, $progress, $at);
    }

    /** The reader passed the content on. See add. */
    public function share(int $content, int $user, int $dwell = 0, ?int $progress = null, ?int $at = null): bool
    {
        return $this->add(Kind::Share, $content, $user, $dwell, $progress, $at);
    }

    /** A variant of the content's headline, 1 to 255, was shown. User 0 is nobody in particular. See add. */
    public function impression(int $content, int $user = 0, int $variant = 1, ?int $at = null): bool
    {
        return $this->add(Kind::Impression, $content, $user, $variant, null, $at);
    }

    /** A variant of the content's headline was followed. See add. */
    public function click(int $content, int $user = 0, int $variant = 1, ?int $at = null): bool
    {
        return $this->add(Kind::Click, $content, $user, $variant, null, $at);
    }

    /**
     * Hands over one event. It never waits.
     *
     * @param int $content id of the content: its number, or Relay::id of its text
     * @param int $user id of the reader, likewise
     * @param int $dwell milliseconds that the reader has read since their event before on this content; more than 4 h 39 min counts as that; of an impression or a click the variant of the headline, 0 to 255 (0 is 1)
     * @param int|null $progress how far they got, 0 to 100 percent; null: not known
     * @param int|null $at when, in Unix milliseconds; null: now
     * @return bool false where it was dropped: nobody listens, or the relay does not keep up
     * @throws \ValueError where no collector would take the event
     */
    public function add(Kind $kind, int $content, int $user, int $dwell = 0, ?int $progress = null, ?int $at = null): bool
    {
        $event = self::encode($kind, $content, $user, $dwell, $progress);
        $at ??= (int) (\microtime(true) * 1000);
        if ($at < self::SECONDS_MAX || $at > self::TIME_MAX) {
            throw new \ValueError("at is $at, not the time in Unix milliseconds: (int) (microtime(true) * 1000), or leave it out for now");
        }
        if ($this->closed) {
            $this->late++;
            return false;
        }
        $told = $this->untold > self::DROPPED_MAX ? self::DROPPED_MAX : $this->untold;
        if (!$this->write(\pack('CvvPXX', 1, $told, $this->stream, $at) . $event)) {
            $this->dropped++;
            $this->untold++;
            return false;
        }
        $this->untold -= $told;
        $this->sent++;
        return true;
    }

    /**
     * Says what a content is called: the text of which its id is the hash (Relay::id), so that people read that where the id
     * would stand; and more of it, where that is known. It never waits. Call it with each event of the content, or once: the
     * relay sends each of it on once a day, and this object hands it over once a day.
     *
     * @param string $text 1 to 512 bytes of UTF-8, as the others up to 512; an empty one takes back what was said
     * @param int|null $published when, in Unix milliseconds
     * @param int|null $words how many it has
     * @return bool false where it was not handed over: nobody listens, or the relay does not keep up; the next call tries again
     * @throws \ValueError where no collector would take it
     */
    public function name(
        string $text,
        ?string $title = null,
        ?string $section = null,
        ?string $author = null,
        ?int $published = null,
        ?int $words = null,
    ): bool {
        $about = ['name' => $text] + \array_filter(\compact('title', 'section', 'author', 'published', 'words'), static fn ($v) => $v !== null);
        $now = \hrtime()[0];
        $unsaid = \array_filter($about, function (string|int $value, string $key) use ($text, $now): bool {
            [$last, $at] = $this->said["$key $text"] ?? [null, 0];
            return $last !== $value || $now - $at >= self::SAID_FOR;
        }, \ARRAY_FILTER_USE_BOTH);
        $lines = $unsaid === [] ? [] : $this->sayings($text, $unsaid);
        if ($this->closed) {
            return false;
        }
        foreach ($lines as [$line, $keys]) {
            if (!$this->write($line)) {
                return false;
            }
            foreach ($keys as $key) {
                $this->remember("$key $text", [$about[$key], $now]);
            }
        }
        return true;
    }

    /** @param array{string|int, int} $said */
    private function remember(string $what, array $said): void
    {
        unset($this->said[$what]);
        if (\count($this->said) >= self::SAID_MAX) {
            unset($this->said[\array_key_first($this->said)]);
        }
        $this->said[$what] = $said;
    }

    /**
     * What is said of a content, in as few datagrams as hold it, and the keys of what is in each.
     *
     * @param array<string, string|int> $about
     * @return list<array{string, list<string>}>
     */
    private function sayings(string $text, array $about): array
    {
        if ($text === '') {
            throw new \ValueError('a name is empty; it has 1 to ' . self::TEXT_MAX . ' bytes');
        }
        $lines = [];
        $head = 'name stream=' . $this->stream . ' content';
        $line = $head . '=' . self::escape('name', $text);
        $keys = ['name'];
        unset($about['name']);
        foreach ($about as $key => $value) {
            $word = " $key=" . self::escape($key, $value);
            if (\strlen($line . $word) > self::DATAGRAM_MAX) {
                $lines[] = [$line, $keys];
                $line = $head . \sprintf('_id=%u', self::id($text));
                $keys = [];
            }
            $line .= $word;
            $keys[] = $key;
        }
        $lines[] = [$line, $keys];
        return $lines;
    }

    /** A value as it stands in a line. */
    private static function escape(string $key, string|int $value): string
    {
        if (\is_int($value)) {
            if ($value < 0 || $value > self::TIME_MAX) {
                throw new \ValueError("$key is $value, not 0 to 2^48 - 1");
            }
            return (string) $value;
        }
        if (\strlen($value) > self::TEXT_MAX || \preg_match('//u', $value) !== 1) {
            throw new \ValueError("the $key is not UTF-8 of at most " . self::TEXT_MAX . ' bytes');
        }
        return \strtr(\rawurlencode($value), ['%2F' => '/']);
    }

    /** One event of wire/SPEC.md, section 3, the first of its frame. */
    private static function encode(Kind $kind, int $content, int $user, int $dwell, ?int $progress): string
    {
        if ($dwell < 0) {
            throw new \ValueError("dwell is $dwell, not milliseconds from 0 on");
        }
        if ($progress !== null && ($progress < 0 || $progress > 100)) {
            throw new \ValueError("progress is $progress, not 0 to 100 percent");
        }
        if ($kind->value > Kind::Share->value) {
            if ($dwell > 255 || $progress !== null) {
                throw new \ValueError("a headline has a variant of 1 to 255, and no progress; its variant is $dwell");
            }
            $dwell = $dwell > 1 ? $dwell : 0;
        }
        // The fewest bytes, lowest first; of an id at least one.
        $c = \rtrim(\pack('P', $content), "\0");
        $u = \rtrim(\pack('P', $user), "\0");
        $c = $c === '' ? "\0" : $c;
        $u = $u === '' ? "\0" : $u;
        $d = $dwell === 0 ? '' : \rtrim(\pack('V', $dwell > self::DWELL_MAX ? self::DWELL_MAX : $dwell), "\0");
        $lengths = \strlen($c) << 4 | \strlen($u);
        $shape = $kind->value | \strlen($d) << 5 | ($progress === null ? 0 : 128);
        return \chr($lengths) . \chr($shape) . $c . $u . $d . ($progress === null ? '' : \chr($progress));
    }

    /** Writes one datagram. A relay that was started anew has another socket by the same name, so that a failed one is opened again once. */
    private function write(string $datagram): bool
    {
        $held = $this->socket !== null;
        if (!$held && !$this->connect()) {
            return false;
        }
        if (@\fwrite($this->socket, $datagram) === \strlen($datagram)) {
            return true;
        }
        $full = \str_contains(\error_get_last()['message'] ?? '', 'errno=' . (\PHP_OS_FAMILY === 'Linux' ? 11 : 35) . ' ');
        if ($full) {
            return false;
        }
        \fclose($this->socket);
        $this->socket = null;
        return $held && $this->connect() && @\fwrite($this->socket, $datagram) === \strlen($datagram);
    }

    private function connect(): bool
    {
        $socket = @\stream_socket_client('udg://' . $this->path, $_, $_, 0, \STREAM_CLIENT_CONNECT);
        if ($socket === false) {
            return false;
        }
        \stream_set_blocking($socket, false);
        \stream_set_write_buffer($socket, 0);
        $this->socket = $socket;
        return true;
    }

    /** Nothing waits here: each event went out as it was added. It is there for who writes for any of the clients. */
    public function flush(): void
    {
    }

    /**
     * What became of the events of this object: added = sent + socket + closed.
     *
     * @return array{added: int, sent: int, socket: int, closed: int} sent: the kernel took them for the relay; socket: dropped;
     *     closed: that came after close
     */
    public function stats(): array
    {
        return [
            'added' => $this->sent + $this->dropped + $this->late,
            'sent' => $this->sent,
            'socket' => $this->dropped,
            'closed' => $this->late,
        ];
    }

    /** Ends it, and says whether everything was handed over. The end of the request does it, too. */
    public function close(): bool
    {
        if ($this->socket !== null) {
            \fclose($this->socket);
            $this->socket = null;
        }
        $this->closed = true;
        return $this->dropped + $this->late === 0;
    }
}
