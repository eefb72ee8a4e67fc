"""Commit steps: the places inside one commit at which a test may let the process die.

Rule: a crash at COMMITTED leaves all of the unit, a crash at any step before it leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

BEGIN: Final = "begin"
STATE: Final = "state"
PROGRESS: Final = "progress"
EVENTS: Final = "events"
DEAD_LETTERS: Final = "dead_letters"
READINGS: Final = "readings"
COMMIT: Final = "commit"
COMMITTED: Final = "committed"
COMMIT_STEPS: Final = (BEGIN, STATE, PROGRESS, EVENTS, DEAD_LETTERS, READINGS, COMMIT, COMMITTED)

AtStep = Callable[[str], None]
"""Called with the name of each step right before it, with COMMITTED right after the last one; it may raise, or never return."""


def go_on(step: str) -> None:
    """Do nothing at any step: what a checkpoint does outside of tests."""
