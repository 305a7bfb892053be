<?php

/** The client's own tests, in plain PHP. */

declare(strict_types=1);

error_reporting(E_ALL);
set_error_handler(static function (int $level, string $text, string $file, int $line): bool {
    if (error_reporting() & $level) {
        throw new ErrorException($text, 0, $level, $file, $line);
    }
    return false;
});

require __DIR__ . '/../src/Kind.php';
require __DIR__ . '/../src/Relay.php';

use Lectern\Kind;
use Lectern\Relay;

function same(mixed $want, mixed $got, string $what): void
{
    if ($want !== $got) {
        throw new Exception("$what: want " . var_export($want, true) . ', got ' . var_export($got, true));
    }
}

/** A relay that only listens. */
function listen(string $path): mixed
{
    @unlink($path);
    $relay = stream_socket_server("udg://$path", $_, $_, STREAM_SERVER_BIND);
    stream_set_blocking($relay, false);
    return $relay;
}

/** All that has come, in hex. */
function come(mixed $relay): array
{
    $all = [];
    while (($datagram = stream_socket_recvfrom($relay, 4096)) !== false && $datagram !== '') {
        $all[] = bin2hex($datagram);
    }
    return $all;
}

$path = sys_get_temp_dir() . '/lectern-' . getmypid();
register_shutdown_function(static fn () => @unlink($path));

