"""UDP, by a clock that stands still unless it is moved."""

from __future__ import annotations

import errno
import os
import socket
import threading
import unittest
from typing import Any, Dict, List, Tuple
from unittest import mock

import oracle
from steps import START, Clock, received, receiver

import lectern
from lectern import UDP, Kind


class TestUDP(unittest.TestCase):
    def setUp(self) -> None:
        self.clock, self.book = Clock(), oracle.Book()
        self.sock, self.port = receiver()
        self.addCleanup(self.sock.close)

    def make(self, **options: object) -> UDP:
        return self.clock.make(UDP, "127.0.0.1", self.port, **options)

    def take(self) -> List[oracle.Frame]:
        return [f for d in received(self.sock) for f in self.book.take(d)]

    def close(self, out: UDP) -> None:
        with out._lock:
            out._closing, out._threshold = True, 0
        self.clock.run(out, 1)
        self.assertTrue(out._done)
        out.close()

    def test_a_life(self) -> None:
        out = self.make(stream=7)
        opening = self.take()
        self.assertEqual([(f.sequence, f.position, len(f.events), f.stream) for f in opening], [(0, 0, 0, 7), (1, 0, 0, 7), (2, 0, 0, 7)])
        out.open(1, 2)
        out.read(1, 2, dwell=10_000, progress=30)
        self.clock.run(out, 0.249)
        self.assertEqual(self.take(), [])
        self.clock.run(out, 0.002)
        (frame,) = self.take()
        self.assertEqual(frame.events, [(START, 0, 1, 2, 0, None), (START, 1, 1, 2, 10_000, 30)])
        self.close(out)
        last = self.take()
        self.assertEqual([(f.position, len(f.events)) for f in last], [(2, 0)] * 3)
        self.assertEqual([f.ms - last[0].ms for f in last], [0, 20, 40])
        self.assertEqual((out.stats().added, out.stats().sent), (2, 2))
        self.assertFalse(out.open(1, 2))
        self.assertEqual(out.stats().closed, 1)

    def test_names_and_attributes(self) -> None:
        """Each goes out once an hour, in a datagram of its own behind the events, and an attribute when it changes."""
        out = self.make()
        self.take()
        a = lectern.id("/a")

        def said() -> List[Tuple[int, int, str]]:
            out.flush()
            self.clock.run(out, 0.001)
            return [n for f in self.take() for n in f.names]

        for _ in range(3):
            out.open(a, 1)
            self.assertTrue(out.name("/a"))
            self.assertTrue(out.describe(a, title="L’étoile", words=1200, published=1767225600000))
        out.flush()
        self.clock.run(out, 0.001)
        frames = self.take()
        self.assertEqual([(len(f.events), f.position) for f in frames], [(3, 0), (0, 3)])
        self.assertEqual(frames[1].names, [(0, a, "/a"), (1, a, "L’étoile"), (4, a, "1767225600000"), (5, a, "1200")])
        out.describe(a, title="B")
        out.describe(a, title="L’étoile")
        out.describe(42, title="L’étoile", section="L’étoile", author="")
        out.describe(a, words="")
        self.assertEqual(said(), [(1, a, "B"), (1, a, "L’étoile"), (1, 42, "L’étoile"), (2, 42, "L’étoile"), (3, 42, ""), (5, a, "")])
        self.clock.run(out, 3590)
        self.take()
        out.describe(a, title="L’étoile", words="")
        self.assertEqual(said(), [])
        self.clock.run(out, 20)
        self.take()
        out.name("/a")
        out.describe(a, title="L’étoile")
        self.assertEqual(said(), [(0, a, "/a"), (1, a, "L’étoile")])
        self.close(out)
        self.take()
        self.assertFalse(out.describe(a, title="late"))

    def test_attributes_that_no_collector_takes(self) -> None:
        out = self.make()
        self.take()
        wrong: List[Dict[str, Any]] = [
            {"title": "x" * 513}, {"section": "é" * 257}, {"author": "\udc80"}, {"title": 7}, {"words": -1}, {"words": "1200"},
            {"published": 1 << 48}, {"published": 1.5}, {"words": 1, "title": "x" * 513},
        ]  # fmt: skip
        for values in wrong:
            with self.subTest(values), self.assertRaises(ValueError):
                out.describe(42, **values)
        with self.assertRaises(ValueError):
            out.describe(1 << 64, title="A")
        with self.assertRaises(TypeError):
            out.describe(42, name="A")  # type: ignore[call-arg]
        for good in ("x" * 512, "é" * 256, ""):
            self.assertTrue(out.describe(42, title=good))
        self.assertTrue(out.describe(42, published=(1 << 48) - 1, words=0))
        out.flush()
        self.clock.run(out, 0.001)
        self.assertEqual(sum(len(f.names) for f in self.take()), 5)
        self.close(out)

    def test_names_that_are_remembered_are_bounded(self) -> None:
        out = self.make()
        for n in range(70_000):
            while not out.describe(n, title="A"):
                self.clock.run(out, 0.25)
            if n % 1000 == 0:
                self.take()
        self.assertEqual(len(out._said), 65536)
        self.close(out)

    def test_beats_of_silence(self) -> None:
        out = self.make()
        self.take()
        begin, times = self.clock.seconds, []
        for _ in range(50_000):
            self.clock.run(out, 0.001)
            times += [round(self.clock.seconds - begin) for _ in self.take()]
        self.assertEqual(times, [1, 3, 7, 15, 31, 47])
        out.open(1, 1)
        self.clock.run(out, 0.251)
        self.assertEqual(len(self.take()), 1)
        self.clock.run(out, 0.998)
        self.assertEqual(self.take(), [])
        self.clock.run(out, 0.002)
        self.assertEqual(len(self.take()), 1)
        self.close(out)

    def test_full_datagrams(self) -> None:
        out = self.make()
        self.take()
        for i in range(5000):
            out.add(Kind.OPEN, lectern.id(f"c{i % 7}"), lectern.id(f"u{i}"))
        full = received(self.sock)
        self.assertGreater(len(full), 50)
        for d in full:
            self.book.take(d)
            self.assertTrue(1200 < len(d) <= 1400, len(d))
        self.close(out)
        self.take()
        self.assertEqual([e.user for e in self.book.events], [lectern.id(f"u{i}") for i in range(5000)])
        self.assertEqual(self.book.lost, 0)

    def test_kernel_takes_nothing(self) -> None:
        """A datagram that the kernel does not take is lost and numbered."""
        out = self.make(flush_age=0.01)
        sock = out._socket
        for error in (errno.EAGAIN, errno.ENOBUFS):
            out.open(1, 1)
            with mock.patch.object(out, "_socket", mock.Mock(send=mock.Mock(side_effect=OSError(error, "no")))):
                self.clock.run(out, 0.02)
        self.assertIs(out._socket, sock)
        out.open(2, 2)
        self.close(out)
        self.take()
        self.assertEqual([e.content for e in self.book.events], [2])
        self.assertEqual(self.book.lost, 2)
        s = out.stats()
        self.assertEqual((s.added, s.sent, s.socket), (3, 1, 2))

    def test_full_queue(self) -> None:
        """While somebody else holds the lock events wait, and are dropped and numbered where there is no room."""
        out = self.make(queue=100)
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with out._lock:
                held.set()
                release.wait()

        other = threading.Thread(target=hold)
        other.start()
        held.wait()
        taken = [out.open(1, i) for i in range(1, 151)]
        release.set()
        other.join()
        self.assertEqual((taken.count(True), taken[99], taken[100]), (100, True, False))
        self.assertEqual(out.stats().queue, 50)
        self.close(out)
        self.take()
        self.assertEqual((len(self.book.events), self.book.lost), (100, 50))
        self.assertEqual(out.stats().added, 150)

    def test_renewed_when_old(self) -> None:
        out = self.make(socket_age=2.0)
        self.clock.run(out, 10)  # nothing was sent over it: it stays
        self.assertEqual(out.stats().renewals, 0)
        first = out.source
        out.open(1, 1)
        self.clock.run(out, 3)
        self.assertEqual(out.stats().renewals, 1)
        self.assertNotEqual(out.source, first)
        out.open(2, 2)
        self.close(out)
        frames = self.take()
        self.assertEqual(self.book.order, [first, out.source])
        old = [f for f in frames if f.source == first]
        self.assertEqual([f.ms - old[-3].ms for f in old[-3:]], [0, 20, 40])
        self.assertEqual((self.book.lost, len(self.book.events)), (0, 2))

    def test_nobody_listens(self) -> None:
        """After the host's answer that nobody listens, the name is resolved anew and another source begins."""
        self.sock.close()
        out = self.make()
        self.addCleanup(lambda: self.sock.close())
        self.clock.run(out, 0.5)
        self.assertEqual(out.stats().renewals, 0)  # not before a second
        out.open(1, 1)
        self.clock.run(out, 0.3)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", self.port))
        self.sock.setblocking(False)
        self.clock.run(out, 1.0)
        self.assertEqual(out.stats().renewals, 1)
        out.open(2, 2)
        self.close(out)
        frames = [f for d in received(self.sock) for f in oracle.frames(d) if f.source == out.source]
        self.assertEqual([f.sequence for f in frames], list(range(7)))
        self.assertEqual([e.content for f in frames for e in f.events], [2])

    def test_bad_events(self) -> None:
        out = self.make()
        for bad in (
            lambda: out.open(-1, 1),
            lambda: out.open(1, 1 << 64),
            lambda: out.add(7, 1, 1),
            lambda: out.click(1, 1, 256),
            lambda: out.add(6, 1, 1, progress=0),
            lambda: out.read(1, 1, dwell=-1),
            lambda: out.read(1, 1, progress=101),
            lambda: out.open(1, 1, at=1_700_000_000),
            lambda: out.open(1, 1, at=1 << 48),
        ):
            self.assertRaises(ValueError, bad)
        self.assertRaises(TypeError, lambda: out.open("slug", 1))  # type: ignore[arg-type]
        out.read(1, 1, dwell=1 << 30, progress=100)
        self.close(out)
        self.take()
        self.assertEqual([(e.dwell, e.progress) for e in self.book.events], [((1 << 24) - 1, 100)])

    def test_fork(self) -> None:
        """A child has a source of its own, over a socket of its own, and its parent's events stay its parent's."""
        out = self.make()
        out.open(1, 1)
        parent = out.source
        child = os.fork()
        if not child:
            code = 1
            try:
                before = out.stats().added
                out.open(2, 2)
                self.close(out)
                code = 0 if before == 0 and out.stats().sent == 1 and out.source != parent else 2
            finally:
                os._exit(code)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        out.open(3, 3)
        self.close(out)
        frames = self.take()
        by_source = {s: [e.content for f in frames if f.source == s for e in f.events] for s in self.book.order}
        self.assertEqual(by_source.pop(parent), [1, 3])
        self.assertEqual(list(by_source.values()), [[2]])
        self.assertEqual(self.book.lost, 0)

    def test_options(self) -> None:
        for options in (
            {"stream": 65535},
            {"datagram_size": 64},
            {"datagram_size": 65508},
            {"flush_age": 0},
            {"queue": 0},
            {"socket_age": 0.5},
        ):
            with self.assertRaises(ValueError, msg=str(options)):
                UDP("127.0.0.1", self.port, **options)
        for url in ("127.0.0.1:1", "udp://127.0.0.1", "http://127.0.0.1:1", "udp://:1"):
            with self.assertRaises(ValueError, msg=url):
                lectern.dial(url)


