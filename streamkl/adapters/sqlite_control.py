"""SQLite control: the commands of a state file, written beside the service that has it open.

Rule 1: no lock of the service is taken: SQLite's own is held for the moment of a write.
Rule 2: the newest KEPT commands are kept, and those of the last month in any case.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from streamkl.adapters.sqlite_file import BUSY_SECONDS, COMMANDS_TABLE, is_ours, translated
from streamkl.errors import RecordError, StateError, Unavailable
from streamkl.service.command import Command, command_of
from streamkl.service.ports import CommandBatch

MOST: Final = 500
KEPT: Final = 10_000
KEPT_MS: Final = 31 * 86_400_000
ADD: Final = "INSERT INTO commands(id, at, json) VALUES (?, ?, ?)"
FORGET: Final = "DELETE FROM commands WHERE sequence <= (SELECT max(sequence) FROM commands) - ? AND at < ?"
READ: Final = "SELECT sequence, json FROM commands WHERE sequence >= ? ORDER BY sequence LIMIT ?"
END: Final = "SELECT seq + 1 FROM sqlite_sequence WHERE name = 'commands'"


class SqliteCommands:
    """Reads the commands of a state file; meets `service.ports.CommandSource`. path: of a file that the service has made already."""

    def __init__(self, path: str) -> None:
        self._path = path
        with translated(path, "read the commands of"):
            self._connection = _opened(path, "ro")

    def end(self) -> int | None:
        """Return the offset that the next command will have."""
        with translated(self._path, "read the commands of"):
            found = self._connection.execute(END).fetchone()
        return found[0] if found else 1

    def read(self, offset: int) -> CommandBatch:
        """Return what is there from this offset on; a file's offsets are never begun anew."""
        with translated(self._path, "read the commands of"):
            rows = self._connection.execute(READ, (offset, MOST)).fetchall()
        return CommandBatch([(sequence, _read(text)) for sequence, text in rows], rows[-1][0] + 1 if rows else offset)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class SqliteSender:
    """Writes commands into a state file; meets `service.ports.CommandSender`.

    application: whose it must be, None: anybody's. Raises Unavailable where there is no file yet, StateError for another's.
    """

    def __init__(self, path: str, application: str | None = None) -> None:
        self.place, self._path = path, path
        if not Path(path).is_file():
            raise Unavailable(f"there is no state file {path!r}; correct the path, or start the service first")
        with translated(path, "command by"):
            self._connection = _opened(path, "rw")
            try:
                if not is_ours(self._connection, path, application):
                    raise StateError(f"the state file {path!r} is empty; start the service first")
                self._connection.execute(COMMANDS_TABLE)
            except (sqlite3.Error, StateError):
                self._connection.close()
                raise

    def send(self, command: Command) -> None:
        """Return once it is there for good."""
        with translated(self._path, "write a command into"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                now = round(time.time() * 1000)
                self._connection.execute(ADD, (command.id, now, json.dumps(command.to_dict())))
                self._connection.execute(FORGET, (KEPT, now - KEPT_MS))
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def sent_since(self, at: int) -> Sequence[tuple[int, Command]]:
        """Return (when it was sent, the command) of those that were sent since then."""
        with translated(self._path, "read the commands of"):
            rows = self._connection.execute("SELECT at, json FROM commands WHERE at >= ? ORDER BY sequence", (at,)).fetchall()
        return [(sent_at, command) for sent_at, text in rows if isinstance(command := _read(text), Command)]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _opened(path: str, mode: str) -> sqlite3.Connection:
    name = Path(path).absolute().as_uri() + f"?mode={mode}"
    connection = sqlite3.connect(name, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _read(text: object) -> Command | str:
    try:
        data = json.loads(str(text))
        return command_of(data) if isinstance(data, dict) else "it is no JSON object"
    except (ValueError, RecursionError):
        return "it is no JSON"
    except RecordError as error:
        return str(error)
