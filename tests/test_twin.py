"""The whole life of a Detector against its slow twin: the same events, evidence, counts and divergences at every observation."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specification.shapes import SHAPES, make
from specification.twin import TwinDetector, direct_js, direct_kl

from streamkl import Detector


def told(event):
    return None if event is None else (event.kind, event.index)


def run_both(values, reference=None, *, by_hand=(), look_every=7, **setting) -> Counter:
    """Feed both and compare after every observation; by_hand: indices after which rebaseline() is called. Returns what was met."""
    det = Detector(reference=reference, **setting)
    twin = TwinDetector(None if reference is None else list(reference), **setting)
    met: Counter = Counter()
    for t, x in enumerate(values):
        pairs = [(det.update(x), twin.update(x))]
        if t in by_hand:
            pairs.append((det.rebaseline("by hand"), twin.rebaseline()))
        for event, expected in pairs:
            assert told(event) == (None if expected is None else expected[:2]), f"at observation {t}"
            if event is not None:
                met[event.kind] += 1
                agree_on_the_event(event, expected, twin)
        agree_on_the_state(det, twin, look=t % look_every == 0)
        met[det.state] += 1
    return met


def agree_on_the_event(event, expected, twin) -> None:
    kind, index, episode, evidence = expected
    if kind == "drift.raised":
        assert event.evidence == pytest.approx(evidence, rel=1e-9)
        assert event.evidence >= event.budget or twin.alarm == "threshold"
    if kind != "reference.learned":
        assert event.episode == episode, (kind, index)


def agree_on_the_state(det, twin, *, look: bool) -> None:
    assert det.state == twin.state
    assert det.n == twin.n
    assert det.evidence == pytest.approx(twin.evidence, rel=1e-9, abs=0)
    if twin.state == "learning":
        assert math.isnan(det.divergence("kl").plug_in)
        assert det.contributions("kl") == []
    elif look and twin.past:
        window, reference = twin.histogram()
        seen = det.histogram()
        assert np.array_equal(seen.window, window)
        assert np.array_equal(seen.reference, reference)
        assert det.divergence("kl").plug_in == pytest.approx(direct_kl(window, reference), abs=1e-10)
        assert det.divergence("js").plug_in == pytest.approx(direct_js(window, reference), abs=1e-10)


def back_and_forth(name, seed, n, swings, m):
    """n values that leave the reference's distribution and come back, in turns of n / swings."""
    kind, reference, calm = make(name, seed=seed, m=m, n=n, change=None)
    _, _, moved = make(name, seed=seed, m=m, n=n, change=0)
    turn = max(1, n // swings)
    return kind, reference, [(moved if (i // turn) % 2 else calm)[i] for i in range(n)]


@st.composite
def lives(draw):
    """The recipe of a stream, calls by hand, and settings that make alarms frequent."""
    warmup = draw(st.integers(100, 200))
    n = draw(st.integers(900, 1800))
    recipe = {
        "name": draw(st.sampled_from(list(SHAPES))),
        "seed": draw(st.integers(0, 10**6)),
        "n": n,
        "swings": draw(st.integers(1, 7)),
        "m": draw(st.integers(160, 900)),
    }
    setting = {
        "false_alarms": draw(st.integers(50, 5000)),
        "warmup": warmup,
        "window": draw(st.one_of(st.none(), st.integers(20, 100), st.integers(100, 300))),
        "stride": draw(st.sampled_from([1, 1, 2, 3, 4])),
        "min_effect": draw(st.sampled_from([None, 0.02, 0.05, 0.05])),
        "on_drift": draw(st.sampled_from(["rebaseline", "hold"])),
        "hold_for": draw(st.sampled_from([None, 0, 50, 150])),
    }
    if draw(st.integers(0, 3)) == 0:
        measure = draw(st.sampled_from(["kl", "js"]))
        high = draw(st.sampled_from([0.02, 0.05, 0.1])) * (1 if measure == "js" else 3)
        setting |= {"alarm": "threshold", "measure": measure, "raise_at": high, "resolve_at": high / draw(st.sampled_from([1.2, 2.0]))}
    return recipe, draw(st.booleans()), draw(st.sets(st.integers(0, n), max_size=2)), setting


@given(lives())
@settings(max_examples=100)
def test_a_detector_lives_as_its_twin_does(life):
    recipe, is_given, by_hand, setting = life
    kind, reference, values = back_and_forth(**recipe)
    run_both(values, reference if is_given else None, kind=kind, by_hand=by_hand, **setting)


def test_learnt_noise_that_swings_is_raised_resolved_and_rebaselined_alike():
    kind, _, values = back_and_forth("normal", seed=4, n=9000, swings=9, m=500)
    values = [x + (2.0 if (i // 1000) % 2 else 0.0) for i, x in enumerate(values)]
    met = run_both(values, kind=kind, false_alarms=500, warmup=200, window=60, on_drift="rebaseline", hold_for=700)
    assert met["reference.learned"] == 1
    assert met["drift.raised"] >= 3
    assert met["reference.rebaselined"] >= 1
    rough = [x + (1.5 if i % 700 > 600 else 0.0) for i, x in enumerate(np.random.default_rng(3).standard_normal(6000))]
    met = run_both(rough, false_alarms=500, warmup=200, window=40, on_drift="hold", hold_for=None)
    assert met["drift.resolved"] >= 2


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_after_a_resolved_episode_the_evidence_goes_on_as_the_twin_says(stride):
    x = np.random.default_rng(stride).standard_normal(5000)
    x[1500:1620] += 2.5
    x[3000:3100] -= 2.5
    met = run_both(x, np.random.default_rng(9).standard_normal(400), false_alarms=1000, window=50, stride=stride, on_drift="hold")
    assert met["drift.resolved"] >= 2


@pytest.mark.parametrize("novelty", [2.5, float("nan")])
def test_after_an_episode_of_values_never_met_before_the_evidence_goes_on_as_the_twin_says(novelty):
    rng = np.random.default_rng(11)
    x = rng.integers(0, 6, 4000) * 1.0
    x[700:760:2] = novelty
    x[2000:2060:2] = novelty
    met = run_both(x, rng.integers(0, 6, 400) * 1.0, false_alarms=1000, window=50, on_drift="hold")
    assert met["drift.resolved"] >= 1


@pytest.mark.parametrize("effect", [0.02, 0.05, 0.3])
def test_wealth_earned_behind_a_closed_criterion_is_kept_until_it_opens(effect):
    x = np.random.default_rng(2).standard_normal(4000)
    x[500:] += 0.35
    x[3000:] += 0.6
    met = run_both(x, np.random.default_rng(1).standard_normal(1000), false_alarms=200, window=200, min_effect=effect, stride=3)
    assert met["drift.raised"] >= 1


@pytest.mark.parametrize("measure", ["kl", "js"])
@pytest.mark.parametrize("on_drift", ["hold", "rebaseline"])
def test_a_threshold_alarm_follows_the_corrected_divergence_of_the_reporting_window(measure, on_drift):
    x = np.random.default_rng(6).standard_normal(4000)
    x[1000:1400] += 1.0
    x[2500:] += 1.0
    met = run_both(x, alarm="threshold", measure=measure, raise_at=0.06, resolve_at=0.03, warmup=300, window=150, on_drift=on_drift, hold_for=600)
    assert met["drift.raised"] >= 2
    assert met["drift.resolved"] >= 1


def test_learning_waits_for_a_hundred_values_that_are_not_missing():
    x = np.random.default_rng(12).standard_normal(3000)
    x[np.arange(3000) % 3 != 0] = np.nan
    met = run_both(x, warmup=120, false_alarms=300, window=40)
    assert met["learning"] >= 290


def test_a_stream_of_missing_values_only_keeps_learning_and_remembers_the_newest_twenty_warmups():
    x = [None] * 2500 + np.random.default_rng(13).standard_normal(700).tolist()
    met = run_both(x, warmup=100, false_alarms=300)
    assert met["reference.learned"] == 1


@pytest.mark.parametrize("by_hand", [{400}, {1200}, {1205, 1210}, {1450}, {50}])
@pytest.mark.parametrize("given_reference", [True, False])
def test_a_rebaseline_by_hand_learns_new_values_only(by_hand, given_reference):
    x = np.random.default_rng(14).standard_normal(3000)
    x[1200:] += 3
    reference = np.random.default_rng(15).standard_normal(250) if given_reference else None
    met = run_both(x, reference, by_hand=by_hand, warmup=200, window=50, false_alarms=500, on_drift="hold")
    assert met["reference.rebaselined"] == (0 if by_hand == {50} and not given_reference else 1)
