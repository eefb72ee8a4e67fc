"""SQLite state: what a state file holds of each partition, read while a service writes it.

Rule: the file is opened to read only, and no lock of ours is taken; its layout stands in `sqlite_file.py`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from streamkl.adapters.sqlite_file import is_ours, translated
from streamkl.service.record import Partition
from streamkl.service.work import Restored


class SqliteState:
    """Reads the state of a file; one that is not there yet, or empty, holds nothing. All answers are of one moment, that of the first.

    Raises StateError for a file that cannot be ours, Unavailable for one that cannot be read.
    """

    def __init__(self, path: str, application: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        if not Path(path).exists():
            return
        with translated(path, "open"):
            rest = "" if Path(f"{path}-wal").exists() else "&immutable=1"      # else nobody writes, and SQLite would leave files behind
            connection = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro{rest}", uri=True, isolation_level=None)
            try:
                connection.execute("BEGIN")
                if is_ours(connection, path, application):
                    self._connection = connection
            finally:
                if self._connection is None:
                    connection.close()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever committed."""
        return self._connection is None

    def restore(self, partition: Partition) -> Restored:
        """Return all that is committed of a partition."""
        if self._connection is None:
            return Restored(None, {})
        execute = self._connection.execute
        with translated(self._path, "read"):
            replay_from = execute('SELECT replay_from FROM progress WHERE topic = ? AND "partition" = ?', partition).fetchone()
            entries = dict(execute('SELECT "key", value FROM state WHERE topic = ? AND "partition" = ?', partition))
        return Restored(replay_from and replay_from[0], entries)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
