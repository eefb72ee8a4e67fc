"""Command: what somebody asks of streams, and how it goes on the wire.

Rule 1: a command names who asks and why; nothing is commanded anonymously.
Rule 2: whoever sends it and whoever reads it check the same: what is wrong is said to the sender, and skipped by the reader.
Rule 3: it acts once, however often it is sent: by its id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fnmatch import translate
from re import Pattern
from re import compile as compiled
from typing import Final, NamedTuple

from streamkl.errors import RecordError
from streamkl.service.cloud_events import CloudEvent, Message, Mode, received, rfc3339, source_of

REBASELINE, UNDO, SILENCE, UNSILENCE, FORGET = "rebaseline", "undo", "silence", "unsilence", "forget"
NAMES: Final = (REBASELINE, UNDO, SILENCE, UNSILENCE, FORGET)
TYPE: Final = "io.streamkl.command.v1"
SCHEMA: Final = "urn:streamkl:schema:command:v1"
LONGEST_MS: Final = 366 * 86_400_000
LATEST_MS: Final = 253_402_300_799_999        # the end of the year 9999
LENGTHS: Final = {"id": 200, "streams": 1000, "reason": 1000, "by": 200}
DIGEST_BYTES: Final = 8


class Command(NamedTuple):
    """One command. id: of the sender, the same however often it is sent. streams: a glob, case matters. at: when it was given, ms UTC.

    name: "rebaseline": the new normal is the reference; with for_ms only of streams that drift now, and only where that episode is still open
    so long after `at`. "undo": the reference before the last rebaseline is the reference again. "silence": correctors leave the stream alone for
    for_ms after `at`, in event time. "unsilence": no longer. "forget": all that is known of the stream is given up.
    reason, by: why, and who asks; neither is empty.
    """

    id: str
    name: str
    streams: str
    reason: str
    by: str
    at: int
    for_ms: int | None = None

    @property
    def until(self) -> int:
        """When its time is up, ms UTC."""
        return self.at + (self.for_ms or 0)

    @property
    def digest(self) -> bytes:
        """What its id is remembered by."""
        return hashlib.blake2b(self.id.encode("utf-8", "backslashreplace"), digest_size=DIGEST_BYTES).digest()

    @property
    def pattern(self) -> Pattern[str]:
        """What the names of its streams match in full."""
        return compiled(translate(self.streams))

    def message(self, application: str, mode: Mode = "binary") -> Message:
        """Return it as it goes on the wire."""
        return CloudEvent(TYPE, source_of(application), self.id, self.streams, self.at, SCHEMA, None, self.to_dict()).message(mode)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values; `command_of` reads them.

        >>> command = Command("c1", "silence", "payments/*", "a migration", "ann@host", 1_700_000_000_000, 3_600_000)
        >>> command_of(command.to_dict()) == command
        True
        """
        return {
            "id": self.id, "command": self.name, "streams": self.streams, "for_ms": self.for_ms, "reason": self.reason, "by": self.by, "at": self.at,
        }


def command_of(data: Mapping[str, object]) -> Command:
    """Return the command of plain JSON values; what is not known beside them is ignored. Raises RecordError for what is none."""
    found = {name: data.get("command" if name == "name" else name) for name in Command._fields}
    for name in ("id", "name", "streams", "reason", "by"):
        if not isinstance(found[name], str):
            raise RecordError(f"{'command' if name == 'name' else name} is no text, or missing")
    if type(found["at"]) is not int or type(found["for_ms"]) not in (int, type(None)):
        raise RecordError("at or for_ms is no whole number of milliseconds")
    command = Command(**found)      # type: ignore[arg-type]
    if why := fault(command):
        raise RecordError(why)
    return command


def command_received(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Command:
    """Return the command of a message. Raises RecordError for what is none."""
    found = received(value, headers)
    if found.type != TYPE:
        raise RecordError("it is an event of another type, or of a newer version")
    return command_of(found.data)


def fault(command: Command) -> str:
    """Return what is wrong with a command, in a sentence without its values; "": nothing."""
    for name, most in LENGTHS.items():
        text: str = getattr(command, name)
        if not text.strip():
            return f"{name} is empty"
        if len(text) > most:
            return f"{name} has more than {most} characters"
        if not _is_unicode(text):
            return f"{name} cannot be written as UTF-8"
    if command.name not in NAMES:
        return f"the command is none of {', '.join(NAMES)}"
    if not 0 <= command.at <= LATEST_MS or rfc3339(command.at) is None:
        return "its time is not between 1970 and 9999"
    if command.for_ms is None:
        return "how long to be silent is missing" if command.name == SILENCE else ""
    if command.name not in (SILENCE, REBASELINE):
        return f"{command.name} takes no time"
    if not 0 < command.for_ms <= LONGEST_MS:
        return "its time is not above 0, or more than 366 days"
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
