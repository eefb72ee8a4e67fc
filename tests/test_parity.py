"""Parity: the Detector's evidence and first alarm are those of the specification.

In the suite 100,000 events a run; a million, as a table: python tests/test_parity.py --events 1000000
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import NamedTuple

import numpy as np
import pytest
from specification.evidence import CategoricalBins, NumericBins
from specification.fast_evidence import FastEvidence
from specification.shapes import SHAPES, make

from streamkl import Detector

TOLERANCE = 1e-9


class Parity(NamedTuple):
    """What one run compared: the alarm of both, and the largest relative difference of the evidence."""

    events: int
    expected_alarm: int | None
    alarm: int | None
    worst: float
    expected_at_alarm: float
    at_alarm: float


def expected_run(kind, reference, values, budget, stride) -> tuple[np.ndarray, int | None]:
    """stride * S after every event up to the first alarm, by the specification."""
    bins = NumericBins(reference) if kind == "numeric" else CategoricalBins(reference)
    evidence = FastEvidence(bins, budget, stride)
    path = []
    for t, b in enumerate(bins.index(values).tolist()):
        raised = t % stride == 0 and evidence.update(b)
        path.append(stride * evidence.evidence)
        if raised:
            return np.array(path), t
    return np.array(path), None


def compare(kind, reference, values, *, budget, stride=1, seed=0, singles=500) -> Parity:
    """Feed a Detector: `singles` events one by one, the rest in batches of random length, and compare after each."""
    expected, expected_alarm = expected_run(kind, reference, values, budget, stride)
    det = Detector(reference=reference, kind=kind, false_alarms=budget, min_effect=None, stride=stride, on_drift="hold")
    rng = np.random.default_rng(seed)
    worst, at, batch = 0.0, 0, 1
    while at < len(values):
        batch = 1 if at < singles else int(rng.integers(1, 400))
        events = det.update_many(values[at : at + batch]) if at >= singles else [e for e in [det.update(values[at])] if e]
        at = min(at + batch, len(values))
        if events or at > len(expected):
            at_alarm, alarm = (events[0].evidence, events[0].index) if events else (np.nan, None)
            return Parity(at, expected_alarm, alarm, worst, expected[-1], at_alarm)
        worst = max(worst, abs(det.evidence / expected[at - 1] - 1))
    return Parity(at, expected_alarm, None, worst, expected[-1], det.evidence)


def check(parity: Parity) -> None:
    assert parity.alarm == parity.expected_alarm
    assert parity.worst < TOLERANCE
    assert parity.at_alarm == pytest.approx(parity.expected_at_alarm, rel=TOLERANCE)


@pytest.mark.parametrize("name", SHAPES)
def test_evidence_and_first_alarm_are_those_of_the_specification_over_100_000_events(name):
    for seed, m in ((1, 1000), (2, 5000)):
        kind, reference, values = make(name, seed=seed, m=m, n=100_000, change=None if seed == 1 else 97_000)
        check(compare(kind, reference, values, budget=1e7, seed=seed))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("m", "change"), [(150, 0), (400, 1500), (3000, 1500)])
def test_a_change_raises_at_the_very_event_of_the_specification(name, m, change):
    kind, reference, values = make(name, seed=m, m=m, n=6000, change=change)
    parity = compare(kind, reference, values, budget=2e3, seed=m, singles=3000)
    check(parity)


@pytest.mark.parametrize("name", ["normal", "rounded normal", "5 % missing", "zipf", "novel values"])
@pytest.mark.parametrize("stride", [2, 3, 7])
def test_with_a_stride_one_event_in_that_many_is_bet_on(name, stride):
    kind, reference, values = make(name, seed=stride, m=2003, n=12_000, change=9_000)
    check(compare(kind, reference, values, budget=5e3, stride=stride, seed=stride, singles=1000))


def test_most_of_these_runs_do_reach_an_alarm():
    alarms = 0
    for name in SHAPES:
        kind, reference, values = make(name, seed=3000, m=3000, n=6000, change=1500)
        alarms += expected_run(kind, reference, values, 2e3, 1)[1] is not None
    assert alarms >= len(SHAPES) - 3


@pytest.mark.parametrize("values", [[1e300, -1e300, 5e-324], [float("inf"), float("-inf")], [None, float("nan")], [10**400, -(10**400)]])
def test_extreme_values_are_bet_on_as_the_specification_bets(values):
    rng = np.random.default_rng(8)
    reference = rng.standard_normal(500)
    stream = [values[i % len(values)] if i % 50 == 0 else x for i, x in enumerate(rng.standard_normal(2000).tolist())]
    numbers = np.array([np.nan if v is None else np.sign(v) * np.inf if isinstance(v, int) else v for v in stream])
    expected, alarm = expected_run("numeric", reference, numbers, 1e9, 1)
    det = Detector(reference=reference, false_alarms=1e9, min_effect=None, stride=1, on_drift="hold")
    assert alarm is None
    for x, evidence in zip(stream, expected, strict=True):
        det.update(x)
        assert det.evidence == pytest.approx(evidence, rel=TOLERANCE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--reference", type=int, default=5000)
    parser.add_argument("--budget", type=float, default=1e9)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    options = parser.parse_args()
    faults = 0
    print(f"{'shape':22} {'seed':>4} {'events':>9} {'alarm: spec':>12} {'detector':>10} {'worst relative difference':>26} {'seconds':>8}")
    for name in options.shapes:
        for seed in options.seeds:
            started = time.perf_counter()
            change = None if seed % 2 else int(0.995 * options.events)
            kind, reference, values = make(name, seed=seed, m=options.reference, n=options.events, change=change)
            run = compare(kind, reference, values, budget=options.budget, seed=seed)
            good = run.alarm == run.expected_alarm and run.worst < TOLERANCE and abs(run.at_alarm / run.expected_at_alarm - 1) < TOLERANCE
            faults += not good
            print(
                f"{name:22} {seed:4} {run.events:9} {run.expected_alarm!s:>12} {run.alarm!s:>10} {run.worst:26.2e} "
                f"{time.perf_counter() - started:8.1f}{'' if good else '  DIFFERS'}",
                flush=True,
            )
    return min(faults, 1)


if __name__ == "__main__":
    sys.exit(main())
