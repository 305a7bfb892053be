"""What UDP and TCP have in common: the queue of events, the thread that does what is due, forks, the end."""

from __future__ import annotations

import asyncio
import atexit
import encodings.idna  # noqa: F401  what resolves a name wants it, and imports nothing where Python ends already
import logging
import os
import selectors
import socket
import threading
import time
import weakref
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any, Callable, Dict, List, Literal, Optional, Tuple, Type, TypeVar, Union

from . import _wire
from ._id import id
from ._packer import Packer
from ._seal import Secret
from ._wire import Event

BEAT_MIN, BEAT_MAX = 1.0, 16.0
NEVER = float("inf")
# What is below is seconds and not milliseconds: as milliseconds it is before March 1973.
_SECONDS_MAX = 100_000_000_000
_RETRY = 1.0  # how long a failed resolution is not repeated
_SAID_MAX = 65536  # names and attributes that are remembered to have been said

_Self = TypeVar("_Self", bound="Emitter")
Address = Tuple[int, Tuple[Any, ...]]  # family, and what connect takes
_Saying = Union[bytes, Tuple[int, int]]  # a name, or a content's attribute


def lookup(host: str, port: int, kind: int, flags: int) -> List[Address]:
    """Resolve a name."""
    return [(family, address) for family, _, _, _, address in socket.getaddrinfo(host, port, 0, kind, 0, flags)]


class Kind(IntEnum):
    """What a reader did."""

    OPEN = 0  # opened the content
    READ = 1  # kept reading: a heartbeat
    FINISH = 2  # reached the end
    SAVE = 3  # kept it for later
    SHARE = 4  # passed it on
    IMPRESSION = 5  # was shown the content's headline, where others are listed with it
    CLICK = 6  # followed it


@dataclass(frozen=True)
class Stats:
    """What became of the events so far. At every instant

    added = sent + acked + buffered + queue + socket + closed + refused + unsure
    """

    added: int  # that add was given and found good
    sent: int  # over UDP: in datagrams that the kernel took
    acked: int  # over TCP: that the collector has made durable
    buffered: int  # kept here, sent or not
    queue: int  # dropped since there was no room for them here; they show as lost
    socket: int  # over UDP: dropped since the kernel did not take their datagram; they show as lost
    closed: int  # that came after close, or that close gave up
    refused: int  # in frames that the collector refused
    unsure: int  # over TCP: sent under a source that ended before they were acknowledged
    frames: int  # numbered, beats included
    bytes: int  # of frames that the kernel took
    unreachable: int  # over UDP, of those sent: the host answered that nobody listens
    renewals: int  # sources after the first
    reconnects: int  # over TCP: connections after the first


