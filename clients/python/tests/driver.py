"""The driver for lectern conform: wire/SPEC.md, section 14. The emitter's steps are made here, by a clock of its own."""

from __future__ import annotations

import errno
import importlib.util
import os
import select
import socket
import sys
from typing import Any, Dict, List, Optional

import lectern
from lectern import _emitter
from lectern._emitter import Address, Emitter

KINDS = {"open": 0, "read": 1, "finish": 2, "save": 3, "share": 4, "impression": 5, "click": 6}
now_ms = 1767225600000
names: Dict[str, str] = {}
jammed = 0


class Socket(socket.socket):
    """A socket whose datagrams the kernel does not take when that is asked for."""

    def send(self, data: Any, flags: int = 0) -> int:
        global jammed
        if jammed and self.type == socket.SOCK_DGRAM:
            jammed -= 1
            raise BlockingIOError(errno.EAGAIN, "jammed")
        return super().send(data, flags)


def lookup(host: str, port: int, kind: int, flags: int) -> List[Address]:
    if host in names:
        host = names[host]
    elif host.endswith(".test"):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    return _emitter.lookup(host, port, kind, flags)


socket.socket = Socket  # type: ignore[misc]
Emitter._clock = staticmethod(lambda: now_ms / 1000)
Emitter._wall = staticmethod(lambda: now_ms * 1000000)
Emitter._lookup = staticmethod(lookup)


class Driver:
    def __init__(self) -> None:
        self.out: Optional[Emitter] = None

    def settle(self) -> None:
        """Do all that can be done without time passing."""
        out = self.out
        while out is not None and not out._stale:
            if out._resolver is not None:
                out._resolver.join()
            with out._lock:
                due = out._step(out._clock())
                sock, interest = out._waits_for()
            if out._done:
                return
            if due <= out._clock():
                continue
            if sock is None:
                return
            writes = [sock] if interest & 2 else []
            if not any(select.select([sock], writes, [], 0)):
                return

    def command(self, word: str, args: List[str]) -> str:
        global now_ms, jammed
        options = dict(a.split("=", 1) for a in args if "=" in a)
        out = self.out
        if word == "hello":
            sealed = ["sealed"] if importlib.util.find_spec("cryptography") else []
            has = ["udp", "tcp", "resolve", "jam", "names", "attributes", *sealed] + (["fork"] if hasattr(os, "fork") else [])
            return "ok client=python/1 has=" + ",".join(has)
        if word == "resolve":
            names[args[0]] = args[1]
        elif word == "hash":
            return f"ok id={lectern.id(bytes.fromhex(args[0] if args else ''))}"
        elif word == "dial":
            return self.dial(args[0], args[1], options)
        elif word == "jam":
            jammed = int(args[0])
        elif word == "clock":
            now_ms += int(args[0])
        elif word == "fork":
            return self.fork()
        elif word == "exit":
            os._exit(0)
        elif word == "poll":
            pass
        elif out is None:
            return "no closed"
        elif word == "add":
            return self.add(out, args, options)
        elif word == "name":
            try:
                if not out.name(bytes.fromhex(args[0] if args else "")):
                    return "no closed"
            except ValueError:
                return "no invalid"
        elif word == "describe":
            text = bytes.fromhex(args[2] if len(args) > 2 else "").decode(errors="surrogateescape")
            try:
                value: Any = int(text) if args[1] in ("published", "words") and text else text
                if not out.describe(int(args[0]), **{args[1]: value}):
                    return "no closed"
            except ValueError:
                return "no invalid"
        elif word == "key":
            out.set_key(args[0])
        elif word == "flush":
            if out._closing:
                return "no closed"
            out.flush()
        elif word == "stats":
            s = out.stats()
            return "ok " + " ".join(
                f"{n}={getattr(s, n)}" for n in ("added", "sent", "acked", "buffered", "queue", "socket", "closed", "refused", "unsure")
            )
        elif word == "close":
            return self.close(out, int(args[0]))
        else:
            return f"error there is no {word}"
        self.settle()
        if word == "clock" and out is not None and out._closing:
            return self.closed(out)
        return "ok"

    def dial(self, way: str, address: str, options: Dict[str, str]) -> str:
        host, port = address.rsplit(":", 1)
        kwargs: Dict[str, Any] = {}
        for key, name, scale in (
            ("stream", "stream", 1),
            ("flush", "flush_age", 1000),
            ("datagram", "datagram_size", 1),
            ("age", "socket_age", 1000),
            ("frame", "frame_size", 1),
            ("buffer", "buffer_size", 1),
        ):
            if key in options:
                kwargs[name] = int(options[key]) / scale if scale > 1 else int(options[key])
        kwargs.update({key: options[key] for key in ("key", "audience") if key in options})
        try:
            self.out = (lectern.UDP if way == "udp" else lectern.TCP)(host, int(port), **kwargs)
        except ValueError:
            return "no invalid"
        self.until: Optional[float] = None
        self.settle()
        return "ok"

    def add(self, out: Emitter, args: List[str], options: Dict[str, str]) -> str:
        try:
            kind = KINDS[args[0]] if args[0] in KINDS else int(args[0])
            at = int(options["at"]) if "at" in options else None
            progress = int(options["progress"]) if "progress" in options else None
            for i in range(int(options.get("n", "1"))):
                out.add(kind, int(args[1]), int(args[2]) + i, int(options.get("dwell", "0")), progress, at)
        except ValueError:
            return "no invalid"
        if out._closing:
            return "no closed"
        self.settle()
        return "ok"

    def close(self, out: Emitter, ms: int) -> str:
        if out._stale:
            out.close()
        with out._lock:
            out._closing, out._threshold = True, 0
        if self.until is None:
            self.until = out._clock() + ms / 1000
        self.settle()
        return self.closed(out)

    def closed(self, out: Emitter) -> str:
        if not out._done:
            assert self.until is not None
            if out._clock() < self.until:
                return "ok closing"
            out.close()
        return "ok closed"

    def fork(self) -> str:
        sys.stdout.flush()
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return "ok"


def main() -> None:
    driver = Driver()
    line = bytearray()
    while True:
        c = os.read(0, 1)  # no further than the line: a fork's other process reads the next one
        if not c:
            return
        if c != b"\n":
            line += c
            continue
        words = line.decode().split(" ")
        line.clear()
        if words[0].startswith("#"):
            continue
        try:
            answer = driver.command(words[0], words[1:])
        except Exception as e:
            answer = f"error {e!r}".replace("\n", " ")
        os.write(1, answer.encode() + b"\n")


main()
