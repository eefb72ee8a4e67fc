"""Health: whether the loop moves, and whether it is ready; written by the worker, read by whoever asks over HTTP.

Rule 1: live means that the loop came round lately, whatever it waits for; a process that is not live should be started again.
Rule 2: ready means restored and polling; what is not live is not ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LIVE_WITHIN_SECONDS = 60.0


class Health:
    """What the worker last said. The clock counts seconds and never goes back.

    >>> health = Health(live_within_seconds=60.0, clock=lambda: 0.0)
    >>> health.is_live(), health.is_ready(), health.reason()
    (True, False, 'starting')
    """

    def __init__(self, live_within_seconds: float = LIVE_WITHIN_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._live_within_seconds = live_within_seconds
        self._clock = clock
        self._moved_at = clock()
        self._waits_for: str | None = "starting"

    def moved(self) -> None:
        """Say that the loop came round; called at every turn, and between the steps of a long one."""
        self._moved_at = self._clock()

    def ready(self) -> None:
        """Say that all that is held is restored and polled."""
        self._waits_for = None

    def not_ready(self, reason: str) -> None:
        """Say what is waited for, in a few words."""
        self._waits_for = reason

    def is_live(self) -> bool:
        """Return whether the loop came round within the time that is allowed."""
        return self._clock() - self._moved_at <= self._live_within_seconds

    def is_ready(self) -> bool:
        """Return whether records are being read."""
        return self._waits_for is None and self.is_live()

    def reason(self) -> str:
        """Return why it is not ready, "" if it is."""
        if not self.is_live():
            return f"the loop has not moved for {self._clock() - self._moved_at:.0f} s"
        return self._waits_for or ""
