"""TCP against a collector that does everything that a collector may do, and some that it may not."""

from __future__ import annotations

import random
import select
import socket
import struct
import time
import unittest
from typing import Dict, List, Optional, Set

import oracle
from steps import Clock

import lectern
from lectern import TCP


def header(type: int, source: int, sequence: int = 0, position: int = 0, size: int = 40, flags: int = 0) -> bytes:
    return struct.pack("<HBBHHQQQQ", 0x454C, 0x10 | type, flags, size, 0, 0, source, sequence, position)


def ack(source: int, durable: int, credit: int, spool: int = 7, final: bool = False) -> bytes:
    return header(3, source, 0, spool, 56, 2 if final else 0) + struct.pack("<QQ", durable, credit)


def refusal(source: int, sequence: int, word: str, text: str = "") -> bytes:
    body = bytes([len(word)]) + word.encode() + text.encode()
    return header(4, source, sequence, 0, 40 + len(body)) + body


class Source:
    def __init__(self) -> None:
        self.frames: Dict[int, bytes] = {}
        self.refused: Set[int] = set()
        self.durable = 0  # what it acknowledged
        self.end = 0  # position behind the newest


class Fake:
    """A collector with faults. It makes a step when it is told to, and keeps every frame by number."""

    def __init__(self, seed: Optional[int]) -> None:
        self.random = random.Random(seed)
        self.faults = seed is not None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.sources: Dict[int, Source] = {}
        self.unsure: Set[int] = set()  # users in frames that were there when a source was forgotten
        self.counted: Dict[int, int] = {}
        self.refused: Set[int] = set()
        self.credit, self.spool = 2000, 7
        self.mute = False
        self.events = {"forgets": 0, "refusals": 0, "cuts": 0, "finals": 0}
        self.conn: Optional[socket.socket] = None
        self.lingering: List[socket.socket] = []
        self.known: Optional[Source] = None

    def odds(self, n: int) -> bool:
        return self.faults and self.random.randrange(n) == 0

    def close(self) -> None:
        self.listener.close()
        self.hang_up()
        for conn in self.lingering:
            conn.close()

    def hang_up(self) -> None:
        if self.conn is not None:
            self.conn.close()
        self.conn, self.known = None, None

    def step(self) -> None:
        try:
            conn, _ = self.listener.accept()
        except BlockingIOError:
            pass
        else:
            self.hang_up()
            conn.setblocking(False)
            self.conn, self.data, self.source, self.began = conn, b"", 0, False
        if self.conn is None:
            return
        try:
            got = self.conn.recv(1 << 20)
        except BlockingIOError:
            return
        except ConnectionError:
            got = b""
        if not got:
            self.hang_up()
            return
        self.data += got
        while self.conn is not None and len(self.data) >= 40:
            size = struct.unpack_from("<H", self.data, 4)[0]
            if len(self.data) < size:
                break
            frame, self.data = self.data[:size], self.data[size:]
            self.take(frame)
            if self.odds(25):
                self.events["cuts"] += 1
                self.hang_up()

    def send(self, answer: bytes) -> None:
        assert self.conn is not None
        if not self.mute:
            self.conn.sendall(answer)

    def take(self, data: bytes) -> None:
        (f,) = oracle.frames(data)
        if f.type == 2:
            assert not self.source, "a second hello"
            self.source = f.source
            if self.odds(15):  # it has lost everything
                self.events["forgets"] += 1
                for s in self.sources.values():
                    self.unsure |= {e.user for b in s.frames.values() for e in oracle.frames(b)[0].events}
                self.sources.clear()
            self.known = self.sources.get(f.source)
            self.given, self.in_flight = self.credit, 0
            self.send(ack(f.source, self.known.durable if self.known else 0, self.credit, self.spool))
            self.newest = -1
            return
        assert f.type == 1 and f.source == self.source, "a frame of another source"
        assert f.sequence > self.newest, "sequences that go back on a connection"
        self.newest = f.sequence
        self.in_flight += len(data)
        assert self.in_flight <= max(self.given, len(data)), "beyond the credit"
        if self.known is None:
            if f.sequence > 0:
                self.refuse(f, "forgotten")
                return
            self.known = self.sources[f.source] = Source()
        known = self.known
        if f.sequence in known.frames:
            assert known.frames[f.sequence] == data, "a numbered frame that has changed"
        elif f.sequence in known.refused:
            raise AssertionError("a refused frame comes again")
        else:
            assert f.position >= known.end, "a position that goes back"
            known.end = f.position + len(f.events)
            if self.odds(40):
                self.refused |= {e.user for e in f.events}
                known.refused.add(f.sequence)
                self.refuse(f, "kind", "the fake says so")
                return
            known.frames[f.sequence] = data
            for e in f.events:
                self.counted[e.user] = self.counted.get(e.user, 0) + 1
        if not self.faults or self.odds(3):
            known.durable = self.newest + 1
            self.in_flight = 0
            self.credit = self.random.choice([500, 2000, 5000]) if self.faults else self.credit
            self.given = max(self.given, self.credit)  # that one came before
            if self.odds(20):
                self.events["finals"] += 1
                self.send(ack(self.source, known.durable, 0, self.spool, final=True))
                self.hang_up()
                return
            self.send(ack(self.source, known.durable, self.credit, self.spool))

    def refuse(self, f: oracle.Frame, word: str, text: str = "") -> None:
        self.events["refusals"] += 1
        self.send(refusal(f.source, f.sequence, word, text))
        assert self.conn is not None
        self.conn.shutdown(socket.SHUT_WR)
        self.lingering.append(self.conn)
        self.conn = None
        self.known = None


