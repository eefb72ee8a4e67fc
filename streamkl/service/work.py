"""Unit of work: what is committed atomically, or not at all.

Rule 1: whatever stands in one unit stands together: a crash leaves all of it or nothing.
Rule 2: replay begins at `replay_from`; what lies below `processed` there is in no need of a second event or dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streamkl.detect.event import DriftEvent
from streamkl.divergence import Estimate
from streamkl.service.record import Partition, Record


class DeadLetter(NamedTuple):
    """A record that could not be used, and why. reason: one of a few sentences, without a value of the record."""

    record: Record
    reason: str


class Reading(NamedTuple):
    """The divergence of one stream between alarms. at: event time of its newest observation, ms UTC, or None. offset: of that record."""

    stream: str
    partition: Partition
    offset: int
    at: int | None
    state: str
    observations: int
    kl: Estimate
    js: Estimate
    evidence: float
    budget: float
    window_n: int


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """One unit. replay_from: partition -> the offset from which a restart reads. changes: partition -> state key -> value, None: delete.

    events, dead_letters, readings: to be published, in this order of each partition. membership: of the newest arrivals that are in it.
    """

    replay_from: Mapping[Partition, int]
    changes: Mapping[Partition, Mapping[bytes, bytes | None]]
    events: Sequence[DriftEvent] = ()
    dead_letters: Sequence[DeadLetter] = ()
    readings: Sequence[Reading] = ()
    membership: object = field(default=None)


class Restored(NamedTuple):
    """What a checkpoint holds of one partition. replay_from: None where nothing was ever committed."""

    replay_from: int | None
    entries: Mapping[bytes, bytes]