$tests = [
    'the example of the specification' => static function () use ($path): void {
        $relay = listen($path);
        $out = new Relay($path, 7);
        same(true, $out->open(42, 9, at: 1767225600000), 'taken');
        same(['010000070000a8da769b0111002a09'], come($relay), 'datagram');
        same(['added' => 1, 'sent' => 1, 'socket' => 0, 'closed' => 0], $out->stats(), 'stats');
        same(true, $out->close(), 'close');
        same(false, $out->open(42, 9), 'behind close');
        same(['added' => 2, 'sent' => 1, 'socket' => 0, 'closed' => 1], $out->stats(), 'stats behind close');
    },

    'the events of the vectors' => static function () use ($path): void {
        $relay = listen($path);
        $done = 0;
        foreach (glob(__DIR__ . '/../../../wire/testdata/vectors/event-*.txt') as $file) {
            [$head, $hex] = explode("\n\n", file_get_contents($file), 2);
            if (preg_match_all('/^event: content=(\d+) user=(\d+) at=0 dwell=(\d+) kind=(\w+) progress=(\d+|-)$/m', $head, $m, PREG_SET_ORDER) !== 1) {
                continue; // of several events, or with an at
            }
            if (substr_count($head, "\nevent: ") !== 1) {
                continue;
            }
            [, $content, $user, $dwell, $kind, $progress] = $m[0];
            $out = new Relay($path, 7);
            $kinds = array_column(Kind::cases(), null, 'name');
            $out->add($kinds[ucfirst($kind)], unsigned($content), unsigned($user), (int) $dwell, $progress === '-' ? null : (int) $progress);
            same(substr(preg_replace('/\s/', '', $hex), 80), substr(come($relay)[0], 22), basename($file));
            $done++;
        }
        if ($done < 25) {
            throw new Exception("only $done vectors");
        }
    },

    'ids' => static function (): void {
        // From XXH64's authors' tests and from ClickHouse's xxHash64.
        same('ef46db3751d8e999', sprintf('%016x', Relay::id('')), 'nothing');
        same('44bc2cf5ad770999', sprintf('%016x', Relay::id('abc')), 'abc');
        same(4952883123889572249, Relay::id('abc'), 'abc');
    },

    'what no collector takes' => static function () use ($path): void {
        $relay = listen($path);
        $out = new Relay($path);
        $bad = [
            static fn () => $out->read(1, 1, -1),
            static fn () => $out->read(1, 1, 0, 101),
            static fn () => $out->read(1, 1, 0, -1),
            static fn () => $out->open(1, 1, at: 1_700_000_000),
            static fn () => $out->open(1, 1, at: 1 << 48),
            static fn () => new Relay($path, 65535),
            static fn () => new Relay($path, -1),
        ];
        foreach ($bad as $i => $call) {
            try {
                $call();
            } catch (ValueError) {
                continue;
            }
            throw new Exception("bad event $i is taken");
        }
        same([], come($relay), 'nothing of it goes out');
        $out->read(1, 2, 1 << 30, 100, 1767225600000);
        same('01000000' . '00' . '00a8da769b01' . '11e1' . '01' . '02' . 'ffffff' . '64', come($relay)[0], 'a dwell that is too long');
    },

    'names' => static function () use ($path): void {
        $relay = listen($path);
        $out = new Relay($path, 7);
        $come = static fn () => array_map('hex2bin', come($relay));
        for ($i = 0; $i < 3; $i++) {
            same(true, $out->name('/a/slug'), 'taken');
        }
        same(['name stream=7 content=/a/slug'], $come(), 'said once');
        $out->name('/é b', title: 'A %, <b> & Ü', section: '', published: 1767225600000, words: 1200);
        same(['name stream=7 content=/%C3%A9%20b title=A%20%25%2C%20%3Cb%3E%20%26%20%C3%9C section= published=1767225600000 words=1200'], $come(), 'more of it');
        $out->name('/é b', title: 'Another');
        same(['name stream=7 content=/%C3%A9%20b title=Another'], $come(), 'what changes is said');
        $out->name('/é b', title: 'Another', section: '', words: 1200);
        same([], $come(), 'each is remembered, whatever it was said with');
        $out->name('/é b', title: 'A');
        $out->name('/é b', title: 'Another', words: 1201);
        same(['name stream=7 content=/%C3%A9%20b title=A', 'name stream=7 content=/%C3%A9%20b title=Another words=1201'], $come(), 'the last one counts');
        $long = str_repeat('é', 256);
        $out->name($long, title: $long, section: 'S', author: $long, words: 5);
        $id = sprintf('%u', Relay::id($long));
        $all = $come();
        same("name stream=7 content=" . rawurlencode($long), $all[0], 'the first');
        same("name stream=7 content_id=$id title=" . rawurlencode($long) . ' section=S', $all[1], 'the second');
        same(3, count($all), 'in datagrams that are not too long');
        same("name stream=7 content_id=$id author=" . rawurlencode($long) . ' words=5', $all[2], 'the last');
        $bad = [
            static fn () => $out->name(''),
            static fn () => $out->name(str_repeat('x', 513)),
            static fn () => $out->name("\xff"),
            static fn () => $out->name('a', title: "\xff"),
            static fn () => $out->name('a', author: str_repeat('x', 513)),
            static fn () => $out->name('a', words: -1),
            static fn () => $out->name('a', published: 1 << 48),
        ];
        foreach ($bad as $i => $call) {
            try {
                $call();
            } catch (ValueError) {
                continue;
            }
            throw new Exception("bad name $i is taken");
        }
        same([], $come(), 'nothing of it goes out');
        same(['added' => 0, 'sent' => 0, 'socket' => 0, 'closed' => 0], $out->stats(), 'names are no events');
        fclose($relay);
        unlink($path);
        same(false, $out->name('/later'), 'nobody listens');
        $relay = listen($path);
        same(true, $out->name('/later'), 'it listens');
        same(['name stream=7 content=/later'], array_map('hex2bin', come($relay)), 'the next call says it');
        for ($i = 0; $i < 5000; $i++) {
            $out->name("/$i");
            come($relay);
        }
        $said = new ReflectionProperty($out, 'said');
        same(1024, count($said->getValue($out)), 'what is remembered is bounded');
        $out->name('/4999');
        same([], come($relay), 'the newest is remembered');
        $out->name('/3000');
        same(1, count(come($relay)), 'what is forgotten is said again');
        $said->setValue($out, array_map(static fn ($s) => [$s[0], $s[1] - 86399], $said->getValue($out)));
        $out->name('/4999');
        same([], come($relay), 'within the day');
        $said->setValue($out, array_map(static fn ($s) => [$s[0], $s[1] - 1], $said->getValue($out)));
        $out->name('/4999');
        same(1, count(come($relay)), 'a day later');
        $out->close();
        same(false, $out->name('/b'), 'behind close');
    },

    'a relay that is not there, and then is' => static function () use ($path): void {
        @unlink($path);
        $out = new Relay($path, 7);
        same(false, $out->open(1, 1), 'nobody listens');
        same(false, $out->open(1, 1), 'nobody listens');
        $relay = listen($path);
        same(true, $out->open(1, 1), 'it listens');
        same(true, $out->open(1, 1), 'it listens');
        same(['010200', '010000'], array_map(static fn ($d) => substr($d, 0, 6), come($relay)), 'what was dropped is told once');
        fclose($relay); // it is started anew
        $relay = listen($path);
        same(true, $out->open(1, 1), 'it is opened again');
        same(1, count(come($relay)), 'the new one has it');
        same(['added' => 5, 'sent' => 3, 'socket' => 2, 'closed' => 0], $out->stats(), 'stats');
        same(false, $out->close(), 'close tells');
    },

    'a relay that does not read: nothing waits' => static function () use ($path): void {
        $relay = listen($path);
        $out = new Relay($path, 7);
        for ($i = 0; $i < 100_000; $i++) {
            $out->open(1, $i);
        }
        $stats = $out->stats();
        same(100_000, $stats['added'], 'added');
        same(100_000, $stats['sent'] + $stats['socket'], 'sum');
        if ($stats['socket'] < 50_000) {
            throw new Exception('the kernel took ' . $stats['sent']);
        }
        same($stats['sent'], count(come($relay)), 'what was sent');
        $told = 0;
        $untold = $stats['socket'];
        while ($untold > 0) { // at most 65,535 at once
            same(true, $out->open(1, 1), 'there is room again');
            $told += unpack('v', hex2bin(substr(come($relay)[0], 2, 4)))[1];
            $untold = $stats['socket'] - $told;
        }
        same($stats['socket'], $told, 'all that was dropped is told');
    },
];

/** A decimal number of 64 bits as PHP has it. */
function unsigned(string $decimal): int
{
    $n = 0;
    foreach (str_split($decimal) as $digit) { // without a float on the way
        $low = ($n & 0xffffffff) * 10 + (int) $digit;
        $high = (($n >> 32 & 0xffffffff) * 10 + ($low >> 32)) & 0xffffffff;
        $n = $high << 32 | $low & 0xffffffff;
    }
    return $n;
}

$failed = 0;
foreach ($tests as $name => $test) {
    try {
        $test();
        echo "ok $name\n";
    } catch (Throwable $e) {
        $failed++;
        echo "FAILED $name: {$e->getMessage()} at line {$e->getLine()}\n";
    }
}
echo count($tests) - $failed . " passed, $failed failed\n";
exit($failed === 0 ? 0 : 1);
