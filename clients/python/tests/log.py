"""test log: sends the events of its standard input."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict

import lectern

way, address, stream = sys.argv[1:]
out = lectern.dial(f"{way}://{address}", stream=int(stream))


def describe(text: str) -> bool:
    """Say what the convention has every client say of a content."""
    return out.describe(lectern.id(text), title=f"Title of {text}", section="Log", author="A. Writer", published=1767225600000, words=1200)


for n, line in enumerate(sys.stdin, 1):
    at, kind, content, user = line.rstrip("\n").split("\t")
    out.add(lectern.Kind[kind.upper()], lectern.id(content), lectern.id(user), at=int(at))
    while not (out.name(content) and describe(content)):
        time.sleep(0.001)
    if way == "udp" and n % 200 == 0:
        time.sleep(0.001)
ok = out.close(60)
names = ("added", "sent", "acked", "buffered", "queue", "socket", "closed", "refused", "unsure")
print("ok", *(f"{k}={v}" for k, v in asdict(out.stats()).items() if k in names))
sys.exit(not ok)
