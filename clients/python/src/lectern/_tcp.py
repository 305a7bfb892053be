"""Acknowledged connections: what is not acknowledged is kept, and sent again."""

from __future__ import annotations

import errno
import random
import selectors
import socket
from collections import deque
from functools import partial
from typing import Callable, Deque, Optional, Tuple

from . import _wire
from ._emitter import BEAT_MAX, BEAT_MIN, NEVER, Emitter
from ._seal import Session, UnprovedError
from ._wire import Ack, ForeignError, RefusedError

_CONNECT_TIMEOUT = 10.0  # of connecting and of the wait for the first ack together
_SILENCE_MAX = 30.0  # how long frames may be in flight without a word from the collector
_REASON_WAIT = 1.0  # how long a failed write waits for the collector's reason
_BACKOFF_MIN, _BACKOFF_MAX = 0.1, 10.0
_RENUMBER_AFTER = _wire.NUMBER_MAX // 2
# Refusals of the moment, and not of the frame.
_PASSING = frozenset(("sources", "connections", "idle", "credit", "unexpected", "sealed", "unsealed"))
_WAIT = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOTCONN, errno.EINPROGRESS, errno.EALREADY)


class SourceEnded(Exception):
    """A source ended before all that was sent under it was acknowledged: its collector answered what does not fit.

    Nobody knows whether unsure of its events were counted. They are not sent again. Another source goes on.
    """

    def __init__(self, source: int, next: int, unsure: int, reason: Exception) -> None:
        super().__init__(f"source {source} ended: {reason}; {unsure} events are in doubt; source {next} goes on")
        self.source, self.next, self.unsure, self.reason = source, next, unsure, reason


class _AheadError(Exception):
    """An ack of what was never sent."""


class _SpoolError(Exception):
    """An ack of another spool than the one that the source belongs to."""


class _RekeyedError(Exception):
    """Another key than the connection's is to seal what follows."""


class _Kept:
    """A numbered frame that is kept until it is acknowledged."""

    __slots__ = ("frame", "sequence", "count", "skip", "refused")

    def __init__(self, frame: bytearray, sequence: int, count: int, skip: int) -> None:
        self.frame, self.sequence, self.count, self.skip, self.refused = frame, sequence, count, skip, False


