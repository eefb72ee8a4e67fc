"""SQLite events: the drift events of a state file, read while a service writes it.

Rule: the file is opened to read only, and no lock is taken; its layout stands in `sqlite_file.py`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from streamkl.adapters.event_lines import event_of_line
from streamkl.detect.event import DriftEvent
from streamkl.errors import ConfigError, Unavailable

BATCH: Final = 1000
WAIT_SECONDS: Final = 0.5
READ: Final = "SELECT sequence, json FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"
NOT_OURS: Final = ("no such table", "no such column", "file is not a database")


class SqliteEvents:
    """Reads the drift events of a state file; meets `service.ports.EventReader`."""

    def __init__(self, path: str, wait_seconds: float = WAIT_SECONDS) -> None:
        self.name = path
        self.foreign = 0
        self._wait_seconds = wait_seconds
        if not Path(path).is_file():
            raise Unavailable(f"there is no file {path!r}; correct the path, or start the service first")
        try:
            self._connection = sqlite3.connect(Path(path).absolute().as_uri() + "?mode=ro", uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise Unavailable(f"cannot open {path!r}: {error}; see to the rights of the file") from error

    def batches(self, is_following: bool) -> Iterator[list[DriftEvent]]:
        """See `EventReader.batches`. Raises ConfigError for a file of another program."""
        sequence = 0
        while True:
            rows = self._rows(sequence)
            if rows:
                sequence = rows[-1][0]
            elif not is_following:
                return
            events = [event_of_line(text) for _, text in rows]
            self.foreign += events.count(None)
            yield [event for event in events if event is not None]
            if not rows:
                time.sleep(self._wait_seconds)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _rows(self, after: int) -> list[tuple[int, str]]:
        try:
            return self._connection.execute(READ, (after, BATCH)).fetchall()
        except sqlite3.Error as error:
            if any(words in str(error) for words in NOT_OURS):
                raise ConfigError(f"{self.name!r} is no state file of streamkl: {error}; give the path of one") from error
            raise Unavailable(f"cannot read {self.name!r}: {error}; try again, or see to the rights of the file and its directory") from error