class _Tally:
    """The counts behind Stats."""

    __slots__ = (
        "sent",
        "acked",
        "queue",
        "socket",
        "closed",
        "refused",
        "unsure",
        "frames",
        "bytes",
        "unreachable",
        "renewals",
        "reconnects",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    sent: int
    acked: int
    queue: int
    socket: int
    closed: int
    refused: int
    unsure: int
    frames: int
    bytes: int
    unreachable: int
    renewals: int
    reconnects: int


class Emitter:
    """Sends read events to a collector. Made by lectern.dial.

    All methods may be called from any thread, and from asyncio: none waits but close. After a fork the child's events
    go out under a source of its own; what its parent had not sent stays the parent's.
    """

    _said_for = 86400.0  # for how many seconds a name is not said again
    _clock: Callable[[], float] = staticmethod(time.monotonic)  # when things are due
    _wall: Callable[[], int] = staticmethod(time.time_ns)  # what dates events
    _lookup: Callable[[str, int, int, int], List[Address]] = staticmethod(lookup)

    def __init__(
        self, host: str, port: int, stream: int, size: int, flush_age: float, queue: int, key: Optional[str], audience: Optional[str]
    ) -> None:
        if not 0 <= stream <= _wire.STREAM_MAX:
            raise ValueError(f"stream {stream} is outside of 0 to {_wire.STREAM_MAX}")
        if not flush_age > 0:
            raise ValueError(f"flush age {flush_age} is not a time in seconds above 0")
        if queue < 1:
            raise ValueError(f"a queue of {queue} events holds none")
        if (key is None) != (audience is None):
            raise ValueError("key and audience belong together")
        self._secret = None if key is None or audience is None else Secret(key, stream, audience)
        self._host, self._port, self._flush_age, self._queue_max = host, port, flush_age, queue
        self._packer = Packer(stream, size, self._secret is not None)
        self._per_frame = max(1, (size - _wire.HEADER_SIZE) // 20)
        # Events that no frame has yet. Whoever takes some off its front holds _lock; anybody may append.
        self._pending: List[Event] = []
        self._asleep = False  # the thread is to be woken for an event
        self._threaded = False
        self._lock = threading.RLock()  # protects all but _pending
        self._begin()
        _emitters.add(self)

    def _begin(self) -> None:
        """Set what begins anew in a forked child."""
        self._drop_lock = threading.Lock()  # protects _drops and _tally's queue and closed
        self._drops = 0  # events that are to be numbered, for that they show as lost
        self._tally = _Tally()
        self._closing = self._done = False
        self._began: Optional[float] = None  # when the oldest of _pending was seen
        self._thread: Optional[threading.Thread] = None
        self._ended = threading.Event()
        self._waker: Optional[Tuple[socket.socket, socket.socket]] = None
        self._resolver: Optional[threading.Thread] = None
        self._addresses: List[Address] = []
        self._resolved_at = -NEVER
        self._stale = False
        self._threshold = min(self._per_frame, self._queue_max)
        self._said: Dict[_Saying, Tuple[bytes, float]] = {}  # what was said last, and when, oldest first
        self._names = bytearray()  # that no frame has yet
        self._nameless = False  # the collector does not know names
        self._calls: List[Callable[[], None]] = []  # of the user's, to be made without _lock
        self.error: Optional[Exception] = None  # the last trouble; over TCP why there is no connection, None with one

    # -- adding

    def open(self, content: int, user: int, dwell: int = 0, progress: Optional[int] = None, at: Optional[int] = None) -> bool:
        """The reader opened the content. See add."""
        return self._add(0, content, user, dwell, progress, at)

    def read(self, content: int, user: int, dwell: int = 0, progress: Optional[int] = None, at: Optional[int] = None) -> bool:
        """The reader kept reading: a heartbeat, with the milliseconds since the event before. See add."""
        return self._add(1, content, user, dwell, progress, at)

    def finish(self, content: int, user: int, dwell: int = 0, progress: Optional[int] = None, at: Optional[int] = None) -> bool:
        """The reader reached the end. See add."""
        return self._add(2, content, user, dwell, progress, at)

    def save(self, content: int, user: int, dwell: int = 0, progress: Optional[int] = None, at: Optional[int] = None) -> bool:
        """The reader kept the content for later. See add."""
        return self._add(3, content, user, dwell, progress, at)

    def share(self, content: int, user: int, dwell: int = 0, progress: Optional[int] = None, at: Optional[int] = None) -> bool:
        """The reader passed the content on. See add."""
        return self._add(4, content, user, dwell, progress, at)

    def impression(self, content: int, user: int = 0, variant: int = 1, at: Optional[int] = None) -> bool:
        """A variant of the content's headline, 1 to 255, was shown. User 0 is nobody in particular. See add."""
        return self.add(5, content, user, variant, None, at)

    def click(self, content: int, user: int = 0, variant: int = 1, at: Optional[int] = None) -> bool:
        """A variant of the content's headline was followed. See add."""
        return self.add(6, content, user, variant, None, at)

    def add(self, kind: int, content: int, user: int, dwell: int = 0, progress: Optional[int] = None, at: Optional[int] = None) -> bool:
        """Take one event. It never waits.

        content and user are ids, 0 to 2**64-1: numbers, or lectern.id of their text. dwell is how many milliseconds
        the reader has read since their event before on this content (more than 4 h 39 min counts as that), progress
        how far they got in percent; of an impression or a click, dwell is the variant of the headline, 0 to 255 (0 is 1),
        and there is no progress. at is when, in Unix milliseconds: left out, it is now.

        Returns False where the event was dropped: there was no room (stats().queue), or close was called before
        (stats().closed). What no collector would take is a ValueError.
        """
        if not 0 <= kind <= 6:
            raise ValueError(f"there is no kind {kind}: use open, read, finish, save, share, impression or click")
        if kind > 4:
            if not 0 <= dwell <= 255 or progress is not None:
                raise ValueError(f"a headline has a variant of 1 to 255, and no progress; its variant is {dwell}")
            dwell = dwell if dwell > 1 else 0
        return self._add(kind, content, user, dwell, progress, at)

    def _add(self, kind: int, content: int, user: int, dwell: int, progress: Optional[int], at: Optional[int]) -> bool:
        if (content | user) >> 64 or dwell < 0 or (progress is not None and not 0 <= progress <= 100):
            self._reject(content, user, dwell, progress)
        if at is None:
            ns = self._wall()
        elif _SECONDS_MAX <= at <= _wire.TIME_MAX:
            ns = at * 1000000
        else:
            raise ValueError(f"at is {at}, not the time in Unix milliseconds: int(time.time() * 1000), or leave it out for now")
        pending = self._pending
        if len(pending) >= self._threshold and not self._room():
            return False
        pending.append((ns, kind, content, user, dwell if dwell < 16777216 else _wire.DWELL_MAX, progress))
        if self._asleep:
            self._wake()
        return True

    def name(self, text: str | bytes) -> bool:
        """Say what a content is called: the text of which its id is the hash (lectern.id). It never waits.

        Call it with every event of the content, or once: it is sent once a day, over UDP, where nobody answers, once an
        hour. Returns False where it is not taken, since there was no room or close was called before; the next call tries
        again. What is not 1 to 512 bytes of UTF-8 is a ValueError.
        """
        data = text.encode() if isinstance(text, str) else text
        return self._was_said(data, data) or self._say(data, data, _wire.name(id(data), _wire.text_of("name", data)))

    def describe(
        self,
        content: int,
        *,
        title: Optional[str] = None,
        section: Optional[str] = None,
        author: Optional[str] = None,
        published: int | Literal[""] | None = None,
        words: int | Literal[""] | None = None,
    ) -> bool:
        """Say more of a content, by its id: what is left out stays as it is. It never waits.

        Texts are up to 512 bytes of UTF-8, published is when, in Unix milliseconds, and words how many it has. The last of
        each counts, and "" takes it back. Each is sent when it changes, and as often as a name. Returns False where not
        all were taken; the next call tries those again. What no collector would take is a ValueError, and nothing is said.
        """
        if content >> 64:
            raise ValueError("an id is outside of 0 to 2**64-1; of text it is lectern.id(text)")
        values = None, title, section, author, published, words
        texts = [(n, _wire.text_of(_wire.ATTRIBUTES[n], v)) for n, v in enumerate(values) if v is not None]
        return all(self._was_said((content, n), text) or self._say((content, n), text, _wire.name(content, text, n)) for n, text in texts)

    def _was_said(self, key: _Saying, text: bytes) -> bool:
        with self._drop_lock:
            before = self._said.get(key)
        return before is not None and before[0] == text and self._clock() - before[1] < self._said_for

    def _say(self, key: _Saying, text: bytes, name: bytes) -> bool:
        """Have a name or another attribute wait for a frame, and remember that it was said."""
        if len(name) > self._packer.room:
            raise ValueError(f"{len(text)} bytes of text do not fit a frame: dial with larger ones")
        if self._stale and not self._go_on_forked():
            return False
        with self._drop_lock:
            if self._closing or len(self._names) + len(name) > self._packer.room:
                return False
            if self._nameless:
                return True
            self._names += name
            self._said.pop(key, None)
            self._said[key] = text, self._clock()
            if len(self._said) > _SAID_MAX:
                del self._said[next(iter(self._said))]
            full = len(self._names) > self._packer.room // 2
        if full and self._lock.acquire(blocking=False):
            try:
                self._cut(whole=True)
            finally:
                self._lock.release()
        if self._asleep:
            self._wake()
        return True

    @staticmethod
    def _reject(content: int, user: int, dwell: int, progress: Optional[int]) -> None:
        if content >> 64 or user >> 64:
            raise ValueError("an id is outside of 0 to 2**64-1; of text it is lectern.id(text)")
        if dwell < 0:
            raise ValueError(f"dwell is {dwell}, not milliseconds from 0 on")
        raise ValueError(f"progress is {progress}, not 0 to 100 percent")

    def _room(self) -> bool:
        """Cut frames off the queue, since there are events for one, and say whether there is room for one more."""
        if self._stale and not self._go_on_forked():
            return False
        if not self._closing and self._lock.acquire(blocking=False):
            try:
                self._cut(whole=False)
            finally:
                self._lock.release()
        # Behind frames for which there is no room one more may wait; behind somebody who holds the lock, a queue.
        if not self._closing and len(self._pending) < (self._queue_max if self._can_emit() else self._threshold):
            return True
        with self._drop_lock:
            if self._closing:
                self._tally.closed += 1
            else:
                self._tally.queue += 1
                self._drops += 1
        return False

    def _cut(self, whole: bool) -> None:
        """Make frames of the queue: full ones, with whole all. Called with _lock held."""
        if self._drops and self._can_emit():
            with self._drop_lock:
                drops, self._drops = self._drops, 0
            self._skip(drops)
        pending = self._pending
        if not pending or not self._can_emit():
            if whole:
                self._cut_names()
            return
        events = pending[:]
        del pending[: len(events)]  # others may have appended meanwhile
        start = 0
        while start < len(events) and (whole or len(events) - start >= self._per_frame) and self._can_emit():
            frame, count = self._packer.pack(events, start)
            start += count
            self._tally.frames += 1
            if start < len(events):
                self._per_frame = count
            elif not whole:
                self._per_frame += self._per_frame // 4 + 1
            self._emit(frame, count)
        pending[:0] = events[start:]
        if not self._closing:
            self._threshold = min(self._per_frame, self._queue_max)
        if whole and not pending:
            self._cut_names()
        self._began = None if not pending else self._began

    def _cut_names(self) -> None:
        """Make a frame of the names that wait. Called with _lock held."""
        if not self._names or not self._can_emit():
            return
        with self._drop_lock:
            names = bytes(self._names)
            self._names.clear()
        self._tally.frames += 1
        self._emit(self._packer.names(names, self._wall() // 1000000), 0)

    # -- what a way of sending does

    def _can_emit(self) -> bool:
        raise NotImplementedError

    def _emit(self, frame: memoryview, count: int) -> None:
        raise NotImplementedError

    def _skip(self, drops: int) -> None:
        raise NotImplementedError

    def _step(self, now: float) -> float:
        """Do all that is due and never wait. Returns when something is due next. Called with _lock held."""
        raise NotImplementedError

    def _waits_for(self) -> Tuple[Optional[socket.socket], int]:
        """The socket, and the selectors.EVENT_* for which a step is to be made before it is due."""
        return None, 0

    def _buffered(self) -> int:
        return len(self._pending)

    def _give_up(self) -> None:
        """End without waiting any longer. Called with _lock held."""
        raise NotImplementedError

    def _abandon(self) -> None:
        """In a forked child: close the parent's sockets without a word on them."""
        raise NotImplementedError

    # -- what is due

    def _age(self, now: float) -> float:
        """Flush what has waited for long enough, and return when that is due next."""
        if not (self._pending or self._names):
            self._began = None
            return NEVER
        if self._began is None:
            self._began = now
        if now >= self._began + self._flush_age or self._closing:
            self._cut(whole=True)
            if not (self._pending or self._names):
                return NEVER
            self._began = now  # there is no room for it yet
        return self._began + self._flush_age

    def _resolve(self, kind: int, now: float) -> bool:
        """Have the collector's name resolved by another thread, and say whether there are addresses."""
        if self._addresses:
            return True
        if self._resolver is not None or now < self._resolved_at + _RETRY:
            return False
        try:
            self._addresses = self._lookup(self._host, self._port, kind, socket.AI_NUMERICHOST)
            return True
        except (OSError, UnicodeError):
            pass  # not a number
        self._resolver = threading.Thread(target=self._resolve_name, args=(kind,), name="lectern-resolver", daemon=True)
        self._resolver.start()
        return False

    def _resolve_name(self, kind: int) -> None:
        try:
            addresses, error = self._lookup(self._host, self._port, kind, 0), None
        except (OSError, UnicodeError) as e:
            addresses, error = [], e
        with self._lock:
            if self._resolver is threading.current_thread():
                self._addresses, self._resolver, self._resolved_at = addresses, None, self._clock()
                if error is not None:
                    self.error = error
        self._wake()

    def _start(self) -> None:
        """Start the thread."""
        self._threaded = True
        with self._lock:
            if self._thread is None:
                reader, writer = socket.socketpair()
                reader.setblocking(False)
                writer.setblocking(False)
                self._waker = reader, writer
                self._thread = threading.Thread(target=self._run, name="lectern", daemon=True)
                self._thread.start()

    def _wake(self) -> None:
        self._asleep = False
        waker = self._waker
        if waker is not None:
            try:
                waker[1].send(b"\0")
            except OSError:
                pass  # full: it wakes anyhow; or closed

    def _run(self) -> None:
        assert self._waker is not None
        reader = self._waker[0]
        with selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ)
            watched: Optional[socket.socket] = None
            while True:
                with self._lock:
                    self._asleep = True  # from here on an event that comes wakes, unless the step below sees it
                    due = self._step(self._clock())
                    if watched is not None:
                        selector.unregister(watched)
                    watched, interest = self._waits_for()
                    if watched is not None:
                        selector.register(watched, interest)
                    if self._done:
                        waker, self._waker = self._waker, None
                        break
                    if self._began is not None:
                        self._asleep = False
                    wait = due - self._clock()
                    calls, self._calls = self._calls, []
                for call in calls:
                    try:
                        call()
                    except Exception:
                        logging.getLogger("lectern").exception("a callback failed")
                ready = selector.select(None if wait == NEVER else max(0.0, wait))
                self._asleep = False
                if any(key.fileobj is reader for key, _ in ready):
                    reader.recv(4096)
        for end in waker:
            end.close()
        self._ended.set()

    # -- the rest of the interface

    @property
    def source(self) -> int:
        """The number under which the collector knows this emitter. It changes when a new source begins."""
        return self._packer.source

    def flush(self) -> None:
        """Send what waits for others. Over TCP it does not wait for the acknowledgement: close does."""
        if self._stale or self._closing:
            return
        with self._lock:
            self._cut(whole=True)
        self._wake()

    def set_key(self, key: str) -> None:
        """Seal what follows with another key, in place of the one that dial was given."""
        if self._secret is None:
            raise ValueError("this emitter does not seal: dial it with a key and an audience")
        secret = Secret(key, self._secret.stream, self._secret.audience)
        with self._lock:
            self._secret = secret
            self._rekey()
        self._wake()

    def _rekey(self) -> None:
        """Use another secret from now on. Called with _lock held."""

    def stats(self) -> Stats:
        """Return what became of the events so far."""
        with self._lock, self._drop_lock:
            t, buffered = self._tally, self._buffered()
            if self._done:  # what came in while it ended
                t.closed += len(self._pending)
                self._pending.clear()
                buffered = 0
            added = t.sent + t.acked + buffered + t.queue + t.socket + t.closed + t.refused + t.unsure
            return Stats(
                added, t.sent, t.acked, buffered, t.queue, t.socket, t.closed, t.refused, t.unsure,
                t.frames, t.bytes, t.unreachable, t.renewals, t.reconnects,
            )  # fmt: skip

    def close(self, timeout: float = 10.0) -> bool:
        """Send what waits and end the emitter.

        Over UDP that takes some 40 ms, for the last beats; over TCP until all is acknowledged, or timeout seconds.
        Returns whether all that was added went out and nothing is known to be missing. Calling it again does no harm.
        """
        with self._lock:
            self._closing = True
            self._threshold = 0
            self._done = self._done or self._stale  # a child that never added anything
            self._stale = False
        self._wake()
        if self._thread is None or not self._ended.wait(timeout):
            with self._lock:
                if not self._done:
                    self._give_up()
                    self._done = True
            self._wake()
        _emitters.discard(self)
        s = self.stats()
        return not (s.buffered or s.queue or s.socket or s.closed or s.refused or s.unsure or s.unreachable)

    async def aclose(self, timeout: float = 10.0) -> bool:
        """close for asyncio: the event loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(None, self.close, timeout)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        await self.aclose()

    # -- forks

    def _forked(self) -> None:
        """In the child of a fork: nothing of the parent's is sent, and a new source begins with the first event."""
        self._lock = threading.RLock()  # the parent's may be held by a thread that is not here
        if self._done:
            return
        self._pending.clear()
        self._abandon()
        if self._waker is not None:
            for end in self._waker:
                end.close()
        self._asleep = False
        self._packer.renew()
        self._begin()
        self._stale, self._threshold = True, 0

    def _go_on_forked(self) -> bool:
        """Begin the child's own source, false where that cannot be."""
        with self._lock:
            if not self._stale:
                return True
            try:
                self._begin_forked()
            except OSError as e:
                self.error = e
                self._tally.socket += 1
                return False
            self._stale, self._threshold = False, min(self._per_frame, self._queue_max)
            if self._threaded:
                self._start()
            return True

    def _begin_forked(self) -> None:
        """Open what the way of sending needs."""


_emitters: weakref.WeakSet[Emitter] = weakref.WeakSet()


def _after_fork() -> None:
    for emitter in list(_emitters):
        emitter._forked()


def _at_exit() -> None:
    for emitter in list(_emitters):
        emitter.close(5.0)  # over TCP an acknowledgement takes a second


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
