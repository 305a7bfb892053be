<?php

/** Requests to a real php-fpm, of which each opens one content: tests/fpm.php [SOCKET STREAM], or a relay of its own. */

declare(strict_types=1);

const REQUESTS = 500;

$fpm = null;
foreach (['php-fpm', 'php-fpm' . PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION] as $name) {
    foreach (explode(':', getenv('PATH') . ':/usr/sbin') as $directory) {
        $fpm ??= is_executable("$directory/$name") ? "$directory/$name" : null;
    }
}
if ($fpm === null) {
    echo "NOT RUN: the requests to php-fpm, which is not here\n";
    exit(0);
}
$home = sys_get_temp_dir() . '/lectern-fpm-' . getmypid();
mkdir($home);
$socket = $argv[1] ?? "$home/relay";
$stream = (int) ($argv[2] ?? 7);
$relay = isset($argv[1]) ? null : stream_socket_server("udg://$socket", $_, $_, STREAM_SERVER_BIND);

file_put_contents("$home/request.php", '<?php
require ' . var_export(realpath(__DIR__ . '/../src/Kind.php'), true) . ';
require ' . var_export(realpath(__DIR__ . '/../src/Relay.php'), true) . ';
$out = new Lectern\Relay($_SERVER["RELAY"], (int) $_SERVER["STREAM"]);
echo $out->open(Lectern\Relay::id("/a/slug"), (int) $_SERVER["READER"]) ? "taken" : "dropped";
');
// Workers end after 40 requests each, so that some hand their events over and are gone.
file_put_contents("$home/fpm.conf", "[global]\nerror_log = $home/log\ndaemonize = no\n[www]\nlisten = $home/fpm\n" .
    "pm = static\npm.max_children = 4\npm.max_requests = 40\n" . (posix_getuid() === 0 ? "user = root\ngroup = root\n" : ''));
$process = proc_open([$fpm, '-R', '-n', '-y', "$home/fpm.conf"], [1 => ['file', '/dev/null', 'w'], 2 => ['file', "$home/errors", 'w']], $pipes);

register_shutdown_function(static function () use ($process, $home): void {
    proc_terminate($process);
    proc_close($process);
    array_map('unlink', glob("$home/*"));
    rmdir($home);
});

/** One request, by FastCGI. */
function request(string $at, array $parameters): string
{
    $record = static fn (int $type, string $body): string => pack('CCnnCx', 1, $type, 1, strlen($body), 0) . $body;
    $pairs = '';
    foreach ($parameters as $key => $value) {
        $pairs .= pack('NN', strlen($key) | 1 << 31, strlen($value) | 1 << 31) . $key . $value;
    }
    $connection = null;
    for ($tries = 0; !$connection; $tries++) { // it may still be starting
        $connection = @stream_socket_client("unix://$at");
        if (!$connection && $tries > 200) {
            throw new Exception('php-fpm does not answer');
        }
        $connection ?: usleep(50_000);
    }
    fwrite($connection, $record(1, pack('nCx5', 1, 0)) . $record(4, $pairs) . $record(4, '') . $record(5, ''));
    $answer = '';
    while (strlen($head = (string) fread($connection, 8)) === 8) {
        ['type' => $type, 'size' => $size, 'padding' => $padding] = unpack('Cversion/Ctype/nid/nsize/Cpadding', $head);
        $body = $size + $padding > 0 ? (string) stream_get_contents($connection, $size + $padding) : '';
        $answer .= $type === 6 ? substr($body, 0, $size) : '';
    }
    return $answer;
}

$taken = 0;
$readers = [];
for ($n = 1; $n <= REQUESTS; $n++) {
    $answer = request("$home/fpm", [
        'SCRIPT_FILENAME' => "$home/request.php", 'REQUEST_METHOD' => 'GET', 'RELAY' => $socket, 'STREAM' => (string) $stream, 'READER' => (string) $n,
    ]);
    $taken += str_ends_with($answer, 'taken') ? 1 : 0;
    if ($relay !== null) {
        $readers[substr(stream_socket_recvfrom($relay, 4096), 21)] = true;
    }
}
// A relay of somebody else's may be behind: what it has no room for is dropped, as in use.
if ($relay !== null && ($taken !== REQUESTS || count($readers) !== REQUESTS)) {
    echo 'FAILED of ' . REQUESTS . " requests $taken were taken, and " . count($readers) . " came\n" . @file_get_contents("$home/errors");
    exit(1);
}
echo 'ok ' . REQUESTS . " requests to php-fpm, taken=$taken\n";
