<?php

/**
 * Events a second of CPU time into datagrams, beside the same reads as lines of statsd, written by hand, in the same run:
 * the registries at hand have no statsd client for PHP.
 *
 * Both count reads of 1,000 contents by 10,000 readers, an open and then a heartbeat, each to a socket of another process on this machine.
 */

declare(strict_types=1);

require __DIR__ . '/../src/Kind.php';
require __DIR__ . '/../src/Relay.php';

use Lectern\Relay;

const ROUNDS = 5;
const READS = 50_000;

$path = sys_get_temp_dir() . '/lectern-bench-' . getmypid();
$unix = stream_socket_server("udg://$path", $_, $_, STREAM_SERVER_BIND);
$udp = stream_socket_server('udp://127.0.0.1:0', $_, $_, STREAM_SERVER_BIND);
[, $port] = explode(':', stream_socket_get_name($udp, false));
$reader = pcntl_fork();
if ($reader === 0) { // reads what comes, for that the kernel has room
    while (true) {
        $some = [$unix, $udp];
        $none = null;
        stream_select($some, $none, $none, null);
        foreach ($some as $socket) {
            stream_socket_recvfrom($socket, 4096);
        }
    }
}
register_shutdown_function(static function () use ($reader, $path): void {
    posix_kill($reader, SIGKILL);
    unlink($path);
});

mt_srand(1);
$contents = array_map(static fn ($i) => Relay::id("/content/$i"), range(0, 999));
$users = array_map(static fn ($i) => Relay::id("reader-$i"), range(0, 9999));
$reads = [];
for ($i = 0; $i < READS; $i++) {
    $reads[] = [$contents[mt_rand(0, 999)], $users[mt_rand(0, 9999)]];
}

function cpu(): float
{
    $u = getrusage();
    return $u['ru_utime.tv_sec'] + $u['ru_stime.tv_sec'] + ($u['ru_utime.tv_usec'] + $u['ru_stime.tv_usec']) / 1e6;
}

$ways = [
    'lectern' => static function () use ($path, $reads): void {
        $out = new Relay($path, 1);
        foreach ($reads as [$content, $user]) {
            $out->open($content, $user);
            $out->read($content, $user, 10_000, 50);
        }
        $out->close();
    },
    // What a statsd client does at the least: text, and one call of the kernel.
    'statsd-by-hand' => static function () use ($port, $reads): void {
        $out = stream_socket_client("udp://127.0.0.1:$port");
        stream_set_blocking($out, false);
        foreach ($reads as [$content]) {
            @fwrite($out, "reads.open:1|c|#content:$content");
            @fwrite($out, "reads.dwell:10000|ms|#content:$content");
        }
    },
];
$best = [];
for ($i = 0; $i < ROUNDS; $i++) { // in turn, for that both have the same neighbours on the machine
    foreach ($ways as $name => $way) {
        $begin = cpu();
        $way();
        $best[$name] = max($best[$name] ?? 0, 2 * READS / (cpu() - $begin));
    }
}
foreach ($best as $name => $rate) {
    echo $name, ' ', (int) $rate, "\n";
}
