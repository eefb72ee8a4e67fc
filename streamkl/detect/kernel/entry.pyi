"""Entry: the way in of one observation at a time."""

from collections.abc import Callable
from typing import final

from typing_extensions import disjoint_base

from streamkl.detect.event import DriftEvent
from streamkl.detect.kernel.tracker import Tracker

@final
class Step:
    """Who takes a stream's next observation: a tracker (`track`), or whatever else is called (`follow`); called, it returns the verdict."""

    def track(self, tracker: Tracker) -> None: ...
    def follow(self, call: Callable[[object], int]) -> None: ...
    def __call__(self, x: object) -> int: ...

@disjoint_base
class Entry:
    """Takes one observation at a time. enter: give it the step, and who makes an event of a verdict and a time."""

    def enter(self, step: Step, turn: Callable[[int, int | None], DriftEvent | None]) -> None: ...
    def update(self, x: float | int | str | bool | None, at: int | None = None) -> DriftEvent | None:
        """Take one observation; return the event that it caused, if any (test `event.kind`)."""
