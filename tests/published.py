"""Drift events of every kind, as real detectors raise them, and readings: what the tests of the wire send."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from streamkl import Detector, DriftEvent, Reference
from streamkl.divergence import Estimate
from streamkl.service.record import Partition
from streamkl.service.work import Reading

START_MS = 1_431_849_903_120                        # 2015-05-17T08:05:03.120Z
KINDS = {"drift.raised", "drift.resolved", "reference.learned", "reference.rebaselined"}


def events() -> list[DriftEvent]:
    """Of numbers and categories, learnt and given references, alarms of evidence and of a threshold; with and without time and source."""
    rng = np.random.default_rng(7)
    calm, moved = rng.normal(size=2000), rng.normal(3, 1, 600)
    there_and_back = np.r_[calm[:900], moved[:200], calm[900:1900]]
    quick = {"warmup": 100, "false_alarms": 1000}
    found = Detector(name="payments/EU/amount", on_drift="hold", **quick).update_many(there_and_back, at=START_MS + 1000 * np.arange(2100))
    found += Detector(name="login", **quick, kind="categorical").update_many(["a", "b"] * 300 + ["c", None] * 300)
    found += Detector(name="new normal", **quick, mature_until=0).update_many(np.r_[calm[:300], moved, moved])
    given = Reference.fit(calm[:1000])
    found += Detector(reference=given, name="given", false_alarms=1000, min_effect=None, stride=1).update_many(moved)
    found += Detector(name="threshold", **quick, alarm="threshold", measure="js", raise_at=0.2, resolve_at=0.1).update_many(there_and_back)
    assert {event.kind for event in found} == KINDS, {(event.stream, event.kind) for event in found}
    return [_placed(event) if i % 2 else event for i, event in enumerate(found)]


def _placed(event: DriftEvent) -> DriftEvent:
    where = {"topic": "payments", "partition": 3, "first_offset": 10, "last_offset": 10 + event.index}
    return dataclasses.replace(event, source=where, position=None)


def reading(stream: str = "payments/EU/amount", kl: float = 0.25, partition: int = 3, at: int | None = START_MS) -> Reading:
    """A reading with this KL, and half of it as JS."""
    estimates = [Estimate(value, value / 2, 2 * value, value, "nats") for value in (kl, kl / 2)]
    return Reading(stream, Partition("payments", partition), 1200, at, "watching", 900, *estimates, 12.5, 1e6, 300)


def unknown_reading(stream: str = "new") -> Reading:
    """Of a stream that is learning."""
    nothing = Estimate(math.nan, 0.0, math.inf, math.nan, "nats")
    return Reading(stream, Partition("payments", 0), 5, None, "learning", 5, nothing, nothing, 0.0, 1e6, 0)
