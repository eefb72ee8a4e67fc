"""Streams that real life brings, with default settings: what is raised, what is not, and that the detector recovers."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from streamkl import Detector

NOISE = np.random.default_rng(12).standard_normal(60_000)
DAY = 1440                  # a reading a minute


def told(values, **settings):
    """Return the detector after these values and its events but the maturing ones, as (kind, index); restored and cut on the way."""
    det, events = Detector(**settings), []
    for start in range(0, len(values), 997):
        events += det.update_many(values[start:start + 997])
        det = Detector.from_bytes(det.to_bytes())
    assert all(math.isfinite(reading.kl) and math.isfinite(reading.limit) for reading in det.criterion())
    assert math.isfinite(det.evidence)
    return det, [(event.kind.split(".")[1], event.index) for event in events if event.kind != "reference.learned"]


def raised(events):
    return [index for kind, index in events if kind == "raised"]


def test_a_day_of_one_value_is_raised_soon_and_over_soon_after():
    values = NOISE[:12_000].copy()
    values[6000:6000 + DAY] = 0.3
    _, events = told(values)
    assert 6000 <= raised(events)[0] < 6100
    assert events[1][1] < 6000 + DAY + 2000
    assert len(raised(events)) <= 2


def test_a_jump_and_the_way_back_are_one_episode_or_two_and_nothing_lasts():
    values = NOISE[:20_000].copy()
    values[8000:8400] += 3
    det, events = told(values)
    assert 8000 <= raised(events)[0] < 8060
    assert len(raised(events)) <= 2
    assert det.state == "watching"
    assert det.divergence("kl").value < 0.05


def test_a_stream_that_is_missing_for_a_week_is_raised_and_goes_on():
    values = NOISE[:30_000].copy()
    values[6000:6000 + 7 * DAY] = np.nan
    det, events = told(values)
    assert 6000 <= raised(events)[0] < 6060
    assert [kind for kind, _ in events] == ["raised", "rebaselined"]
    assert det.state == "watching"
    assert det.divergence("kl").value < 0.05
    assert det.histogram().reference[-1] == 0           # nothing of the outage was learnt
    assert det.stride <= 3


def test_a_stream_that_begins_with_an_outage_is_learnt_from_its_first_value_on():
    det, events = told(np.r_[np.full(700, np.nan), NOISE[:6000]])
    plain, _ = told(NOISE[:6000])
    assert events == []
    assert det.reference == plain.reference
    assert det.n == plain.n + 700
    assert Detector(kind="categorical").update_many([None] * 700 + ["a", "b"] * 400)[0].index == 1299


def test_an_incident_is_not_learnt_as_natural_variability_though_it_was_seen_late():
    """In an AR(.9) stream an incident is raised some 200 rows late; learnt with those rows, the limit would be the ceiling, 1 nat."""
    limits = []
    for seed in range(10):
        values = lfilter([1.0], [1.0, -0.9], np.random.default_rng(seed).standard_normal(8000))
        values[3000:3600] += 12
        det = Detector(on_drift="hold")
        det.update_many(values)
        assert det.reference.m > 3000
        limits.append(det.criterion()[0].limit)
    assert np.median(limits) < 0.6


@pytest.mark.parametrize("value", [0.0, 7.0, 1e300, "on"])
def test_one_value_for_ever_is_never_drift_and_another_one_is(value):
    kind = "categorical" if isinstance(value, str) else "numeric"
    det, events = told([value] * 15_000, kind=kind)
    assert events == []
    assert det.divergence("kl").low == 0
    assert det.divergence("kl").value < 0.02            # what adding 1/2 to every bin leaves
    other = "off" if kind == "categorical" else 8.0
    assert next(event.kind for event in det.update_many([other] * 60)) == "drift.raised"


def test_a_stream_that_changes_its_kind_is_refused_value_by_value_and_loses_nothing():
    det = Detector()
    det.update_many(NOISE[:3000])
    before = det.to_bytes()
    for wrong in ("12ms", b"12", [1.0], {}, object(), 1j):
        with pytest.raises(TypeError):
            det.update(wrong)
    with pytest.raises(TypeError):
        det.update_many([1.0, "12ms"])
    assert det.to_bytes() == before
    det.update_many(NOISE[3000:6000])
    assert det.n == 6000


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_a_scale_changes_no_event(scale):
    values = NOISE[:12_000].copy()
    values[7000:] += 1.5
    plain, expected = told(values)
    scaled, events = told(values * scale)
    assert events == expected
    assert raised(events)
    assert scaled.evidence == plain.evidence
    assert scaled.diagnosis() == plain.diagnosis()


def test_two_regimes_that_alternate_every_hundred_rows_are_the_normal_of_a_stream_that_was_learnt_so():
    regimes = np.where(np.arange(30_000) // 100 % 2 == 1, 2.0, 0.0)
    det, events = told(NOISE[:30_000] + regimes)
    assert raised(events) == []
    assert det.stride > 20                              # neighbours say the same
    _, events = told(NOISE[:30_000] + np.where(np.arange(30_000) < 10_000, 0.0, regimes))
    assert 10_000 <= raised(events)[0] < 10_300
    assert len(raised(events)) <= 6                     # and then it is learnt as the new normal


@pytest.mark.parametrize("settings", [{}, {"reference": 10_000, "stride": 1}])
def test_after_a_shift_of_half_the_minimum_effect_the_evidence_recovers_within_a_thousand_rows(settings):
    """KL of a normal law shifted by d is d * d / 2. From the cap, 1000 budgets, the smallest tilt, .12, loses log(1000) in 960 bets on average."""
    recovered = watching = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        reference = {"reference": rng.standard_normal(settings["reference"])} if "reference" in settings else {}
        values = rng.standard_normal(46_000)
        values[20_000:45_000] += math.sqrt(2 * 0.025)
        det = Detector(**{**settings, **reference}, on_drift="hold")
        det.update_many(values)
        if det.state == "watching":
            watching += 1
            recovered += det.evidence < det.budget
    assert watching >= 6
    assert recovered >= 0.7 * watching


def test_a_stream_that_reports_in_bursts_and_has_a_long_outage_is_watched_to_its_end():
    rows = np.arange(24_500)
    values = np.where(rows % 640 < 160, NOISE[:24_500], np.nan)
    values[2500:17_500] = np.nan
    det, _ = told(values)
    assert det.n == 24_500
