"""Sealed frames: wire/SPEC.md, section 8. AES is cryptography's, since Python's standard library has none."""

from __future__ import annotations

import hmac
import os
import re
from typing import TYPE_CHECKING, Optional

from . import _wire
from ._wire import ForeignError, Frame

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class UnprovedError(Exception):
    """An answer in a sealed session that the collector did not seal."""

    def __init__(self) -> None:
        super().__init__(
            "its answer is not sealed as it should be: either secret, key epoch or audience are not the collector's, "
            "or something between answers in its place"
        )


def _aes(derived: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as e:
        raise ImportError("sealed frames want AES, which Python does not have: pip install 'lectern-client[sealed]'") from e
    return AESGCM(derived[:16])


class EventsKey:
    """Seals events frames."""

    def __init__(self, epoch: int, derived: bytes) -> None:
        self._flags, self._key = _wire.SEALED | epoch << 2, _aes(derived)

    def seal(self, frame: bytearray, size: int) -> int:
        """Set flags and size of a frame of this many bytes, and write its tag behind it. Returns its size with the tag."""
        frame[3] = self._flags
        frame[4:6] = (size + _wire.TAG_SIZE).to_bytes(2, "little")
        frame[size : size + _wire.TAG_SIZE] = self._key.encrypt(bytes(frame[8:32]), b"", bytes(frame[:size]))
        return size + _wire.TAG_SIZE


class Secret:
    """A stream's secret, and for whom it proves."""

    def __init__(self, key: str, stream: int, audience: str) -> None:
        match = re.fullmatch(r"([0-3]):([0-9a-f]{64})\n?", key)
        if match is None:
            raise ValueError("the key is not EPOCH:SECRET, with an epoch of 0 to 3 and 64 hex digits")
        if re.fullmatch(r"[A-Za-z0-9._-]{1,63}", audience) is None:
            raise ValueError("the audience is not 1 to 63 characters out of A-Z a-z 0-9 . _ -; it is the collector's listen.audience")
        self.epoch, self._secret = int(match[1]), bytes.fromhex(match[2])
        self.stream, self.audience = stream, audience

    def same(self, other: Secret) -> bool:
        return (self.epoch, self._secret) == (other.epoch, other._secret)

    def derive(self, use: int, *parts: bytes) -> bytes:
        message = bytes((use, self.epoch)) + self.stream.to_bytes(2, "little") + b"".join(parts) + self.audience.encode()
        return hmac.digest(self._secret, message, "sha256")

    def frame_key(self) -> EventsKey:
        return EventsKey(self.epoch, self.derive(1))


class Session:
    """The keys of one connection, which its first ack makes."""

    def __init__(self, secret: Secret, source: int, random: Optional[bytes] = None) -> None:
        self.secret, self._source = secret, source.to_bytes(8, "little")
        self._random = os.urandom(16) if random is None else random
        self._down: Optional[bytes] = None
        self.up: Optional[EventsKey] = None

    def hello(self, ms: int) -> bytes:
        """Return the hello that begins the session."""
        frame = bytearray(_wire.HEADER_SIZE)
        flags, size = _wire.SEALED | self.secret.epoch << 2, _wire.HEADER_SIZE + 32
        _wire.put_header(frame, _wire.HELLO, flags, size, 0, self.secret.stream, ms, int.from_bytes(self._source, "little"), 0, 0)
        frame += self._random
        return bytes(frame) + _control_tag(self.secret.derive(2), bytes(frame))

    def check(self, frame: Frame) -> None:
        """Raise where the collector did not write this frame. The first is an ack, or a refusal, which nothing can have sealed yet."""
        if self._down is None:
            if frame.type == _wire.REFUSAL and not frame.sealed:
                return
            if frame.type != _wire.ACK or not frame.sealed:
                raise UnprovedError
            random = frame.ack().random
            if len(random) != 16:
                raise ForeignError
            self._down = self.secret.derive(4, self._source, self._random, random)
            self.up = EventsKey(self.secret.epoch, self.secret.derive(3, self._source, self._random, random))
        if not frame.sealed or frame.flags >> 2 != self.secret.epoch:
            raise UnprovedError
        if not hmac.compare_digest(_control_tag(self._down, frame.whole[: -_wire.TAG_SIZE]), frame.whole[-_wire.TAG_SIZE :]):
            raise UnprovedError


def _control_tag(key: bytes, frame: bytes) -> bytes:
    return hmac.digest(key, frame, "sha256")[: _wire.TAG_SIZE]
