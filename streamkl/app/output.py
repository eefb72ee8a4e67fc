"""Output: standard output and standard error, which may be closed, full, or left by their reader.

Rule 1: a reader who has left is no fault: what he does not read is not written, and the exit code stays what it is.
Rule 2: what is said on standard error says why a run fails; where even that cannot be written, the exit code alone says it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence

from streamkl.app.event_line import event_line, is_told
from streamkl.detect.event import DriftEvent


class EventOutput:
    """Writes drift events to standard output as long as somebody reads it.

    is_json: all kinds, one object a line; else in words, those that begin or end an episode.
    """

    def __init__(self, is_json: bool) -> None:
        self.is_read = True
        self._is_json = is_json

    def lines(self, events: Sequence[DriftEvent]) -> list[str]:
        """Return what is to be written of these events."""
        return [event.to_json() if self._is_json else event_line(event) for event in events if self._is_json or is_told(event)]

    def write(self, lines: Sequence[str]) -> None:
        """Write lines at once. Raises OSError where that fails, unless the reader has left."""
        if lines and self.is_read:
            self.is_read = _is_read(lambda: print(*lines, sep="\n", flush=True))


def say(text: str) -> None:
    """Write text to standard error, or to nowhere."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        forget()


def write_summary(text: str) -> None:
    """Write the summary to standard error. Raises OSError where that fails, unless the reader has left."""
    _is_read(lambda: print(text, end="", file=sys.stderr, flush=True))


def open_missing() -> None:
    """Make both streams ones that can be written to, whatever the text: a closed one is None."""
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)        # takes the place of standard input, so that no file of ours does
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the program
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def forget() -> None:
    """Let what a stream could not write go nowhere, so that the interpreter's last flush does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _is_read(write: Callable[[], None]) -> bool:
    try:
        write()
    except BrokenPipeError:
        forget()
        return False
    return True
