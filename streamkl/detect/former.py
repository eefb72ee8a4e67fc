"""Former: a reference that a rebaseline took the place of, kept so that it can be taken back.

Rule 1: of a stream at most MOST are kept, the newest ones; packed, as most streams have none and few ever need theirs.
Rule 2: taking one back takes it out: who takes back twice is two references back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamkl.detect.alarm import Alarm
from streamkl.detect.origin import Origin
from streamkl.detect.settings import Settings
from streamkl.detect.state import check_counters
from streamkl.detect.study import Study
from streamkl.detect.watching import Watching
from streamkl.sketch import blob
from streamkl.sketch.reference import Reference, ReferenceState

MOST = 10
VERSION = 1


@dataclass(frozen=True)
class Former:
    """What is kept of one. base, raised: see `Watching`. is_given: it was not learnt from the stream."""

    reference: ReferenceState
    study: Study
    base: int
    raised: int
    is_given: bool

    def checked(self, settings: Settings) -> Reference:
        """Return the reference; raises ValueError or StateError where the parts do not fit each other, or the stream."""
        reference = Reference.from_state(self.reference)
        if reference.kind != settings.kind or not 0 < self.base <= max(reference.m, settings.warmup):
            raise ValueError("a former reference is of another kind or size")
        self.study.check(reference.m, settings.window_for(reference.m, None if self.is_given else self.base))
        check_counters(self.raised)
        return reference

    def watching(self, settings: Settings, origin: Origin | None, alarm: Alarm | None) -> Watching:
        """Return a stream beside this reference again, with an empty window."""
        watching = Watching(settings, self.checked(settings), self.study, self.is_given, self.base, origin, alarm)
        watching.raised = self.raised
        return watching


class Formers:
    """The former references of one stream, the newest last. end: number of the next one; those that are kept have the numbers right before it."""

    __slots__ = ("blobs", "end")

    def __init__(self, blobs: Sequence[bytes] = (), end: int = 0) -> None:
        self.blobs, self.end = list(blobs), end

    def push(self, watching: Watching) -> None:
        """Keep the reference that a stream was watched beside until now."""
        former = Former(watching.reference.to_state(), watching.study, watching.base, watching.raised, watching.is_given)
        self.blobs = [*self.blobs, blob.seal("former", VERSION, former)][-MOST:]
        self.end += 1

    def newest(self) -> Former | None:
        """Return the newest one; raises StateError where it is damaged."""
        return blob.unseal("former", VERSION, self.blobs[-1], Former) if self.blobs else None

    def pop(self) -> None:
        """Forget the newest one."""
        del self.blobs[-1]
        self.end -= 1

    def check(self, settings: Settings) -> None:
        """Raise ValueError or StateError unless each could be taken back."""
        check_counters(self.end)
        if not len(self.blobs) <= min(MOST, self.end):
            raise ValueError("it has more former references than it may")
        for stored in self.blobs:
            blob.unseal("former", VERSION, stored, Former).checked(settings)
