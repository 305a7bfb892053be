"""Numbers, and frames that carry them: wire/SPEC.md, section 4."""

from __future__ import annotations

import os
from itertools import islice
from typing import List, Optional, Tuple

from . import _wire
from ._seal import EventsKey
from ._wire import Event

_MS = 1_000_000


def draw_source() -> int:
    """Draw a number for a numbering that begins."""
    return int.from_bytes(os.urandom(8), "little")


class Packer:
    """Packs events into the frames of one source. Not safe for concurrent use."""

    def __init__(self, stream: int, size: int, sealed: bool = False) -> None:
        self.stream, self._size = stream, size - (_wire.TAG_SIZE if sealed else 0)
        self.key: Optional[EventsKey] = None  # what seals the frames
        self._buffer = bytearray(size + _wire.SLACK)
        self._view = memoryview(self._buffer)
        self.renew()

    def renew(self) -> None:
        """Begin a new source."""
        self.source, self.sequence, self.position = draw_source(), 0, 0

    def skip(self, events: int) -> bool:
        """Use up the numbers of events that were dropped. A source cannot begin with them: nobody would know it."""
        if not self.sequence:
            return False
        self.sequence += 1
        self.position += events
        return True

    def pack(self, events: List[Event], start: int) -> Tuple[memoryview, int]:
        """Return the next frame, valid until the next call, and how many events it took from start on: at least one."""
        base = events[start][0] // _MS * _MS
        size, count = _wire.encode(self._buffer, self._size, islice(events, start, None), base)
        behind = start + count
        if behind < len(events) and events[behind][0] < base:
            size, count, base = self._pack_disordered(events, start, size, count, base)
        return self._view[: self.head(self._buffer, size, count, base // _MS)], count

    def _pack_disordered(self, events: List[Event], start: int, size: int, count: int, base: int) -> Tuple[int, int, int]:
        """The same where an older event follows: the frame's time is that of its oldest."""
        oldest = min(event[0] for event in events[start : start + self._size // 2]) // _MS * _MS
        if base - oldest > _wire.AT_MAX * _MS:
            return size, count, base  # it goes into another frame
        size, count = _wire.encode(self._buffer, self._size, islice(events, start, None), oldest)
        base = min(event[0] for event in events[start : start + count]) // _MS * _MS
        if base != oldest:  # that one did not fit any more; the others do so all the more
            size, count = _wire.encode(self._buffer, self._size, events[start : start + count], base)
        return size, count, base

    def beat(self, ms: int) -> memoryview:
        """Return a frame without events, valid until the next call: it shows how far this source has numbered."""
        return self._view[: self.head(self._buffer, _wire.HEADER_SIZE, 0, ms)]

    @property
    def room(self) -> int:
        """How many bytes of names one frame holds."""
        return self._size - _wire.HEADER_SIZE

    def names(self, names: bytes, ms: int) -> memoryview:
        """Return a frame of names, valid until the next call. It uses up a sequence, and no position."""
        size = _wire.HEADER_SIZE + len(names)
        self._buffer[_wire.HEADER_SIZE : size] = names
        return self._view[: self.head(self._buffer, size, 0, ms, _wire.NAMES)]

    def head(self, frame: bytearray, size: int, count: int, ms: int, type: int = _wire.EVENTS) -> int:
        """Write the next frame's header and, with a key, its tag, and use its numbers up. Returns its size."""
        _wire.put_header(frame, type, 0, size, count, self.stream, ms, self.source, self.sequence, self.position)
        self.sequence += 1
        self.position += count
        return size if self.key is None else self.key.seal(frame, size)
