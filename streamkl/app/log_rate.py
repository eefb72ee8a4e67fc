"""Log rate: what other libraries say over and over again is let through seldom: of each kind the first, the second, the fourth, and so on.

Rule 1: a kind is logger, level and text before its values are put in, numbers apart; the line that is let through says how many there were.
Rule 2: a traceback of theirs is for debugging; the error that we make of theirs is told by ourselves.
"""

from __future__ import annotations

import logging
import re
from typing import Final

MOST_KINDS: Final = 1000
NUMBER: Final = re.compile(r"[0-9]+")


class Seldom(logging.Filter):
    """A filter of a handler; it touches the loggers of one library alone. keeps_tracebacks: whether they are let through."""

    def __init__(self, library: str, keeps_tracebacks: bool) -> None:
        super().__init__(library)
        self._library = logging.Filter(library)
        self._keeps_tracebacks = keeps_tracebacks
        self._seen: dict[tuple[str, int, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is let through."""
        if not self._library.filter(record):
            return True
        if not self._keeps_tracebacks:
            record.exc_info = record.exc_text = record.stack_info = None
        kind = (record.name, record.levelno, NUMBER.sub("0", str(record.msg)))
        if kind not in self._seen and len(self._seen) >= MOST_KINDS:
            kind = ("", 0, "")
        number = self._seen[kind] = self._seen.get(kind, 0) + 1
        if number & (number - 1):
            return False
        if number > 1:
            record.msg, record.args = f"{record.getMessage()} (so far {number} of this kind)", None
        return True
