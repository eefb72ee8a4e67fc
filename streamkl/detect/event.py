"""DriftEvent: an immutable fact about one stream, with the evidence for it.

Rule: its id follows from where it happened, never from settings or time, so that a repeat is recognisable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import NamedTuple

from streamkl.divergence import Estimate


class BinChange(NamedTuple):
    """One bin's part in a divergence: shares of the reference and of the window, and its contribution to KL in nats."""

    label: str
    reference_share: float
    window_share: float
    nats: float


class CriterionReading(NamedTuple):
    """One window of the minimum-effect criterion: plug-in KL in nats (of a threshold alarm: its own measure), the limit, where that comes from.

    source: "natural variability" (1.5 times the farthest window inside the reference), "ceiling" (that would be more than 1 nat), "min_effect",
    or "raise_at" of a threshold alarm. open: the window is full and beyond its limit. kl == divergence.kl(window_counts,
    reference_counts, smoothing=0.5): the bins are those of the stream, merged to 16 and novel and missing (a threshold alarm: as they are).
    """

    window: int
    kl: float
    limit: float
    source: str
    open: bool
    window_counts: tuple[int, ...]
    reference_counts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DriftEvent:
    """An episode was raised or resolved, a reference was learnt or rebaselined, or somebody commanded something.

    kind: "drift.raised", "drift.resolved", "reference.learned", "reference.rebaselined"; of the service also "stream.silenced",
    "stream.unsilenced" and "stream.forgotten".
    index: 0-based observation of the stream that caused it. position: its index in the batch, or its line in the file.
    at: event time, ms since the epoch (UTC), or None. episode: number of the stream's newest episode, 0 before the first.
    evidence, budget: evidence >= budget at every alarm of evidence. guarantee: of the budget: "exact", "approximate" or "void".
    divergence: measure -> Estimate of the reporting window (a plain dict, so that events can be pickled: leave it as it is). criterion: per window.
    bins: largest contributions to KL of the reporting window, first. changed: of a raised event, the same for the window of the
    criterion that is farthest beyond its limit, over the criterion's merged bins: what raised it.
    window_n, reference_n: observations compared. source: where it came from (file and line; topic, partition, offsets), or None.
    reason: why a rebaseline or another command was asked for, "" otherwise. by: who asked for it, "" where nobody did.
    group: what the stream belongs with, for whoever joins notifications; the service gives the name of the entry. silenced: somebody asked not
    to be told of this stream at that time; the event is there, and correctors leave it alone unless they ask for it.
    """

    kind: str
    stream: str
    index: int
    position: int | None
    at: int | None
    episode: int
    evidence: float
    budget: float
    guarantee: str
    divergence: Mapping[str, Estimate]
    criterion: tuple[CriterionReading, ...]
    bins: tuple[BinChange, ...]
    window_n: int
    reference_n: int
    changed: tuple[BinChange, ...] = ()
    reason: str = ""
    change_index: int | None = None
    source: Mapping[str, object] | None = None
    by: str = ""
    group: str = ""
    silenced: bool = False
    id: str = field(default="")

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", identity(self.stream, self.index, self.kind))

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def farthest(self) -> CriterionReading | None:
        """The window of the criterion that is farthest beyond its limit: what raised an alarm. None where none is."""
        beyond = [reading for reading in self.criterion if reading.open]
        return max(beyond, key=lambda reading: reading.kl / reading.limit if reading.limit > 0 else reading.kl, default=None)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values; a number that is not finite is None."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)


def identity(
    stream: str, index: int, kind: str, application: str = "", topic: str | None = None, partition: int | None = None, field: str | None = None,
    command: str = "",
) -> str:
    """Return the id of an event: a digest of where it happened. index: the offset of the record, embedded the observation's index.

    command: id of the command that caused it, where one did.
    """
    place = [application, stream, topic, partition, index, field, kind]
    return hashlib.sha256(json.dumps([*place, command] if command else place).encode()).hexdigest()[:32]


def _plain(value: object) -> object:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