class TestTCP(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def start(self, seed: Optional[int] = None, **options: object) -> TCP:
        self.fake = Fake(seed)
        self.addCleanup(self.fake.close)
        out = self.clock.make(TCP, "127.0.0.1", self.fake.port, **options)
        self.addCleanup(out.close, 0)
        return out

    def both(self, out: TCP, seconds: float) -> None:
        """Let time pass for both."""
        end = self.clock.seconds + seconds
        while self.clock.seconds < end:
            for _ in range(3):
                with out._lock:
                    due = out._step(self.clock.seconds)
                self.fake.step()
            if out._done:
                return
            self.clock.seconds += 0.01 if due - self.clock.seconds > 0.01 else 0.001
        self.clock.seconds = end

    def end(self, out: TCP, seconds: float = 60) -> None:
        with out._lock:
            out._closing, out._threshold = True, 0
        self.both(out, seconds)
        self.assertTrue(out._done, out.error)

    def test_acknowledged(self) -> None:
        out = self.start(flush_age=0.01)
        for i in range(1000):
            self.assertTrue(out.open(5, i))
        self.end(out)
        self.assertEqual(self.fake.counted, {i: 1 for i in range(1000)})
        s = out.stats()
        self.assertEqual((s.added, s.acked, s.buffered), (1000, 1000, 0))
        self.assertTrue(out.close())

    def test_ends_with_the_last_ack(self) -> None:
        """The step that takes the last ack ends the emitter: nothing would wake it for another."""
        out = self.start(flush_age=0.01)
        self.both(out, 0.1)
        self.fake.mute = True
        out.open(1, 1)
        self.both(out, 0.1)
        out._closing, out._threshold = True, 0
        out._step(self.clock.seconds)
        self.assertFalse(out._done)
        self.fake.mute = False
        self.fake.send(ack(out.source, 1, 1000))
        out._step(self.clock.seconds)
        self.assertTrue(out._done)

    def test_faults(self) -> None:
        """Whatever the collector does, each event is counted at most once, and what is counted twice or not at all is said."""
        seen = {"forgets": 0, "refusals": 0, "cuts": 0, "finals": 0}
        for seed in range(20):
            ended: List[lectern.SourceEnded] = []
            out = self.start(seed, flush_age=0.01, frame_size=300, buffer_size=1 << 20, on_source_ended=ended.append)
            n = 0
            for _ in range(60):
                for _ in range(random.Random(seed).randrange(40)):
                    out.open(1, n)
                    n += 1
                self.both(out, 0.05)
            self.fake.faults = False
            self.end(out, 300)
            for call in out._calls:
                call()
            s = out.stats()
            where = f"seed {seed}: {s}"
            self.assertEqual(s.added, n, where)
            self.assertEqual(s.added, s.acked + s.refused + s.unsure, where)
            self.assertEqual(s.refused, len(self.fake.refused), where)
            self.assertEqual(s.unsure, sum(e.unsure for e in ended), where)
            self.assertEqual([u for u, times in self.fake.counted.items() if times > 1], [], where)
            missing = set(range(n)) - set(self.fake.counted) - self.fake.refused
            self.assertLessEqual(len(missing), s.unsure, where)
            if not ended:
                self.assertEqual(missing, set(), where)
            for key in seen:
                seen[key] += self.fake.events[key]
            self.fake.close()
        self.assertTrue(all(n > 0 for n in seen.values()), seen)

    def test_full_buffer(self) -> None:
        """Without acks the memory stays bounded, and what is dropped shows as lost."""
        out = self.start(flush_age=0.01, frame_size=300, buffer_size=3000, queue=50)
        self.both(out, 0.1)
        self.fake.mute = True
        for i in range(2000):
            out.open(1, i)
            if i % 10 == 0:
                self.both(out, 0.01)
        s = out.stats()
        self.assertLess(out._bytes, 3001)
        self.assertGreater(s.queue, 1000)
        self.assertEqual(s.added, 2000)
        self.fake.mute = False
        self.both(out, 45)  # the silent connection is given up, and the next one answers
        self.end(out)
        s = out.stats()
        self.assertEqual((s.acked, s.acked + s.queue), (len(self.fake.counted), 2000))
        frames = sorted(f.position + len(f.events) for b in self.fake.sources[out.source].frames.values() for f in oracle.frames(b))
        self.assertEqual(frames[-1], 2000)

    def test_another_spool(self) -> None:
        """What was sent to one collector is not sent to another."""
        ended: List[lectern.SourceEnded] = []
        out = self.start(flush_age=0.01, on_source_ended=ended.append)
        self.both(out, 0.1)
        self.fake.mute = True
        out.open(1, 1)
        self.both(out, 0.1)
        first = out.source
        self.assertEqual(self.fake.counted, {1: 1})
        self.fake.hang_up()
        out.open(2, 2)
        self.fake.mute, self.fake.spool = False, 8
        self.both(out, 5)
        self.end(out)
        self.assertEqual(self.fake.counted, {1: 1, 2: 1})
        self.assertNotEqual(out.source, first)
        s = out.stats()
        self.assertEqual((s.unsure, s.acked), (1, 1))

    def test_ahead(self) -> None:
        """An ack of what was never sent ends the source."""
        out = self.start(flush_age=0.01)
        out.open(1, 1)
        self.both(out, 0.1)
        first = out.source
        self.fake.send(ack(first, 1000, 10000))
        out.open(2, 2)
        self.both(out, 5)
        self.assertNotEqual(out.source, first)
        self.end(out)
        self.assertEqual(self.fake.counted, {1: 1, 2: 1})

    def test_foreign(self) -> None:
        """Somebody else's answer is no answer."""
        out = self.start(flush_age=0.01)
        self.fake.mute = True
        out.open(1, 1)
        self.both(out, 0.1)
        assert self.fake.conn is not None
        self.fake.conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(40))
        self.both(out, 0.01)
        self.assertIn("does not answer like a collector", str(out.error))
        self.fake.mute = False
        self.end(out)
        self.assertEqual(self.fake.counted, {1: 1})

    def test_beats(self) -> None:
        out = self.start()
        self.both(out, 20)
        frames = self.fake.sources[out.source].frames
        self.assertEqual([oracle.frames(b)[0].position for b in frames.values()], [0] * 4)
        times = [oracle.frames(b)[0].ms for b in frames.values()]
        self.assertEqual([round((t - times[0]) / 1000) for t in times], [0, 2, 6, 14])
        self.end(out)

    def test_nobody(self) -> None:
        """close gives up when its time is up, and says so."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))  # so that nobody else listens there either
            out = lectern.dial(f"tcp://127.0.0.1:{s.getsockname()[1]}")
            out.open(1, 1)
            out.flush()
            while out.error is None:
                time.sleep(0.001)
            self.assertFalse(out.close(0.05))
        self.assertIsInstance(out.error, OSError)
        self.assertEqual((out.stats().closed, out.stats().added), (1, 1))

    def test_thread(self) -> None:
        """With its own thread and clock, against a collector that is played in this one."""
        self.fake = Fake(None)
        self.addCleanup(self.fake.close)
        self.fake.credit = 1 << 20
        out = lectern.dial(f"tcp://127.0.0.1:{self.fake.port}", flush_age=0.01)
        for i in range(20_000):
            out.open(1, i)
        out.flush()
        while out.stats().acked < 20_000:
            select.select([s for s in (self.fake.listener, self.fake.conn) if s is not None], [], [], 1)
            self.fake.step()
        self.assertTrue(out.close())
        self.assertEqual(self.fake.counted, {i: 1 for i in range(20_000)})


if __name__ == "__main__":
    unittest.main()
