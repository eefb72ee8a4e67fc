"""The incrementally kept KL and JS stay equal to direct computation: a million updates here, ten by one command:

python tests/test_long_run.py --updates 10000000
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import pytest
from specification.evidence import CategoricalBins, NumericBins
from specification.shapes import make
from specification.twin import corrected, direct_js, direct_kl, merged_bins

from streamkl import Detector

TOLERANCE = 1e-10
DIRECT = {"kl": direct_kl, "js": direct_js}
NEVER = {"kl": {"raise_at": 50.0, "resolve_at": 25.0}, "js": {"raise_at": 0.69, "resolve_at": 0.6}}     # alarms that only measure


def kept_gauges(det) -> list[dict]:
    """What the kernel keeps natively, as it says for tests: window, value, counts of each gauge."""
    return det.life.watching.tracker.gauges()


def stream_in_blocks(name, updates, block, m=4000):
    """Reference and a generator of blocks; every third block is drifted, so that counts travel far."""
    kind, reference, _ = make(name, seed=0, m=m, n=1, change=None)

    def blocks():
        for i in range(-(-updates // block)):
            size = min(block, updates - i * block)
            yield make(name, seed=i + 1, m=m, n=size, change=0 if i % 3 == 2 else None)[2]

    return kind, reference, blocks()


def worst_difference(name, updates, *, measure=None, window=1000, block=50_000) -> float:
    """The largest difference, over all gauges and block ends, between the value kept and the value computed afresh."""
    kind, reference, blocks = stream_in_blocks(name, updates, block)
    alarm = {"alarm": "threshold", "measure": measure, **NEVER[measure]} if measure else {"false_alarms": 1e15, "min_effect": 20.0}
    det = Detector(reference, kind=kind, window=window, on_drift="hold", **alarm)
    bins = NumericBins(reference) if kind == "numeric" else CategoricalBins(reference)
    merge, merged_k = (np.arange(bins.k), bins.k) if measure else merged_bins(bins)
    learnt = np.bincount(merge[bins.index(reference)], minlength=merged_k)
    recent: list = []
    worst = 0.0
    for values in blocks:
        assert det.update_many(values) == []
        recent = [*recent, *values][-window:]
        own = bins.index(recent)
        gauges = kept_gauges(det)
        assert len(gauges) == (1 if measure else 3)
        assert np.array_equal(det.histogram().window, np.bincount(own, minlength=bins.k))
        for gauge in gauges:
            counts = np.bincount(merge[own[-gauge["window"] :]], minlength=merged_k)
            assert list(gauge["counts"]) == counts.tolist()
            worst = max(worst, abs(gauge["value"] - DIRECT[measure or "kl"](counts, learnt)))
        for shown in ("kl", "js"):
            h = det.histogram()
            worst = max(worst, abs(det.divergence(shown).plug_in - DIRECT[shown](h.window, h.reference)))
    assert det.n == updates
    return worst


RUNS = [("normal", None), ("normal", "kl"), ("normal", "js"), ("zipf", None), ("5 % missing", "js"), ("rounded normal", "kl")]


@pytest.mark.parametrize(("name", "measure"), RUNS[:3])
def test_after_a_million_updates_the_divergences_kept_equal_those_computed_afresh(name, measure):
    assert worst_difference(name, 1_000_000, measure=measure) < TOLERANCE


@pytest.mark.parametrize(("name", "measure"), RUNS[3:])
def test_atoms_missing_values_and_categories_stay_exact_too(name, measure):
    assert worst_difference(name, 100_000, measure=measure, window=777, block=9_973) < TOLERANCE


@pytest.mark.parametrize("measure", ["kl", "js"])
def test_while_the_window_fills_the_divergence_is_exact_at_every_observation(measure):
    kind, reference, values = make("5 % missing", seed=2, m=1200, n=900, change=300)
    det = Detector(reference, kind=kind, window=300, alarm="threshold", measure=measure, on_drift="hold", **NEVER[measure])
    bins = NumericBins(reference)
    indices, learnt = bins.index(values), np.bincount(bins.index(reference), minlength=bins.k)
    for t, x in enumerate(values):
        det.update(x)
        counts = np.bincount(indices[max(0, t - 299) : t + 1], minlength=bins.k)
        (gauge,) = kept_gauges(det)
        assert list(gauge["counts"]) == counts.tolist()
        assert gauge["value"] == pytest.approx(DIRECT[measure](counts, learnt), abs=1e-12)
        assert det.divergence(measure).plug_in == pytest.approx(DIRECT[measure](counts, learnt), abs=1e-12)
        assert det.divergence(measure).value == pytest.approx(corrected(measure, counts, learnt, det.autocorrelation.mean_tau), abs=1e-12)


@pytest.mark.parametrize("measure", ["kl", "js"])
def test_a_threshold_is_crossed_at_the_very_observation_where_direct_computation_crosses_it(measure):
    kind, reference, values = make("normal", seed=3, m=1500, n=60_000, change=None)
    values = values + np.where((np.arange(60_000) // 5_000) % 2 == 1, 0.45, 0.0)
    window, raise_at, resolve_at = 400, *((0.08, 0.03) if measure == "kl" else (0.02, 0.008))
    bins = NumericBins(reference)
    indices, learnt = bins.index(values), np.bincount(bins.index(reference), minlength=bins.k)
    det = Detector(reference, kind=kind, window=window, alarm="threshold", measure=measure, raise_at=raise_at, resolve_at=resolve_at, on_drift="hold")
    counts, expected, is_raised = np.bincount(indices[: window - 1], minlength=bins.k), [], False
    for t in range(window - 1, len(indices)):
        counts[indices[t]] += 1
        value = corrected(measure, counts, learnt, det.autocorrelation.mean_tau)
        if is_raised != (value > resolve_at if is_raised else value >= raise_at):
            is_raised = not is_raised
            expected.append((t, "drift.raised" if is_raised else "drift.resolved"))
        counts[indices[t - window + 1]] -= 1
    assert [(e.index, e.kind) for e in det.update_many(values)] == expected
    assert len(expected) > 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=10_000_000)
    parser.add_argument("--window", type=int, default=1000)
    options = parser.parse_args()
    faults = 0
    print(f"{'shape':16} {'kept':22} {'updates':>10} {'worst difference':>17} {'seconds':>8}")
    for name, measure in RUNS:
        started = time.perf_counter()
        worst = worst_difference(name, options.updates, measure=measure, window=options.window)
        faults += worst >= TOLERANCE
        kept = f"{measure} of the window" if measure else "kl of the criterion"
        print(f"{name:16} {kept:22} {options.updates:10} {worst:17.2e} {time.perf_counter() - started:8.1f}", flush=True)
    return min(faults, 1)


if __name__ == "__main__":
    sys.exit(main())
