"""Health: whether the loop moves, and whether it is ready; for whoever asks over HTTP.

Rule 1: live means that the loop came round lately, whatever it waits for; a process that is not live should be started again.
Rule 2: ready means restored and polling; what is not live is not ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

LIVE_WITHIN_SECONDS = 60.0


class Loop(Protocol):
    """What is asked; `Worker` is one. turned_at: when it last came round, in seconds of the clock. is_ready: all is restored and polled."""

    @property
    def turned_at(self) -> float: ...
    @property
    def is_ready(self) -> bool: ...


class Health:
    """How a loop is. clock: the loop's own, in seconds; it never goes back."""

    def __init__(self, loop: Loop, live_within_seconds: float = LIVE_WITHIN_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = loop
        self._live_within_seconds = live_within_seconds
        self._clock = clock

    def is_live(self) -> bool:
        """Return whether the loop came round within the time that is allowed."""
        return self._idle_seconds() <= self._live_within_seconds

    def is_ready(self) -> bool:
        """Return whether records are being read."""
        return self._loop.is_ready and self.is_live()

    def reason(self) -> str:
        """Return why it is not ready, "" if it is."""
        if not self.is_live():
            return f"the loop has not moved for {self._idle_seconds():.0f} s"
        return "" if self._loop.is_ready else "restoring, or not polling yet"

    def _idle_seconds(self) -> float:
        return self._clock() - self._loop.turned_at
