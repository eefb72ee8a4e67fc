"""The whole life of a Detector against its slow twin: the same events, evidence, criterion, counts and divergences at every observation."""

from __future__ import annotations

from collections import Counter
from math import isclose, isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specification import flows
from specification.shapes import SHAPES, make
from specification.twin import TwinDetector, corrected, direct_js, direct_kl

from streamkl import Detector, divergence


def run_both(values, reference=None, *, by_hand=(), look_every=41, **setting) -> Counter:
    """Feed both and compare after every observation; by_hand: indices after which rebaseline() is called. Returns what was met."""
    det = Detector(reference=reference, **setting)
    twin = TwinDetector(None if reference is None else list(reference), **setting)
    met = references_met(twin)
    for t, x in enumerate(values):
        event = agree_on_the_event(det.update(x), twin.update(x), twin, met)
        if t in by_hand:
            event = agree_on_the_event(det.rebaseline("by hand"), twin.rebaseline(), twin, met) or event
        agree_on_the_state(det, twin)
        if t % look_every == 0 or event:
            agree_on_what_is_shown(det, twin)
        met[det.state] += 1
    return met


def references_met(twin) -> Counter:
    """What is to be said of the reference that the twin watches with."""
    learned = twin.learned
    if learned is None or twin.state == "learning":
        return Counter()
    met = Counter({"extended": learned.is_extended, "capped": learned.is_capped, "dropped": len(learned.windows) - len(learned.limits)})
    met.update([f"m = {learned.m}", f"stride = {learned.stride}", learned.limits[0].source])
    met.update(f"{limit.source} of a shorter window" for limit in learned.limits[1:])
    return met


def agree_on_the_event(event, expected, twin, met):
    """Compare what an observation or a call caused, note what was met, hand it back."""
    assert (event and (event.kind, event.index)) == (expected and expected[:2]), f"after {twin.n} observations"
    if event is None:
        return None
    kind, _, episode, evidence = expected
    assert event.guarantee == twin.guarantee(of="event"), event
    if kind == "drift.raised":
        assert isclose(event.evidence, evidence, rel_tol=1e-9)
        assert event.evidence >= event.budget or twin.alarm == "threshold"
    if kind != "reference.learned":
        assert event.episode == episode, event
    met.update([kind, f"{kind} {event.guarantee}"])
    met.update(references_met(twin) if kind.startswith("reference.") else Counter())
    return event


def agree_on_the_state(det, twin) -> None:
    assert det.state == twin.state
    assert det.n == twin.n
    assert isclose(det.evidence, twin.evidence, rel_tol=1e-9)
    assert det.guarantee == twin.guarantee()
    if twin.alarm == "evidence":
        agree_on_the_criterion(det.criterion(), twin.criterion())
    if twin.state != "learning":
        found, (tau, mean_tau) = det.autocorrelation, twin.times()
        assert (det.stride, found.lag) == (twin.stride, twin.learned.lag)
        assert isclose(found.tau, tau, rel_tol=1e-9)
        assert isclose(found.mean_tau, mean_tau, rel_tol=1e-9)
        assert isclose(found.echo, twin.learned.echo, rel_tol=0, abs_tol=1e-9)


def agree_on_the_criterion(readings, expected) -> None:
    assert [r.window for r in readings] == [e.window for e in expected]
    for reading, twins in zip(readings, expected, strict=True):
        assert isclose(reading.kl, twins.kl, rel_tol=0, abs_tol=1e-10)
        assert isclose(reading.limit, twins.limit, rel_tol=1e-9)
        assert (reading.source, reading.open) == (twins.source, twins.open)
        assert np.array_equal(reading.window_counts, twins.window_counts)
        assert np.array_equal(reading.reference_counts, twins.reference_counts)


def agree_on_what_is_shown(det, twin) -> None:
    for against in ("reference", "origin"):
        if twin.state == "learning":
            assert isnan(det.divergence("kl", against=against).plug_in)
            assert len(det.histogram(against=against).window) == 0
        elif twin.past:
            agree_on_the_histogram(det, twin, against)
    if twin.state == "learning":
        assert det.contributions("kl") == []