class TestThreads(unittest.TestCase):
    def test_many(self) -> None:
        """Threads that add at once, with the emitter's own thread and clock: each event goes out once."""
        sock, port = receiver()
        self.addCleanup(sock.close)
        out = lectern.dial(f"udp://127.0.0.1:{port}", flush_age=0.001)
        datagrams: List[bytes] = []
        ended = threading.Event()

        def collect() -> None:
            while not ended.is_set():
                datagrams.extend(received(sock))

        def add(first: int) -> None:
            for i in range(5000):
                out.open(first + i, 1)

        collector = threading.Thread(target=collect)
        collector.start()
        adders = [threading.Thread(target=add, args=(1 + 5000 * n,)) for n in range(4)]
        for t in adders:
            t.start()
        for t in adders:
            t.join()
        self.assertTrue(out.close())
        ended.set()
        collector.join()
        book = oracle.Book()
        for d in datagrams + received(sock):
            book.take(d)
        self.assertEqual(sorted(e.content for e in book.events), list(range(1, 20001)))
        self.assertEqual(book.lost, 0)

    def test_asyncio(self) -> None:
        import asyncio

        sock, port = receiver()
        self.addCleanup(sock.close)

        async def main() -> None:
            async with lectern.dial(f"udp://127.0.0.1:{port}") as out:
                out.open(1, 1)

        asyncio.run(main())
        book = oracle.Book()
        for d in received(sock):
            book.take(d)
        self.assertEqual((len(book.events), book.beats), (1, 6))


if __name__ == "__main__":
    unittest.main()