class TCP(Emitter):
    """Sends events over acknowledged connections, one at a time. Made by lectern.dial("tcp://…").

    It keeps events until the collector has them on its disk. When a connection ends it makes another, after 0.1 to 10 s,
    and sends again what is not acknowledged. error tells why there is no connection.
    """

    def __init__(
        self,
        host: str,
        port: int,
        stream: int = 0,
        frame_size: int = 32768,
        flush_age: float = 0.25,
        buffer_size: int = 16 << 20,
        queue: int = 32768,
        on_source_ended: Optional[Callable[[SourceEnded], None]] = None,
        key: Optional[str] = None,
        audience: Optional[str] = None,
    ) -> None:
        least = _wire.SIZE_MIN + (0 if key is None else _wire.TAG_SIZE)
        if not least <= frame_size <= _wire.FRAME_MAX:
            raise ValueError(f"frame size {frame_size} is outside of {least} to {_wire.FRAME_MAX} bytes")
        if buffer_size < 4 * frame_size:
            raise ValueError(f"a buffer of {buffer_size} bytes does not hold four frames of {frame_size}")
        super().__init__(host, port, stream, frame_size, flush_age, queue, key, audience)
        if self._secret is not None:
            self._secret.frame_key()  # an ImportError comes here, and not in the thread
        self._buffer_size, self._frame_size = buffer_size, frame_size
        self._on_source_ended = on_source_ended
        self._begin_queue()

    def _begin_queue(self) -> None:
        self._frames: Deque[_Kept] = deque()
        self._bytes = 0  # of them
        self._kept = 0  # events in them that are not refused
        self._skipped = 0  # events that were dropped in front of the next frame
        self._spool = 0  # of the collector that answered the source's first hello
        self._tried = 0  # the sequence behind the newest that a send was tried of
        self._socket: Optional[socket.socket] = None
        self._live = False  # the hello was answered
        self._out = memoryview(b"")  # what the kernel has not taken yet of what was begun
        self._session: Optional[Session] = None  # where the connection is sealed
        self._writing: Optional[_Kept] = None  # whose bytes these are
        self._first = True
        self._progress = False  # something was acknowledged, or refused for good
        self._tries = 0
        self._retry_at = -NEVER

    # -- the queue

    def _can_emit(self) -> bool:
        return self._bytes + self._frame_size <= self._buffer_size and not self._done

    def _emit(self, frame: memoryview, count: int) -> None:
        self._kept += count
        self._keep(frame, count)
        self._beat_wait = BEAT_MIN
        self._wake()

    def _keep(self, frame: memoryview, count: int) -> None:
        kept = _Kept(bytearray(frame), self._packer.sequence - 1, count, self._skipped)
        self._skipped = 0
        self._frames.append(kept)
        self._bytes += len(frame)

    def _skip(self, drops: int) -> None:
        """Number what was dropped: what comes next shows it."""
        self._packer.skip(drops)
        self._skipped += drops
        if not self._pending:
            self._queue_beat()

    def _queue_beat(self) -> None:
        self._tally.frames += 1
        self._keep(self._packer.beat(self._wall() // 1000000), 0)

    def _buffered(self) -> int:
        return len(self._pending) + self._kept

    def _renumber(self) -> None:
        """Begin a new source: the frames that are kept become its first."""
        packer = self._packer
        packer.renew()
        self._spool = self._tried = 0
        for kept in self._frames:
            if kept.skip:
                packer.skip(kept.skip)
            ms = int.from_bytes(kept.frame[10:16], "little")
            kept.sequence = packer.sequence
            packer.head(kept.frame, len(kept.frame), kept.count, ms, kept.frame[2] & 15)
        self._tally.renewals += 1

    # -- the connection

    def _waits_for(self) -> Tuple[Optional[socket.socket], int]:
        writes = selectors.EVENT_WRITE if self._out else 0
        return self._socket, selectors.EVENT_READ | writes

    def _step(self, now: float) -> float:
        if self._done:
            return NEVER
        due = self._age(now)
        if self._drops and not self._pending and self._can_emit():
            self._cut(whole=True)
        if self._socket is None:
            due = min(due, self._connect(now))
        if self._socket is not None:
            due = min(due, self._use(now))
        if self._closing and not (self._frames or self._pending or self._drops or self._names):
            self._close_socket()
            self._done = True
            return NEVER
        return due

    def _connect(self, now: float) -> float:
        """Begin a connection where that is due."""
        if now < self._retry_at:
            return self._retry_at
        if not self._resolve(socket.SOCK_STREAM, now):
            if self._resolver is None:
                self._back_off(now)
                return self._retry_at
            return NEVER  # the resolver wakes
        family, address = self._addresses.pop(0)  # the next time another, and the name anew behind the last
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as e:
            self.error = e
            self._back_off(now)
            return self._retry_at
        sock.setblocking(False)
        self._socket, self._live, self._source = sock, False, self._packer.source
        self._in, self._deadline = bytearray(), now + _CONNECT_TIMEOUT
        self._failed: Optional[Exception] = None
        self._hung_up = False
        self._cursor = self._in_flight = self._credit = self._durable = 0
        self._begun: Optional[int] = None  # sequence of the first frame that was sent
        self._tried_before = self._tried
        self._heard = self._last_sent = now
        self._beat_wait = BEAT_MIN
        try:
            sock.connect(address)
        except OSError as e:
            if e.errno not in _WAIT:
                self._lost(e, now)
                return self._retry_at
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            pass
        ms = self._wall() // 1000000
        self._session = None if self._secret is None else Session(self._secret, self._source)
        self._out = memoryview(_wire.hello(self._packer.stream, self._source, ms) if self._session is None else self._session.hello(ms))
        return self._deadline

    def _back_off(self, now: float) -> None:
        """Wait up to twice as long each time, drawn so that many clients of one collector do not come back at once."""
        most = min(_BACKOFF_MIN * 2 ** min(self._tries, 10), _BACKOFF_MAX)
        self._tries += 1
        self._retry_at = now + most * random.uniform(0.5, 1.0)

    def _use(self, now: float) -> float:
        """Read, write and beat over the connection, and return when something is due next."""
        try:
            self._read(now)
            if self._failed is not None:
                if self._hung_up or now >= self._deadline:
                    raise self._failed
                return self._deadline
            if self._hung_up:
                raise ConnectionError("the collector closed the connection; it may be full, or about to restart")
            if self._rekeyed() and not self._in_flight and not self._out:
                raise _RekeyedError("a new key seals what follows")
            try:
                self._write(now)
            except OSError as e:
                if e.errno in _WAIT:
                    return self._deadline if not self._live else self._heard + _SILENCE_MAX
                self._failed, self._deadline, self._out = e, now + _REASON_WAIT, memoryview(b"")
                self._writing = None
                self._read(now)
                return self._use(now) if self._hung_up else self._deadline
            return self._timers(now)
        except (OSError, RefusedError, ForeignError, UnprovedError, _AheadError, _SpoolError, _RekeyedError, TimeoutError) as e:
            self._lost(e, now)
            return self._retry_at

    def _timers(self, now: float) -> float:
        if not self._live:
            if now >= self._deadline:
                raise TimeoutError(f"it did not answer a hello within {_CONNECT_TIMEOUT:g} s; check the address")
            return self._deadline
        if self._in_flight:
            if now >= self._heard + _SILENCE_MAX:
                raise TimeoutError(f"the collector acknowledged nothing for {_SILENCE_MAX:g} s")
            return self._heard + _SILENCE_MAX
        if self._frames or self._closing:
            return NEVER  # without credit, or almost done
        if now >= self._last_sent + self._beat_wait:
            self._last_sent = now
            beat_wait, self._beat_wait = self._beat_wait, min(2 * self._beat_wait, BEAT_MAX)
            if not self._pending:
                self._queue_beat()
                return now
            return now + beat_wait
        return self._last_sent + self._beat_wait

    def _write(self, now: float) -> None:
        """Give the kernel what may be sent. Raises what the socket raises."""
        assert self._socket is not None
        while True:
            while self._out:
                sent = self._socket.send(self._out)
                self._tally.bytes += sent if self._live else 0
                self._out = self._out[sent:]
            if self._writing is not None:
                self._writing = None
                self._last_sent = now
                self._release()
            if not self._live or not self._next_frame(now):
                return

    def _next_frame(self, now: float) -> bool:
        """Begin to send the next frame that credit allows. A single one may go beyond it, so that a small credit does not end all."""
        if self._rekeyed():
            return False  # until what is in flight is acknowledged
        while self._cursor < len(self._frames):
            kept = self._frames[self._cursor]
            if kept.refused:
                self._cursor += 1
                continue
            size = self._size(kept)
            if not self._credit or self._in_flight and self._in_flight + size > self._credit:
                return False
            if not self._in_flight:
                self._heard = now
            if self._begun is None:
                self._begun = kept.sequence
            self._in_flight += size
            self._cursor += 1
            self._writing, self._out = kept, memoryview(self._sealed(kept.frame))
            self._tried = max(self._tried, kept.sequence + 1)
            return True
        return False

    def _rekeyed(self) -> bool:
        return self._session is not None and self._secret is not None and not self._session.secret.same(self._secret)

    def _size(self, kept: _Kept) -> int:
        return len(kept.frame) + (0 if self._session is None else _wire.TAG_SIZE)

    def _sealed(self, frame: bytearray) -> bytearray:
        """A frame as it goes over this connection. Kept ones have no tags: they are sent again over connections with other keys."""
        if self._session is None or self._session.up is None:
            return frame
        sealed = frame + bytes(_wire.TAG_SIZE)
        self._session.up.seal(sealed, len(frame))
        return sealed

    def _read(self, now: float) -> None:
        """Take what the collector says."""
        assert self._socket is not None
        while not self._hung_up:
            try:
                data = self._socket.recv(65536)
            except OSError as e:
                if e.errno in _WAIT:
                    return
                if self._failed is None:
                    self._failed = e
                self._hung_up = True
                return
            self._hung_up = not data
            self._in += data
            for frame in _wire.split(self._in):
                if self._session is not None:
                    self._session.check(frame)
                elif frame.sealed:
                    raise ForeignError
                if frame.type == _wire.REFUSAL:
                    raise frame.refusal()
                ack = frame.ack()
                if ack.source != self._source:
                    raise ForeignError
                if not self._live:
                    self._open()
                self._acknowledge(ack, now)

    def _open(self) -> None:
        self._live = True
        self.error = None
        if not self._first:
            self._tally.reconnects += 1
        self._first = False

    def _acknowledge(self, ack: Ack, now: float) -> None:
        """Take an ack. One that is lower than before says nothing new but its credit."""
        if self._spool == 0 and ack.spool and not self._tried:
            self._spool = ack.spool
        if ack.spool != self._spool:
            raise _SpoolError("another spool answered; what the one before has of it is not known there")
        if ack.durable > self._tried:
            raise _AheadError(f"the collector acknowledged frames before {ack.durable}, of which {self._tried} were sent")
        self._credit, self._heard = ack.credit, now
        self._durable = max(self._durable, ack.durable)
        if ack.final:
            # What is not durable was not taken: it is as if it had never been sent. But who says less than
            # was acknowledged knows nothing of the source, and another may have counted what was sent.
            self._credit = 0
            if not self._frames or ack.durable >= self._frames[0].sequence:
                self._tried = min(self._tried, self._durable)
        self._release()

    def _release(self) -> None:
        """Release the frames that are durable or refused, but for one that the kernel is being given."""
        released = False
        while self._frames and self._frames[0] is not self._writing:
            kept = self._frames[0]
            if not kept.refused and kept.sequence >= self._durable:
                break
            if not kept.refused:
                if self._cursor:
                    self._in_flight -= self._size(kept)
                self._tally.acked += kept.count
                self._kept -= kept.count
            self._frames.popleft()
            self._bytes -= len(kept.frame)
            self._cursor = max(0, self._cursor - 1)
            released = self._progress = True
        if released and not self._frames and max(self._packer.position, self._packer.sequence) >= _RENUMBER_AFTER:
            self._renumber()
            self._failed, self._hung_up = ConnectionError("a new source begins"), True

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._live, self._out, self._writing = None, False, memoryview(b""), None

    def _lost(self, error: Exception, now: float) -> None:
        """End the connection, and draw the consequences of how it ended."""
        self._close_socket()
        self.error = error
        ended = self._judge(error) if self._source == self._packer.source else None
        if self._progress:
            self._tries = 0
        again = self._progress and ended is not None or isinstance(error, _RekeyedError)
        self._progress = False
        if again:
            self._retry_at = now
        else:
            self._back_off(now)
        if ended is not None and self._on_source_ended is not None:
            self._calls.append(partial(self._on_source_ended, ended))

    def _judge(self, error: Exception) -> Optional[SourceEnded]:
        tried = self._tried
        if isinstance(error, (_AheadError, _SpoolError)):
            # The one before may have stored all that was sent, and lost only the ack.
            return self._end_source(error, tried)
        if isinstance(error, RefusedError) and error.word == "type":
            # The collector does not know names, and cannot say which frame that was: it is sent no more of them.
            for kept in self._frames:
                if kept.frame[2] & 15 == _wire.NAMES and not kept.refused:
                    kept.refused = self._nameless = True
            if self._nameless:
                with self._drop_lock:
                    self._names.clear()
            self._release()
        if not isinstance(error, RefusedError) or error.source != self._source or self._begun is None or error.word in _PASSING:
            return None
        if error.word == "forgotten":
            # Of this connection the collector has taken no frame.
            return self._end_source(error, self._tried_before) if self._begun > 0 else None
        if error.word == "position" and error.sequence > 0:
            # Somebody else numbers under this source. The frame itself was not taken, nor was any behind it.
            return self._end_source(error, max(self._tried_before, error.sequence))
        for kept in list(self._frames)[: self._cursor]:
            if kept.sequence == error.sequence and not kept.refused:
                kept.refused = self._progress = True
                self._tally.refused += kept.count
                self._kept -= kept.count
                self._in_flight -= self._size(kept)
                self._release()
                break
        return None

    def _end_source(self, reason: Exception, before: int) -> SourceEnded:
        """Begin a new source. Frames below the sequence before may have been counted, and are given up."""
        ended = self._packer.source
        unsure = 0
        self._progress = self._progress or self._tried > 0
        while self._frames and self._frames[0].sequence < before:
            kept = self._frames.popleft()
            self._bytes -= len(kept.frame)
            unsure += 0 if kept.refused else kept.count
        self._tally.unsure += unsure
        self._kept -= unsure
        self._renumber()
        return SourceEnded(ended, self._packer.source, unsure, reason)

    def _give_up(self) -> None:
        self._close_socket()
        self._tally.closed += self._kept
        self._kept = 0
        self._frames.clear()

    # -- forks

    def _abandon(self) -> None:
        self._close_socket()
        self._begin_queue()
