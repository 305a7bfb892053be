"""A clock that tests move, and emitters that make their steps by it, without a thread."""

from __future__ import annotations

import socket
from typing import Any, List, Tuple, Type, TypeVar

from lectern._emitter import NEVER, Emitter

START = 1_700_000_000_000
T = TypeVar("T", bound=Emitter)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def make(self, way: Type[T], *args: Any, **options: Any) -> T:
        """Return an emitter that lives by this clock."""
        clock = self

        class Stepped(way):  # type: ignore[valid-type, misc]
            _clock = staticmethod(lambda: clock.seconds)
            _wall = staticmethod(lambda: START * 1000000 + round(clock.seconds * 1000) * 1000000)

        out: T = Stepped(*args, **options)
        return out

    def run(self, out: Emitter, seconds: float) -> None:
        """Let time pass, with a step whenever one is due."""
        end = self.seconds + seconds
        while True:
            with out._lock:
                due = out._step(self.seconds)
            if due > end or due == NEVER or out._done:
                break
            self.seconds = max(due, self.seconds)
        self.seconds = end


def receiver() -> Tuple[socket.socket, int]:
    """Return a UDP socket and its port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock, sock.getsockname()[1]


def received(sock: socket.socket) -> List[bytes]:
    """Return what has come."""
    out = []
    while True:
        try:
            out.append(sock.recv(65536))
        except BlockingIOError:
            return out
