"""Sends read events to a Lectern collector.

    import lectern

    with lectern.dial("udp://127.0.0.1:8420", stream=1) as out:
        out.open(lectern.id("/a/slug"), user=7)

Over UDP nothing waits and nothing is resent; what is lost shows in the collector's books. Over TCP every event is kept
until the collector has it on its disk, and is sent again, over new connections, until then.
"""

from ._dial import dial
from ._emitter import Emitter, Kind, Stats
from ._id import id
from ._tcp import TCP, SourceEnded
from ._udp import UDP
from ._wire import RefusedError

__all__ = ["Emitter", "Kind", "RefusedError", "SourceEnded", "Stats", "TCP", "UDP", "dial", "id"]
