"""The number of text: XXH64 with seed 0, as emit.ID and ClickHouse's xxHash64 give it."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

_P1 = 0x9E3779B185EBCA87
_P2 = 0xC2B2AE3D27D4EB4F
_P3 = 0x165667B19E3779F9
_P4 = 0x85EBCA77C2B2AE63
_P5 = 0x27D4EB2F165667C5
_M = 0xFFFFFFFFFFFFFFFF
_STRIPE = Struct("<4Q")


def _round(lane: int, word: int) -> int:
    lane = (lane + word * _P2) & _M
    return ((lane << 31 | lane >> 33) * _P1) & _M


@lru_cache(maxsize=65536)
def id(text: str | bytes) -> int:
    """Return the id of content or of a reader that has a text (a slug, a path, a UUID) and no number.

    Text is hashed in UTF-8. The last 65,536 texts are remembered, since a hash in Python takes microseconds.
    """
    data = text.encode() if isinstance(text, str) else text
    size, at = len(data), 0
    if size >= 32:
        a, b, c, d = (_P1 + _P2) & _M, _P2, 0, -_P1 & _M
        for w0, w1, w2, w3 in _STRIPE.iter_unpack(data[: size & ~31]):
            a, b, c, d = _round(a, w0), _round(b, w1), _round(c, w2), _round(d, w3)
        at = size & ~31
        h = (a << 1 | a >> 63) + (b << 7 | b >> 57) + (c << 12 | c >> 52) + (d << 18 | d >> 46) & _M
        for lane in (a, b, c, d):
            h = ((h ^ _round(0, lane)) * _P1 + _P4) & _M
    else:
        h = _P5
    h = (h + size) & _M
    while size - at >= 8:
        h ^= _round(0, int.from_bytes(data[at : at + 8], "little"))
        h = ((h << 27 | h >> 37) * _P1 + _P4) & _M
        at += 8
    if size - at >= 4:
        h ^= int.from_bytes(data[at : at + 4], "little") * _P1 & _M
        h = ((h << 23 | h >> 41) * _P2 + _P3) & _M
        at += 4
    for byte in data[at:]:
        h ^= byte * _P5 & _M
        h = (h << 11 | h >> 53) * _P1 & _M
    h = (h ^ h >> 33) * _P2 & _M
    h = (h ^ h >> 29) * _P3 & _M
    return h ^ h >> 32
