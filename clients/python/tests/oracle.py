"""Reads what an emitter wrote, by wire/SPEC.md and without the client's own code."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple


class Event(NamedTuple):
    ms: int
    kind: int
    content: int
    user: int
    dwell: int
    progress: Optional[int]


class Frame(NamedTuple):
    type: int
    flags: int
    stream: int
    ms: int
    source: int
    sequence: int
    position: int
    events: List[Event]
    names: List[Tuple[int, int, str]]  # attribute, content, text
    size: int


def number(b: bytes) -> int:
    return sum(c << 8 * i for i, c in enumerate(b))


def frames(b: bytes) -> List[Frame]:
    """Read whole frames to the end of b."""
    out = []
    while b:
        assert b[:2] == b"LE" and b[2] >> 4 == 1, b[:40].hex()
        size, count = number(b[4:6]), number(b[6:8])
        assert 40 <= size <= len(b), (size, len(b))
        ms = number(b[10:16])
        out.append(
            Frame(
                b[2] & 15,
                b[3],
                number(b[8:10]),
                ms,
                number(b[16:24]),
                number(b[24:32]),
                number(b[32:40]),
                events(b[40:size], count, ms),
                names(b[40:size]) if b[2] & 15 == 5 else [],
                size,
            )
        )
        b = b[size:]
    return out


def names(body: bytes) -> List[Tuple[int, int, str]]:
    out = []
    while body:
        end = 11 + number(body[1:3])
        assert end <= len(body)
        out.append((body[0], number(body[3:11]), body[11:end].decode()))
        body = body[end:]
    return out


def events(body: bytes, count: int, base: int) -> List[Event]:
    out: List[Event] = []
    at = 0

    def take(n: int) -> int:
        nonlocal at
        assert at + n <= len(body)
        at += n
        return number(body[at - n : at])

    for _ in range(count):
        lengths, shape = take(1), take(1)
        c, u, kind = lengths >> 4, lengths & 15, shape & 7
        assert c <= 8 and u <= 8 and (kind <= 4 or kind <= 6 and shape >> 5 <= 1)
        content = take(c) if c else out[-1].content
        user = take(u) if u else out[-1].user
        ms = base + take(shape >> 3 & 3)
        dwell = take(shape >> 5 & 3)
        progress = take(1) if shape & 128 else None
        assert progress is None or progress <= 100
        out.append(Event(ms, kind, content, user, dwell, progress))
    if count:
        assert at == len(body), "bytes are left"
        assert min(e.ms for e in out) == base, "the frame's time is not that of its oldest event"
    return out


class Book:
    """What a collector without loss makes of a source's frames, in the order of their coming."""

    def __init__(self) -> None:
        self.sources: Dict[int, Tuple[int, int]] = {}  # next sequence, and position behind it
        self.lost = 0
        self.events: List[Event] = []
        self.beats = 0
        self.order: List[int] = []  # of sources

    def take(self, datagram: bytes) -> List[Frame]:
        got = frames(datagram)
        for f in got:
            assert f.type in (1, 5)
            if f.source not in self.sources:
                assert f.sequence == 0 and f.position == 0, "a source that does not begin at its beginning"
                self.order.append(f.source)
            sequence, position = self.sources.get(f.source, (0, 0))
            assert f.sequence >= sequence and f.position >= position, "numbers that go back"
            if f.sequence == sequence:
                assert f.position == position, "a position that leaps without a sequence"
            self.lost += f.position - position
            self.sources[f.source] = f.sequence + 1, f.position + len(f.events)
            self.events += f.events
            self.beats += not f.events and not f.names
        return got
