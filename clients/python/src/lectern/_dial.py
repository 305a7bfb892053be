from __future__ import annotations

from typing import Any, Union
from urllib.parse import urlsplit

from ._tcp import TCP
from ._udp import UDP


def dial(url: str, stream: int = 0, **options: Any) -> Union[UDP, TCP]:
    """Return an emitter for the collector at udp://host:port or tcp://host:port.

    stream is the number of the application or site that the events belong to, 0 to 65534. Options of both ways:
    flush_age, how many seconds an event waits at most for others (0.25); queue, how many events may wait here to be put into
    frames (32,768); key, a line as "lectern keys new" makes it, and audience, the collector's listen.audience, which seal what
    is sent (with the extra lectern-client[sealed]). Of UDP: datagram_size (1,400 bytes) and socket_age (300 seconds). Of TCP:
    frame_size (32 KiB), buffer_size, the bytes that are kept until they are acknowledged (16 MiB), and on_source_ended, which
    is called with a SourceEnded where it is in doubt whether events were counted.

    Over UDP the name is resolved before dial returns, and an OSError says that it could not be. Over TCP nothing is
    waited for: error of the emitter tells why there is no connection.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("udp", "tcp") or not parts.hostname or not parts.port or parts.path not in ("", "/"):
        raise ValueError(f"{url!r} is not udp://host:port or tcp://host:port")
    way = UDP if parts.scheme == "udp" else TCP
    emitter = way(parts.hostname, parts.port, stream, **options)
    emitter._start()
    return emitter
