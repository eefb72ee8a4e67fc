"""Sources: what the contract of a record source is held against. A new one is a class with these methods in the list at the end.

It is made of the values of one partition, in order, and opened as often as there are processes.
"""

from __future__ import annotations

import gzip
import json
import os

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

    def close(self):
        """Of memory nothing is held open."""


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

    def close(self):
        """A file is opened and closed by its source."""


class OfGzip(OfFile):
    """The same, compressed."""

    name = "payments.jsonl.gz"

    def stored(self, values):
        return gzip.compress(super().stored(values))


class OfPipe(OfFile):
    """The same from a pipe that holds all of it, and which cannot be read again."""

    def open(self):
        self._read_end, write_end = os.pipe()
        os.write(write_end, self._path.read_bytes())
        os.close(write_end)
        return FileRecords(f"/dev/fd/{self._read_end}", ONE.topic, block_bytes=7)

    def close(self):
        os.close(self._read_end)


SOURCES = [OfMemory, OfFile, OfGzip, OfPipe]
VALUES = [json.dumps({"x": number}).encode() for number in range(20)]
