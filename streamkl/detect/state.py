"""State of a detector: plain values from which it goes on bit for bit, whatever it was doing.

Rule: every field of a part of the detector that changes has its place here; the law test fails if one is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamkl.detect.autocorrelation import Autocorrelation
from streamkl.detect.kernel import TrackerState
from streamkl.detect.recent import Value
from streamkl.detect.settings import Settings
from streamkl.detect.study import Study
from streamkl.sketch.categories import are_categories
from streamkl.sketch.reference import ReferenceState

VERSION = 2
MOST_SEEN = 2**53


@dataclass(frozen=True)
class ValuesState:
    """Raw values: doubles of a numeric stream, categories of a categorical one."""

    numbers: bytes
    categories: list[str | tuple[str, int | float | bool] | None]

    @classmethod
    def of(cls, values: npt.NDArray[np.float64] | list[Value]) -> ValuesState:
        """Return the state of raw values."""
        return cls(values.tobytes(), []) if isinstance(values, np.ndarray) else cls(b"", values)     # type: ignore[arg-type]

    def values(self, kind: str) -> npt.NDArray[np.float64] | list[Value]:
        """Return the raw values; raises ValueError where they are not those of a stream of this kind."""
        if (kind == "numeric" and self.categories) or (kind == "categorical" and self.numbers):
            raise ValueError("its values are of another kind")
        if not are_categories(set(self.categories) - {None}):
            raise ValueError("one of its values is no category")
        return np.frombuffer(self.numbers) if kind == "numeric" else list(self.categories)


def check_counters(*counters: int) -> None:
    """Raise ValueError unless all are counts that a stream could have reached."""
    if not all(0 <= counter <= MOST_SEEN for counter in counters):
        raise ValueError("one of its counters is out of range")


@dataclass(frozen=True)
class LearningState:
    """A stream that learns; warmup: how many observations it needed at first, needed: and now."""

    warmup: int
    needed: int
    is_rebaseline: bool
    reason: str
    seen: int
    values: ValuesState
    by: str = ""


@dataclass(frozen=True)
class AlarmState:
    """An alarm of another make: its turn in the stride, for how many observations its flag is up yet, and what it has learnt, as it wrote it."""

    phase: int
    up: int
    values: bytes


@dataclass(frozen=True)
class WatchingState:
    """A stream beside its reference, which with its study is None where it is the given one; origin: the window over the first one's bins.

    alarm: where it is not one of ours.
    """

    reference: ReferenceState | None
    tracker: TrackerState
    base: int
    raised: int
    study: Study | None
    origin: TrackerState | None
    alarm: AlarmState | None = None


@dataclass(frozen=True)
class MaturingState:
    """The values of a reference that still grows: seen so far, due to be learnt again at that many, the newest ones."""

    seen: int
    due: int
    values: ValuesState


@dataclass(frozen=True)
class OriginState:
    """The first reference, once another one has taken its place; reference is None where it is the given one."""

    reference: ReferenceState | None
    autocorrelation: Autocorrelation


@dataclass(frozen=True)
class EpisodeState:
    """An open episode."""

    since: int
    is_due: bool
    reason: str
    values: ValuesState
    by: str = ""


@dataclass(frozen=True)
class LifeState:
    """Where a stream is in its life: exactly one of learning and watching is there, the others only beside watching.

    before: observations before the current counter began. formers: former references, packed, the newest last; formers_end: number of the next.
    """

    before: int
    episode_number: int
    last_raised: int
    learning: LearningState | None
    watching: WatchingState | None
    maturing: MaturingState | None
    episode: EpisodeState | None
    origin: OriginState | None
    formers: list[bytes] = field(default_factory=list)
    formers_end: int = 0


@dataclass(frozen=True)
class DetectorState:
    """All of a detector."""

    settings: Settings
    given: ReferenceState | None
    given_study: Study | None
    life: LifeState
