"""Frames and events as bytes: wire/SPEC.md, sections 2, 3, 6 and 7. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Iterable, List, Optional, Tuple, Union

MAGIC = 0x454C
HEADER_SIZE = 40
TAG_SIZE = 16
EVENT_MAX = 25
SIZE_MIN = HEADER_SIZE + EVENT_MAX  # the smallest datagram or frame: it holds any one event
FRAME_MAX = 65535
STREAM_MAX = 65534
AT_MAX = (1 << 24) - 1
DWELL_MAX = (1 << 24) - 1
TIME_MAX = (1 << 48) - 1
NUMBER_MAX = 1 << 48
EVENTS, HELLO, ACK, REFUSAL, NAMES = 1, 2, 3, 4, 5
NAME_TEXT_MAX = 512
ATTRIBUTES = "name", "title", "section", "author", "published", "words"  # by number
SEALED, FINAL = 1, 2  # flags; the second of an ack, the last one
SLACK = 32  # what encode, or a tag, may write behind a frame's end

# time in nanoseconds, kind, content, user, dwell in milliseconds, percent
Event = Tuple[int, int, int, int, int, Optional[int]]

# Why a collector refuses: the closed list of section 9.
_WORDS = frozenset(
    b"short magic version type flags size count stream number length inherit kind progress name body sealed unsealed time "
    b"unexpected truncated rest sequence position sources connections idle credit forgotten".split()
)

_header = Struct("<HBBHHQQQQ")
_event = Struct("<BBQQQ").pack_into
_start = Struct("<BBQ").pack_into
_number = Struct("<Q").pack_into
_name = Struct("<BHQ").pack
_ack = Struct("<QQ")


def put_header(
    frame: bytearray, type: int, flags: int, size: int, count: int, stream: int, ms: int, source: int, sequence: int, position: int
) -> None:
    """Write a header to the start of a frame."""
    _header.pack_into(frame, 0, MAGIC, 0x10 | type, flags, size, count, stream | ms << 16, source, sequence, position)


def hello(stream: int, source: int, ms: int) -> bytes:
    """Return a hello frame without a tag."""
    frame = bytearray(HEADER_SIZE)
    put_header(frame, HELLO, 0, HEADER_SIZE, 0, stream, ms, source, 0, 0)
    return bytes(frame)


def encode(frame: bytearray, limit: int, events: Iterable[Event], base: int) -> Tuple[int, int]:
    """Write events into a frame behind its header, as many as fit into limit bytes.

    base is the frame's time in nanoseconds, a whole millisecond. An event that is older, or too much younger,
    does not fit. Returns the frame's size and the number of events. The caller keeps kind, dwell and progress in range.

    What comes next is written over the bytes that a number does not need, so the frame has room for SLACK more.
    """
    size, last_content, last_user, count = HEADER_SIZE, -1, -1, 0
    last_start = limit - EVENT_MAX
    for ns, kind, content, user, dwell, progress in events:
        tail = (ns - base) // 1000000
        if tail >> 24 or size > last_start:
            break
        shape, width = kind, 0
        if tail:
            width = 1 if tail < 256 else 2 if tail < 65536 else 3
            shape |= width << 3
        if dwell:
            tail |= dwell << 8 * width
            bytes_ = 1 if dwell < 256 else 2 if dwell < 65536 else 3
            width += bytes_
            shape |= bytes_ << 5
        if progress is not None:
            tail |= progress << 8 * width
            width += 1
            shape |= 128
        if content >= 1 << 56 and user >= 1 << 56 and content != last_content and user != last_user:
            _event(frame, size, 0x88, shape, content, user, tail)  # ids of text are mostly of eight bytes
            size += 18 + width
        else:
            c = 0 if content == last_content else content.bit_length() + 7 >> 3 or 1
            u = 0 if user == last_user else user.bit_length() + 7 >> 3 or 1
            _start(frame, size, c << 4 | u, shape, content)
            size += 2 + c
            _number(frame, size, user)
            size += u
            _number(frame, size, tail)
            size += width
        last_content, last_user = content, user
        count += 1
    return size, count


def text_of(attribute: str, value: Union[str, bytes, int]) -> bytes:
    """Return the text of a name or another attribute. What no collector takes is a ValueError."""
    if attribute in ("published", "words") and value != "":
        if not isinstance(value, int) or not 0 <= value <= TIME_MAX:
            raise ValueError(f"{attribute} is {value!r}, not 0 to 2**48-1")
        return b"%d" % value
    if isinstance(value, int):
        raise ValueError(f"the {attribute} is {value}, and not text")
    text = value.encode() if isinstance(value, str) else value
    if len(text) > NAME_TEXT_MAX or (attribute == "name" and not text):
        raise ValueError(f"the {attribute} has {len(text)} bytes: at most {NAME_TEXT_MAX}, and a name at least one")
    text.decode()  # a UnicodeDecodeError is a ValueError
    return text


def name(content: int, text: bytes, attribute: int = 0) -> bytes:
    """Return what says in a frame of names that a content is called so, or another attribute of it."""
    return _name(attribute, len(text), content) + text


class ForeignError(Exception):
    """An answer that no collector gives."""

    def __init__(self) -> None:
        super().__init__("it does not answer like a collector; check the address")


class RefusedError(Exception):
    """A collector's refusal. It has closed the connection; frames before sequence were read."""

    def __init__(self, word: str, text: str, source: int, sequence: int) -> None:
        super().__init__(f"the collector refused the connection or a frame: {word}" + (f": {text!r}" if text else ""))
        self.word, self.text, self.source, self.sequence = word, text, source, sequence


