<?php

/** test relay SOCKET STREAM: hands the events on standard input to a relay, those of "test log" in docs/CLIENTS.md. */

declare(strict_types=1);

require __DIR__ . '/../src/Kind.php';
require __DIR__ . '/../src/Relay.php';

use Lectern\Kind;
use Lectern\Relay;

$out = new Relay($argv[1], (int) $argv[2]);
$kinds = array_column(Kind::cases(), null, 'name');
while (($line = fgets(STDIN)) !== false) {
    [$at, $kind, $content, $user] = explode("\t", rtrim($line, "\n"));
    // A page would go on without it; this one wants all of them to arrive.
    while (!$out->add($kinds[ucfirst($kind)], Relay::id($content), Relay::id($user), at: (int) $at)) {
        usleep(1000);
    }
    while (!$out->name($content, title: "Title of $content", section: 'Log', author: 'A. Writer', published: 1767225600000, words: 1200)) {
        usleep(1000);
    }
}
$stats = $out->stats();
echo 'ok ' . implode(' ', array_map(static fn ($k, $v) => "$k=$v", array_keys($stats), $stats)) . "\n";
