"""File events: the drift events of a file of JSON lines, as `streamkl watch --json` writes them, while it may grow.

Rule: a line counts once its line feed is there; without one, at the end of the file, only if nothing more is waited for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final

from streamkl.adapters.event_lines import event_of_line
from streamkl.detect.event import DriftEvent
from streamkl.errors import Unavailable

BLOCK_BYTES: Final = 1 << 20
WAIT_SECONDS: Final = 0.5


class FileEvents:
    """Reads the drift events of a file; meets `service.ports.EventReader`."""

    def __init__(self, path: str, wait_seconds: float = WAIT_SECONDS) -> None:
        self.name = path
        self.foreign = 0
        self._wait_seconds = wait_seconds
        try:
            self._file = open(path, "rb")  # noqa: SIM115 - open until `close`
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Unavailable(f"cannot open {path!r}: {reason}; correct the path, or the rights of the file") from error

    def batches(self, is_following: bool) -> Iterator[list[DriftEvent]]:
        """See `EventReader.batches`."""
        rest = b""
        while True:
            block = self._block()
            *lines, rest = (rest + block).split(b"\n")
            if block:
                yield self._events(lines)
            elif is_following:
                yield []
                self._refuse_truncated()
                time.sleep(self._wait_seconds)
            else:
                yield self._events([rest])
                return

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _events(self, lines: list[bytes]) -> list[DriftEvent]:
        events = [event_of_line(line) for line in lines if line.strip()]
        self.foreign += events.count(None)
        return [event for event in events if event is not None]

    def _block(self) -> bytes:
        try:
            return self._file.read(BLOCK_BYTES)
        except OSError as error:
            raise Unavailable(f"cannot read {self.name!r}: {error.strerror}; give a file of JSON lines that can be read") from error

    def _refuse_truncated(self) -> None:
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            raise Unavailable(f"{self.name!r} has become shorter than what was read of it; read it again from the start")