@dataclass(frozen=True)
class Ack:
    """What a collector acknowledges."""

    source: int
    durable: int  # every frame before this sequence is
    credit: int  # bytes that may be in flight
    spool: int  # that it speaks for
    final: bool
    random: bytes  # the collector's, in a sealed session


@dataclass(frozen=True)
class Frame:
    """A whole frame that a collector sent."""

    type: int
    flags: int
    source: int
    sequence: int
    position: int
    whole: bytes

    @property
    def sealed(self) -> bool:
        return bool(self.flags & SEALED)

    @property
    def body(self) -> bytes:
        return self.whole[HEADER_SIZE : len(self.whole) - (TAG_SIZE if self.sealed else 0)]

    def ack(self) -> Ack:
        """Read it as an ack."""
        body = self.body
        if len(body) != (32 if self.sealed else 16):
            raise ForeignError
        durable, credit = _ack.unpack_from(body)
        if durable > NUMBER_MAX:
            raise ForeignError
        return Ack(self.source, durable, credit, self.position, bool(self.flags & FINAL), body[16:])

    def refusal(self) -> RefusedError:
        """Read it as a refusal."""
        body = self.body
        end = 1 + body[0] if body else 0
        if end < 2 or len(body) < end or len(body) - end > 255:
            raise ForeignError
        word = body[1:end]
        if word not in _WORDS:
            raise ForeignError
        return RefusedError(word.decode(), body[end:].decode(errors="replace"), self.source, self.sequence)


def split(data: bytearray) -> List[Frame]:
    """Take the whole frames off the front of what a collector sent."""
    frames = []
    at = 0
    while len(data) - at >= HEADER_SIZE:
        magic, type_, flags, size, count, _, source, sequence, position = _header.unpack_from(data, at)
        known = {0x10 | ACK: 15, 0x10 | REFUSAL: 13}.get(type_, 0)  # the flags that it may have; those above 1 name the epoch
        if magic != MAGIC or flags & ~known or not known or count or (flags & 12 and not flags & SEALED):
            raise ForeignError
        if not HEADER_SIZE + (TAG_SIZE if flags & SEALED else 0) < size <= 1024:
            raise ForeignError
        if len(data) - at < size:
            break
        frames.append(Frame(type_ & 15, flags, source, sequence, position, bytes(data[at : at + size])))
        at += size
    del data[:at]
    return frames