def agree_on_the_histogram(det, twin, against) -> None:
    window, reference = twin.histogram(against)
    tau, mean_tau = twin.times(against)
    seen = det.histogram(against=against)
    assert np.array_equal(seen.window, window)
    assert np.array_equal(seen.reference, reference)
    for measure, direct in (("kl", direct_kl), ("js", direct_js)):
        estimate = det.divergence(measure, against=against)
        whole = divergence.estimate(window, reference, measure, tau=tau, mean_tau=mean_tau)
        assert isclose(estimate.plug_in, direct(window, reference), rel_tol=0, abs_tol=1e-10)
        assert isclose(estimate.value, corrected(measure, window, reference, mean_tau), rel_tol=0, abs_tol=1e-10)
        assert isclose(estimate.low, whole.low, rel_tol=0, abs_tol=1e-9)
        assert isclose(estimate.high, whole.high, rel_tol=1e-9)


# ---------------------------------------------------------------- any life


def back_and_forth(name, seed, n, swings, m):
    """n values that leave the reference's distribution and come back, in turns of n / swings."""
    if name in flows.FLOWS:
        kind, reference, calm, moved = flows.make(name, seed=seed, m=m, n=n)
    else:
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
        "name": draw(st.one_of(st.sampled_from(list(SHAPES)), st.sampled_from(list(flows.FLOWS)))),
        "seed": draw(st.integers(0, 10**6)),
        "n": n,
        "swings": draw(st.integers(1, 7)),
        "m": draw(st.integers(160, 900)),
    }
    setting = {
        "false_alarms": draw(st.integers(50, 5000)),
        "warmup": warmup,
        "extend": draw(st.sampled_from([1, 2, 4])),
        "mature_until": draw(st.sampled_from([0, 500, 10_000])),
        "window": draw(st.one_of(st.none(), st.integers(20, 100), st.integers(100, 300))),
        "stride": draw(st.sampled_from(["auto", "auto", "auto", 1, 2, 3])),
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


# ---------------------------------------------------------------- learning


def flow(name, n, seed=1):
    """The first n calm values of a flow."""
    return flows.make(name, seed=seed, m=100, n=2500).calm[:n]


@pytest.mark.parametrize(("name", "warmup", "extend", "learnt"), [
    ("AR .9", 150, 4, 600), ("AR .9", 151, 4, 604), ("AR .9", 150, 2, 300), ("AR .9", 150, 1, 150), ("AR .9", 133, 3, 399),
    ("AR .5", 100, 4, 150), ("sticky pair", 125, 4, 249), ("sticky categories", 120, 4, 480), ("blocks", 130, 2, 260),
])  # fmt: skip
def test_a_warmup_that_covers_too_few_autocorrelation_times_is_extended_by_halves_and_never_beyond_the_most(name, warmup, extend, learnt):
    kind = flows.make(name, seed=1, m=100, n=1).kind
    met = run_both(flow(name, learnt + 60), kind=kind, warmup=warmup, extend=extend)
    assert met[f"m = {learnt}"] == 1
    assert met["extended"] == (learnt > warmup)


def test_a_warmup_of_independent_values_is_not_extended():
    met = run_both(np.random.default_rng(20).standard_normal(500), warmup=400)
    assert met["m = 400"] == 1
    assert met["extended"] == 0


def test_an_extended_warmup_waits_for_a_hundred_values_that_are_not_missing():
    values = np.full(1500, np.nan)
    values[::4] = flow("random walk", 375)
    met = run_both(values, warmup=120, extend=4, look_every=20)
    assert met["reference.learned"] == 1
    assert met["extended"] == 1


def test_a_given_reference_is_never_extended_and_what_a_rebaseline_learns_neither():
    reference, calm, moved = flows.make("AR .9", seed=2, m=300, n=2000)[1:]
    values = np.r_[calm[:400], moved[400:]]
    met = run_both(values, reference, warmup=150, window=60, false_alarms=300, mature_until=0)
    assert met["reference.rebaselined"] >= 1
    assert met["m = 300"] == 1
    assert met["m = 150"] == met["reference.rebaselined"]
    assert met["extended"] == 0
    assert met["capped"] >= 1


def test_a_rebaseline_learns_as_many_values_as_the_extended_warmup_and_picks_its_own_stride():
    _, _, calm, moved = flows.make("AR .9", seed=3, m=100, n=2500)
    values = np.r_[calm[:700], 20 * np.random.default_rng(3).standard_normal(1000), moved[1700:]]
    met = run_both(values, warmup=100, window=50, false_alarms=200)
    assert met["extended"] == 1
    assert met["m = 400"] == 1 + met["reference.rebaselined"]
    assert met["reference.rebaselined"] >= 1
    assert sum(key.startswith("stride = ") for key in met) >= 2


def test_learning_waits_for_a_hundred_values_that_are_not_missing():
    x = np.random.default_rng(12).standard_normal(3000)
    x[np.arange(3000) % 3 != 0] = np.nan
    met = run_both(x, warmup=120, false_alarms=300, window=40)
    assert met["learning"] >= 290


def test_a_stream_of_missing_values_only_keeps_learning_and_remembers_the_newest_twenty_warmups():
    x = [None] * 2500 + np.random.default_rng(13).standard_normal(700).tolist()
    met = run_both(x, warmup=100, false_alarms=300)
    assert met["reference.learned"] >= 1


# ---------------------------------------------------------------- the criterion


def test_natural_variability_is_the_limit_where_a_reference_wanders():
    _, reference, calm, moved = flows.make("two levels", seed=6, m=800, n=1500)
    met = run_both(np.r_[calm[:700], moved[700:]], reference, window=200, false_alarms=300)
    assert met["natural variability"] >= 1
    assert met["drift.raised"] >= 1
    _, reference, calm, moved = flows.make("AR .5", seed=4, m=900, n=900)
    met = run_both(np.r_[calm[:400], moved[400:]], reference, window=200, false_alarms=300, min_effect=0.01)
    assert met["natural variability"] >= 1
    assert met["natural variability of a shorter window"] >= 1
    assert met["drift.raised"] >= 1


def test_the_ceiling_is_the_limit_where_a_reference_wanders_far_and_shorter_windows_are_dropped():
    _, reference, calm, moved = flows.make("random walk", seed=5, m=600, n=900)
    met = run_both(np.r_[calm[:300], moved[300:]], reference, window=140, false_alarms=100)
    assert met["ceiling"] >= 1
    assert met["dropped"] >= 1
    assert met["drift.raised"] >= 1


def test_a_minimum_effect_above_the_natural_variability_is_the_limit():
    _, reference, calm, _ = flows.make("AR .5", seed=6, m=900, n=300)
    met = run_both(calm, reference, window=200, min_effect=0.7)
    assert met["min_effect"] == 1
    assert met["min_effect of a shorter window"] == 1


def test_without_a_minimum_effect_natural_variability_only_tells_when_an_episode_is_calm():
    values = flow("AR .5", 2500)
    values[700:760] += 6
    met = run_both(values, warmup=200, window=40, min_effect=None, false_alarms=2000, on_drift="hold", mature_until=0)
    assert met["natural variability"] == 1
    assert met["drift.raised"] >= 1
    assert met["drift.resolved"] >= 1


@pytest.mark.parametrize("effect", [0.02, 0.05, 0.3])
def test_wealth_earned_behind_a_closed_criterion_is_kept_until_it_opens(effect):
    x = np.random.default_rng(2).standard_normal(4000)
    x[500:] += 0.35
    x[3000:] += 0.6
    met = run_both(x, np.random.default_rng(1).standard_normal(1000), false_alarms=200, window=200, min_effect=effect, stride=3)
    assert met["drift.raised"] >= 1


# ---------------------------------------------------------------- the stride and the guarantee


@pytest.mark.parametrize(("name", "m"), [("AR .9", 200), ("sine and noise", 300), ("sticky categories", 160)])
def test_a_stride_that_the_reference_is_too_short_for_is_capped_and_nothing_is_guaranteed(name, m):
    kind, reference, calm, _ = flows.make(name, seed=7, m=m, n=800)
    met = run_both(calm, reference, kind=kind, false_alarms=50, window=40, min_effect=None)
    assert met["capped"] >= 1
    assert met[f"stride = {m // 20}"] >= 1
    assert met["drift.raised exact"] + met["drift.raised approximate"] == 0


def test_each_guarantee_is_met_where_the_twin_says_so():
    x = np.random.default_rng(8).standard_normal(2500)
    x[600:700] += 3
    x[1600:1700] += 3
    met = run_both(x, np.random.default_rng(9).standard_normal(800), stride=1, window=50, false_alarms=2000, on_drift="hold")
    assert met["drift.raised exact"] == 1
    assert met["drift.raised approximate"] >= 1
    met = run_both(flow("AR .9", 900), flow("AR .9", 500, seed=2), stride=1, window=50, false_alarms=50, min_effect=None)
    assert met["drift.raised void"] >= 1


@pytest.mark.parametrize("stride", [1, 2, 3, 4, "auto"])
def test_after_a_resolved_episode_the_evidence_goes_on_as_the_twin_says(stride):
    x = np.random.default_rng(4 if stride == "auto" else stride).standard_normal(5000)
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


# ---------------------------------------------------------------- turns of life


def test_learnt_noise_that_swings_is_raised_resolved_and_rebaselined_alike():
    kind, _, values = back_and_forth("normal", seed=4, n=9000, swings=9, m=500)
    values = [x + (2.0 if (i // 1000) % 2 else 0.0) for i, x in enumerate(values)]
    met = run_both(values, kind=kind, false_alarms=500, warmup=200, window=60, on_drift="rebaseline", hold_for=700)
    assert met["reference.learned"] >= 4                     # it matured, too
    assert met["drift.raised"] >= 3
    assert met["reference.rebaselined"] >= 1
    rough = [x + (1.5 if i % 700 > 600 else 0.0) for i, x in enumerate(np.random.default_rng(3).standard_normal(6000))]
    met = run_both(rough, false_alarms=500, warmup=200, window=40, on_drift="hold", hold_for=None)
    assert met["drift.resolved"] >= 2


@pytest.mark.parametrize("name", ["AR .9", "blocks", "bursts of missing values", "sticky categories", "two levels"])
def test_values_that_follow_each_other_are_raised_and_resolved_or_rebaselined_alike(name):
    kind, _, calm, moved = flows.make(name, seed=9, m=100, n=2500)
    values = [(moved if 900 <= i < 2200 else calm)[i] for i in range(2500)]
    met = run_both(values, kind=kind, warmup=150, window=60, false_alarms=1000)
    assert met["drift.raised"] >= 1
    assert met["drift.resolved"] + met["reference.rebaselined"] >= 1


@pytest.mark.parametrize("measure", ["kl", "js"])
@pytest.mark.parametrize("on_drift", ["hold", "rebaseline"])
def test_a_threshold_alarm_follows_the_corrected_divergence_of_the_reporting_window(measure, on_drift):
    x = np.random.default_rng(6).standard_normal(4000)
    x[1000:1400] += 1.0
    x[2500:] += 1.0
    met = run_both(x, alarm="threshold", measure=measure, raise_at=0.06, resolve_at=0.03, warmup=300, window=150, on_drift=on_drift, hold_for=600)
    assert met["drift.raised"] >= 2
    assert met["drift.resolved"] >= 1


@pytest.mark.parametrize("measure", ["kl", "js"])
def test_a_threshold_alarm_takes_off_the_bias_that_values_have_which_follow_each_other(measure):
    values = flow("AR .5", 1500)
    values[800:1000] += 4
    high = 0.5 if measure == "kl" else 0.12
    met = run_both(values, alarm="threshold", measure=measure, raise_at=high, resolve_at=high / 3, warmup=100, window=120, on_drift="hold")
    assert met["extended"] == 1
    assert met["drift.raised void"] >= 1
    assert met["drift.resolved"] >= 1


@pytest.mark.parametrize("by_hand", [{400}, {1200}, {1205, 1210}, {1450}, {50}])
@pytest.mark.parametrize("given_reference", [True, False])
def test_a_rebaseline_by_hand_learns_new_values_only(by_hand, given_reference):
    x = np.random.default_rng(14).standard_normal(3000)
    x[1200:] += 3
    reference = np.random.default_rng(15).standard_normal(250) if given_reference else None
    met = run_both(x, reference, by_hand=by_hand, warmup=200, window=50, false_alarms=500, on_drift="hold")
    assert met["reference.rebaselined"] == (0 if by_hand == {50} and not given_reference else 1)


@pytest.mark.parametrize("name", ["AR .5", "bursts of missing values", "sticky categories"])
def test_the_origin_stays_the_first_reference_through_rebaselines_by_hand_and_after_drift(name):
    kind, reference, calm, moved = flows.make(name, seed=16, m=400, n=2600)
    values = [(moved if i >= 1100 else calm)[i] for i in range(2600)]
    for given_reference in (reference, None):
        met = run_both(values, given_reference, by_hand={500, 2200}, kind=kind, warmup=150, extend=2, window=80, false_alarms=2000, look_every=13)
        assert met["reference.rebaselined"] >= 3
