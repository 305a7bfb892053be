"""Datagrams: nothing is resent, and what is lost shows in the collector's books."""

from __future__ import annotations

import errno
import socket
from typing import List, Optional

from . import _wire
from ._emitter import BEAT_MAX, BEAT_MIN, NEVER, Address, Emitter
from ._packer import Packer

_BEATS = 3  # when a source begins and when it ends
_BEAT_GAP = 0.02
_RENEW_WAIT = 1.0  # how old a socket gets at least, and how long a failed attempt to replace it is not repeated


class _Retired:
    """A source that ends, and the socket that it ends over."""

    def __init__(self, sock: socket.socket, numbers: Packer, now: float) -> None:
        self.socket, self.numbers, self.left, self.due = sock, numbers, _BEATS, now


class UDP(Emitter):
    """Sends events in datagrams. Made by lectern.dial("udp://…").

    Every socket_age seconds with events, and when the collector's host answers that nobody listens or the socket fails,
    the name is resolved again, and a new source goes on over a new socket: behind it there may be another collector.
    """

    _said_for = 3600.0  # nobody answers: what was lost is said again

    def __init__(
        self,
        host: str,
        port: int,
        stream: int = 0,
        datagram_size: int = 1400,
        flush_age: float = 0.25,
        socket_age: float = 300.0,
        queue: int = 32768,
        key: Optional[str] = None,
        audience: Optional[str] = None,
    ) -> None:
        least = _wire.SIZE_MIN + (0 if key is None else _wire.TAG_SIZE)
        if not least <= datagram_size <= 65507:
            raise ValueError(f"datagram size {datagram_size} is outside of {least} to 65507 bytes")
        if socket_age < _RENEW_WAIT:
            raise ValueError(f"socket age {socket_age} is below {_RENEW_WAIT} seconds")
        addresses = self._lookup(host, port, socket.SOCK_DGRAM, 0)
        super().__init__(host, port, stream, datagram_size, flush_age, queue, key, audience)
        self._rekey()
        self._socket_age = socket_age
        self._known = addresses  # of the last resolution that succeeded
        self._socket: Optional[socket.socket] = None
        self._retired: List[_Retired] = []
        self._begin_socket(self._connect(addresses))

    def _begin_socket(self, sock: socket.socket) -> None:
        """Begin a source over a new socket."""
        now = self._clock()
        self._socket, self._born, self._tried = sock, now, -NEVER
        self._last_events = 0  # in the last datagram that the kernel took
        self._renew_wanted = self._resolving = False
        self._final: Optional[_Retired] = None
        for _ in range(_BEATS):
            self._beat(now)
        self._beat_wait = BEAT_MIN

    @staticmethod
    def _connect(addresses: List[Address]) -> socket.socket:
        error: OSError = OSError(errno.EADDRNOTAVAIL, "the name has no address")
        for family, address in addresses:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            try:
                sock.setblocking(False)
                sock.connect(address)
                return sock
            except OSError as e:
                sock.close()
                error = e
        raise error

    # -- sending

    def _can_emit(self) -> bool:
        return True

    def _emit(self, frame: memoryview, count: int) -> None:
        self._beat_wait = BEAT_MIN
        self._last_sent = self._clock()
        assert self._socket is not None
        if self._send(self._socket, frame, count, True):
            self._tally.sent += count
        else:
            self._tally.socket += count

    def _beat(self, now: float) -> None:
        assert self._socket is not None
        self._last_sent = self._last_beat = now
        self._tally.frames += 1
        self._send(self._socket, self._packer.beat(self._wall() // 1000000), 0, True)

    def _send(self, sock: socket.socket, frame: memoryview, count: int, current: bool) -> bool:
        """Give a datagram to the kernel. It is numbered already: if that fails, its events show as lost."""
        try:
            try:
                sock.send(frame)
            except ConnectionRefusedError as e:
                # The answer that nobody listens is for the datagram before this one, and came in place of sending it.
                self.error = e
                if current:
                    self._tally.unreachable += self._last_events
                    self._last_events = 0
                    self._renew_wanted = True
                sock.send(frame)
        except OSError as e:
            self.error = e
            if current and e.errno not in (errno.ENOBUFS, errno.EAGAIN, errno.EWOULDBLOCK):
                self._renew_wanted = True
            return False
        if current:
            self._last_events = count
        self._tally.bytes += len(frame)
        return True

    def _skip(self, drops: int) -> None:
        self._packer.skip(drops)
        self._beat_wait = BEAT_MIN  # so that they show soon

    # -- what is due

    def _step(self, now: float) -> float:
        if self._done:
            return NEVER
        due = min(self._age(now), self._retire(now))
        if self._closing:
            return min(due, self._end(now))
        due = min(due, self._renew(now))
        if now >= self._last_sent + self._beat_wait:
            self._cut(whole=False)  # numbers what was dropped
            self._beat(now)
            self._beat_wait = min(2 * self._beat_wait, BEAT_MAX)
        due = min(due, self._last_sent + self._beat_wait)
        if self._packer.key is None:
            return due
        # To a collector that does not know the source the time of a sealed beat says that it is no recording.
        if now >= self._last_beat + BEAT_MAX:
            self._beat(now)
        return min(due, self._last_beat + BEAT_MAX)

    def _rekey(self) -> None:
        self._packer.key = None if self._secret is None else self._secret.frame_key()

    def _renew(self, now: float) -> float:
        """Replace the socket where that is due."""
        aged = self._packer.position > 0 and now >= self._born + self._socket_age
        earliest = max(self._born, self._tried) + _RENEW_WAIT
        if not self._resolving:
            if not (aged or self._renew_wanted):
                return self._born + self._socket_age if self._packer.position > 0 else NEVER
            if now < earliest:
                return earliest
            self._resolving = True
            self._addresses = []
        if not self._resolve(socket.SOCK_DGRAM, now):
            if self._resolver is None:  # it failed
                self._resolving, self._tried = False, now
                return now + _RENEW_WAIT
            return NEVER  # the resolver wakes
        self._resolving = False
        try:
            sock = self._connect(self._addresses)
        except OSError as e:
            self.error, self._tried = e, now
            return now + _RENEW_WAIT
        self._known = self._addresses
        assert self._socket is not None
        last = Packer(self._packer.stream, _wire.SIZE_MIN)
        last.key = self._packer.key
        last.source, last.sequence, last.position = self._packer.source, self._packer.sequence, self._packer.position
        self._retired.append(_Retired(self._socket, last, now))
        self._packer.renew()
        self._tally.renewals += 1
        self.error = None
        self._begin_socket(sock)
        return self._retire(now)

    def _retire(self, now: float) -> float:
        """Send the last beats of sources that end."""
        for old in self._retired:
            if now >= old.due and old.left:
                self._tally.frames += 1
                self._send(old.socket, old.numbers.beat(self._wall() // 1000000), 0, False)
                old.left -= 1
                old.due = now + _BEAT_GAP
                if not old.left:
                    old.socket.close()
        self._retired = [old for old in self._retired if old.left]
        return min((old.due for old in self._retired), default=NEVER)

    def _end(self, now: float) -> float:
        """Send the last beats, then end."""
        assert self._socket is not None
        if self._final is None:
            self._final = _Retired(self._socket, self._packer, now)
        end = self._final
        if now >= end.due and end.left:
            self._cut(whole=True)
            self._beat(now)
            end.left -= 1
            end.due = now + _BEAT_GAP
        if not end.left and not self._retired:
            self._socket.close()
            self._done = True
            return NEVER
        return end.due if end.left else NEVER

    def _give_up(self) -> None:
        for old in self._retired:
            old.socket.close()
        if self._socket is not None:
            self._socket.close()

    # -- forks

    def _abandon(self) -> None:
        for old in self._retired:
            old.socket.close()
        self._retired = []
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _begin_forked(self) -> None:
        self._begin_socket(self._connect(self._known))
