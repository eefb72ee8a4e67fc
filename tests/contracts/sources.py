"""Sources: what the contract of a record source is held against. A new one is a class with these methods in the list at the end.

It is made of the values of one partition, in order, and opened as often as there are processes.
"""

from __future__ import annotations

import gzip
import json
import os
import threading
from contextlib import suppress

from contracts.units import ONE
from streamkl.adapters.file_records import FileRecords
from streamkl.adapters.memory import MemoryLog, MemorySource


class OfMemory:
    """The twin; three records a poll, and now and then none."""

    implementation = MemorySource

    def __init__(self, folder, values):
        self._log = MemoryLog()
        self._log.create(ONE)
        for value in values:
            self._log.append(ONE, value)

    def open(self):
        return MemorySource(self._log, poll_sizes=(3, 0, 1), ends=True)


class OfFile:
    """JSON Lines, read in blocks that cut lines anywhere."""

    implementation = FileRecords
    name = "payments.jsonl"

    def __init__(self, folder, values):
        self._path = folder / self.name
        self._path.write_bytes(self.stored(values))

    def stored(self, values):
        return b"".join(value + b"\n" for value in values)

    def open(self):
        return FileRecords(str(self._path), ONE.topic, block_bytes=7)


class OfGzip(OfFile):
    """The same, compressed."""

    name = "payments.jsonl.gz"

    def stored(self, values):
        return gzip.compress(super().stored(values))


class OfPipe(OfFile):
    """The same from a named pipe, which cannot be read again."""

    def open(self):
        pipe = self._path.with_suffix(".pipe")
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        threading.Thread(target=self._feed, args=(pipe,), daemon=True).start()
        return FileRecords(str(pipe), ONE.topic, block_bytes=7)

    def _feed(self, pipe):
        with suppress(BrokenPipeError):     # a source may leave before the end
            pipe.write_bytes(self._path.read_bytes())


SOURCES = [OfMemory, OfFile, OfGzip, OfPipe]
VALUES = [json.dumps({"x": number}).encode() for number in range(20)]
