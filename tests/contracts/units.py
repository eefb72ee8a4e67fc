"""Units: units of work for the contract of a checkpoint; facts made by hand, no detector needed."""

from __future__ import annotations

import json
from typing import NamedTuple

from streamkl.detect.event import DriftEvent
from streamkl.divergence import Estimate
from streamkl.service.record import Partition, PlainRecord
from streamkl.service.work import DeadLetter, Reading, UnitOfWork

ONE, OTHER = Partition("payments", 0), Partition("payments", 1)
ESTIMATE = Estimate(0.25, 0.125, 0.5, 0.3125, "nats")
UNKNOWN = Estimate(float("nan"), 0.0, float("inf"), float("nan"), "nats")


def event(number, id=""):
    return DriftEvent(
        kind="drift.raised", stream=f"payments/{number}", index=number, position=number, at=1_700_000_000_000 + number, episode=1, evidence=2e6,
        budget=1e6, guarantee="exact", divergence={"kl": ESTIMATE, "js": UNKNOWN}, criterion=(), bins=(), window_n=100, reference_n=1000, id=id,
    )  # fmt: skip


def letter(offset, partition=ONE, value=b"\xff{", reason="not JSON"):
    headers = [("trace", b"\x00\xff"), ("trace", b"")]
    return DeadLetter(PlainRecord(partition.topic, partition.number, offset, 5, b"\xfekey", value, headers), reason)


def reading(number, partition=ONE):
    return Reading(f"payments/{number}", partition, number, None, "watching", number, ESTIMATE, UNKNOWN, 1.5, 1e6, 200)


def unit(partition=ONE, replay_from=10, changes=None, events=(), dead_letters=(), readings=(), membership=3):
    return UnitOfWork({partition: replay_from}, {partition: changes or {}}, events, dead_letters, readings, membership)


class Content(NamedTuple):
    """All that can be read of a store from outside."""

    restored: dict[Partition, tuple[int | None, dict[bytes, bytes]]]
    events: list[dict[str, object]]
    dead_letters: list[tuple[object, ...]]
    readings: list[tuple[object, ...]]


def plain_event(one):
    return json.loads(one.to_json())


def plain_letter(one):
    record = one.record
    headers = [(name, value) for name, value in record.headers]
    return record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, headers, one.reason


def plain_reading(one):
    """Name, place and the divergences, None for a number that is not known."""
    numbers = [one.kl.value, one.kl.low, one.kl.high, one.js.value, one.js.low, one.js.high, one.evidence, one.budget]
    place = one.stream, *one.partition, one.offset, one.at, one.state, one.observations
    return *place, *(None if number != number else number for number in numbers), one.window_n
