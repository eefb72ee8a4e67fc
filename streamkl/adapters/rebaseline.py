"""Rebaseline: a corrector that accepts the new normal of a stream that drifts, once its episode has lasted long enough.

Rule 1: it only sends a command, which the service carries out only where that episode is still open then: who resolves earlier is left alone.
Rule 2: the command's id follows from the event's: an event that comes ten times is accepted once.
Rule 3: at most so many a day, of all streams and of one; what is beyond is refused, so that a person looks. What was sent is read from
the control topic before each command, so that a restart forgets nothing, and the processes of one group share the limits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from glob import escape
from typing import Final

from streamkl.detect.event import DriftEvent
from streamkl.errors import ConfigError, RecordError
from streamkl.service.command import REBASELINE, Command, fault
from streamkl.service.ports import CommandSender

DAY_MS: Final = 86_400_000
RAISED: Final = "drift.raised"


class Rebaseline:
    """Called with drift events; those of another kind than drift.raised are left alone.

    by: who it is: no other corrector of the application may be called so. after_seconds: how long an episode lasts at least, in event time.
    per_day, per_stream_per_day: see rule 3. clock: seconds since the epoch. Raises RecordError beyond the limits, Unavailable.
    """

    def __init__(
        self, sender: CommandSender, *, by: str, after_seconds: float = 0.0, per_day: int = 20, per_stream_per_day: int = 1,
        reason: str = "the drift lasts, and is accepted as the new normal", clock: Callable[[], float] = time.time,
    ) -> None:
        if not 0 <= after_seconds <= 366 * 86_400 or per_day < 1 or per_stream_per_day < 1:
            raise ConfigError("after_seconds must lie between 0 and 366 days, per_day and per_stream_per_day must be at least 1; correct them")
        self._sender, self._by, self._reason, self._clock = sender, by, reason, clock
        self._for_ms = max(1, round(after_seconds * 1000))
        self._per_day, self._per_stream = per_day, per_stream_per_day
        self._sent: dict[str, tuple[int, str]] = {}         # id -> when, and of which stream: of the last day, as far as we know

    def __call__(self, event: DriftEvent) -> None:
        """Accept the new normal of the stream of this event."""
        if event.kind != RAISED:
            return
        now, streams = round(self._clock() * 1000), escape(event.stream)
        id = f"{self._by}:{event.id}"
        self._sent = {id: one for id, one in self._sent.items() if one[0] > now - DAY_MS}
        if self._is_sent(id, event.stream):                 # or what we know suffices to refuse it
            return
        self._sent |= self._of_the_last_day(now)
        if self._is_sent(id, event.stream):
            return
        command = Command(id, REBASELINE, streams, self._reason, self._by, now if event.at is None else event.at, self._for_ms)
        if why := fault(command):
            raise RecordError(f"{event.stream} cannot be commanded: {why}")
        self._sender.send(command)
        self._sent[id] = (now, streams)

    def close(self) -> None:
        """Let go of the control topic."""
        self._sender.close()

    def _is_sent(self, id: str, stream: str) -> bool:
        """Return whether this command was sent, as far as we know. Raises RecordError where it was not, and would be beyond a limit."""
        if id in self._sent:
            return True
        if len(self._sent) >= self._per_day:
            raise RecordError(f"{self._by} accepted {self._per_day} new normals within a day, its limit; look at {stream} yourself")
        if sum(streams == escape(stream) for _, streams in self._sent.values()) >= self._per_stream:
            raise RecordError(f"{self._by} accepted {stream} {self._per_stream} times within a day, its limit; look at it yourself")
        return False

    def _of_the_last_day(self, now: int) -> dict[str, tuple[int, str]]:
        """Return what was sent within a day, by this process or another one of the group."""
        found = self._sender.sent_since(now - DAY_MS + 1)
        return {command.id: (at, command.streams) for at, command in found if command.by == self._by and command.name == REBASELINE}
