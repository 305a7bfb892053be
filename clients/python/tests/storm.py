"""test storm: children that inherit an emitter, as those of a pre-fork server do."""

from __future__ import annotations

import os
import sys

import lectern

way, address, stream, processes, events = sys.argv[1:]
out = lectern.dial(f"{way}://{address}", stream=int(stream))
out.open(1, 1)
children = []
for n in range(int(processes)):
    child = os.fork()
    if not child:
        for i in range(int(events)):
            out.open(2 + n, i)
        sys.exit(0)  # as a worker does that is told to stop: what runs at exit closes the emitter
    children.append(child)
added = 1
for child in children:
    if os.waitpid(child, 0)[1] == 0:
        added += int(events)
out.open(1, 2)
added += 1
ok = out.close(30)
print(f"added={added}")
sys.exit(not ok)
