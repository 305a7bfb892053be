"""Events a second of CPU time into datagrams, beside datadog's statsd client doing the same job in the same run.

Both count reads of 1,000 contents by 10,000 readers, an open and then a heartbeat with its dwell and progress, over UDP to a
socket on this machine that nobody reads. CPU time is of the whole process, the clients' threads included.
"""

from __future__ import annotations

import gc
import random
import socket
import sys
import time
from typing import Callable, List, Tuple

import lectern

ROUNDS, EVENTS = 5, 200_000
Reads = List[Tuple[int, int]]


def ours(port: int, reads: Reads) -> None:
    out = lectern.dial(f"udp://127.0.0.1:{port}")
    opened, read = out.open, out.read
    for content, user in reads:
        opened(content, user)
        read(content, user, 10000, 50)
    out.close()
    s = out.stats()
    assert s.sent + s.socket == s.added == 2 * len(reads), s


def statsd(port: int, reads: Reads) -> None:
    from datadog.dogstatsd.base import DogStatsd

    out = DogStatsd(host="127.0.0.1", port=port, disable_telemetry=True, disable_buffering=False)
    tags = {content: [f"content:{content}"] for content, _ in reads}
    for content, _ in reads:
        out.increment("reads.open", tags=tags[content])
        out.distribution("reads.dwell", 10000, tags=tags[content])
    out.flush()


def rate(send: Callable[[int, Reads], None], reads: Reads) -> float:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        gc.collect()
        begin = time.process_time()
        send(nobody.getsockname()[1], reads)
        return 2 * len(reads) / (time.process_time() - begin)


def main() -> None:
    r = random.Random(1)
    contents = [lectern.id(f"/content/{i}") for i in range(1000)]
    users = [lectern.id(f"reader-{i}") for i in range(10_000)]
    reads = [(contents[int(1000 * r.random() ** 3)], r.choice(users)) for _ in range(EVENTS // 2)]
    best = {"lectern": 0.0, "datadog": 0.0}
    for _ in range(ROUNDS):  # in turn, for that both have the same neighbours on the machine
        best["lectern"] = max(best["lectern"], rate(ours, reads))
        try:
            best["datadog"] = max(best["datadog"], rate(statsd, reads[: len(reads) // 10]))
        except ImportError:
            print("datadog is not installed: test setup", file=sys.stderr)
            best.pop("datadog", None)
    for name, events in best.items():
        print(name, int(events))


main()
