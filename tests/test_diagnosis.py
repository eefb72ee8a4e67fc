"""Diagnosis, guarantee and origin: what a person is told of a reference is what was found in it."""

import re

import numpy as np
import pytest
from test_autocorrelation import ar

from streamkl import Detector, Reference, divergence
from streamkl.detect.autocorrelation import autocorrelation

NOISE = np.random.default_rng(0).standard_normal(20_000)


def warnings(det):
    return "\n".join(det.diagnosis()[1:])


def test_the_first_sentence_tells_size_autocorrelation_stride_and_variability():
    det = Detector(ar(0.8, 4000, seed=1))
    found = autocorrelation(Reference.fit(ar(0.8, 4000, seed=1)).bins, Reference.fit(ar(0.8, 4000, seed=1)).order, 1000)
    size, times, tau, stride, natural, limit = re.fullmatch(
        r"reference: ([\d,]+) observations = ([\d,]+) autocorrelation times of ([\d.]+); 1 in (\d+) feeds the alarm; "
        r"natural variability ([\d.]+) nats, alarm above ([\d.]+)", det.diagnosis()[0]).groups()
    assert size == "4,000"
    assert float(tau) == pytest.approx(found.tau, abs=0.05)
    assert int(times.replace(",", "")) == round(4000 / found.tau)
    assert int(stride) == det.stride == found.lag > 1
    assert float(limit) == pytest.approx(det.criterion()[0].limit, abs=0.005)
    assert float(natural) == pytest.approx(det.criterion()[0].limit / 1.5, abs=0.006)
    assert f"an event must last about {10 * det.stride:,} observations or more" in warnings(det)


def test_an_independent_reference_of_some_size_has_nothing_to_warn_of():
    assert len(Detector(NOISE[:4000], stride=1).diagnosis()) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reference": ar(0.95, 1200, seed=3)}, "autocorrelation times, not 50: the budget is approximate"),
        ({"reference": ar(0.995, 1200, seed=3)}, "autocorrelation times, not 50: the budget does not hold"),
        ({"reference": ar(0.99, 1200, seed=3)}, "the stride was capped at 60, where"),
        ({"reference": ar(0.9, 4000, seed=3), "stride": 2}, "at stride 2 the budget does not hold; stride"),
        ({"reference": np.repeat([0.0, 5.0, 0.0, 5.0], 300) + NOISE[:1200]}, "the reference is not one regime"),
        ({"reference": NOISE[:600]}, "a reference of 600 observations is short"),
        ({"reference": np.sin(np.arange(1200) * np.pi / 12) + 0.2 * NOISE[:1200]}, "values come back in seasons"),
        ({"reference": [7.0] * 1200}, "the reference has one distinct value (= 7)"),
        ({"reference": [f"user{i}" for i in range(1500)], "kind": "categorical"}, "categories hardly repeat"),
        ({"reference": NOISE[:1200], "alarm": "threshold"}, "a threshold has no budget"),
    ],
)
def test_each_warning_appears_where_its_reason_is_and_only_there(settings, said):
    assert said in warnings(Detector(**settings))
    assert said not in warnings(Detector(NOISE[:4000]))


def test_counts_that_were_given_say_that_their_order_is_not_known():
    det = Detector(Reference.from_counts([0.0, 1.0], [500, 500, 500]))
    assert "given without their order: autocorrelation and natural variability are not known" in det.diagnosis()[0]
    assert det.stride == 1
    assert {reading.source for reading in det.criterion()} == {"min_effect"}
    assert det.guarantee == "approximate"


def test_a_warm_up_goes_on_until_it_covers_fifty_times_and_says_so_meanwhile():
    values = ar(0.9, 4000, seed=5)
    det = Detector(warmup=600)
    det.update_many(values[:700])
    assert det.state == "learning"
    assert det.guarantee == "void"
    assert "the warm-up was extended from 600 to 900 observations, at most 2,400" in det.diagnosis()[1]
    assert "still learning its reference: 700 of 900" in det.diagnosis()[0]
    learned = det.update_many(values[700:2400])[0]
    assert learned.index in (899, 1199, 1499, 1799, 2099, 2399)
    assert learned.reference_n == learned.index + 1
    assert "the warm-up was extended: a change inside it would have been learnt as normal" in warnings(det)
    assert det.guarantee == learned.guarantee == "approximate"
    det = Detector(warmup=600, mature_until=0)
    det.update_many(values)
    assert det.guarantee == "approximate"
    reference = Reference.fit(values[:learned.reference_n])
    assert learned.reference_n >= 50 * autocorrelation(reference.bins, reference.order, learned.reference_n // 4).tau or learned.index == 2399


def test_a_stream_of_missing_values_says_what_it_waits_for():
    det = Detector(warmup=100)
    det.update_many([None] * 90 + [1.0] * 50)
    assert any("100 values that are not missing; 50 of 140 are there" in sentence for sentence in det.diagnosis())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"reference": NOISE[:4000], "stride": 1}, "exact"),
        ({"reference": NOISE[:4000], "stride": 7}, "approximate"),
        ({"reference": np.round(NOISE[:4000], 1), "stride": 1}, "approximate"),
        ({"reference": ar(0.9, 4000, seed=3)}, "approximate"),
        ({"reference": ar(0.9, 4000, seed=3), "stride": 1}, "void"),
        ({"reference": ar(0.99, 1200, seed=3)}, "void"),
        ({"reference": np.sin(np.arange(4000) * np.pi / 12) + 0.2 * NOISE[:4000]}, "void"),
        ({"reference": NOISE[:4000], "alarm": "threshold"}, "void"),
        ({}, "void"),
        ({"reference": NOISE[:4000], "stride": 1, "mature_until": 20_000}, "exact"),
    ],
)
def test_the_guarantee_is_what_the_reference_allows(settings, expected):
    assert Detector(**settings).guarantee == expected


def test_only_the_first_alarm_of_a_reference_is_exact():
    det = Detector(NOISE[:4000], stride=1, false_alarms=1000, on_drift="hold")
    (raised,) = det.update_many(NOISE[4000:4100] + 4)
    assert raised.guarantee == det.guarantee == "exact"
    assert next(event.kind for event in det.update_many(NOISE[5000:8000])) == "drift.resolved"
    assert det.guarantee == "approximate"


# ---------------------------------------------------------------- the origin


def test_slow_drift_that_each_new_reference_took_for_normal_shows_against_the_origin():
    ramp = NOISE + np.linspace(0, 6, len(NOISE))
    det = Detector(ramp[:1000], warmup=500, false_alarms=1000)
    kinds = [event.kind for event in det.update_many(ramp[1000:])]
    assert kinds.count("reference.rebaselined") >= 2
    window = det.histogram().window.sum()
    assert det.histogram("origin").window.sum() == window
    near, far = det.divergence("kl"), det.divergence("kl", against="origin")
    assert near.value < 0.5 < 2 < far.low
    seen = det.histogram(against="origin")
    first = Reference.fit(ramp[:1000])
    assert np.array_equal(seen.reference, first.bins.counts)
    assert np.array_equal(seen.window, np.bincount(first.bins.index(ramp[-int(window):]), minlength=first.bins.k))
    assert far.plug_in == pytest.approx(divergence.kl(seen.window, seen.reference, smoothing=0.5), abs=1e-12)


def test_before_another_reference_is_learnt_the_origin_is_the_reference():
    det = Detector(warmup=300, mature_until=0)
    det.update_many(NOISE[:1000])
    assert det.divergence("js", against="origin") == det.divergence("js")
    assert np.array_equal(det.histogram("origin").window, det.histogram().window)
    assert np.isnan(Detector().divergence("kl", against="origin").value)


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
@pytest.mark.parametrize("cut", [1200, 2000, 2600, 3100])
def test_the_origin_outlives_a_restart_and_batches_do_not_matter(kind, cut):
    values = np.round(np.r_[NOISE[:1500], NOISE[1500:4000] + 3], 1)
    values = values.tolist() if kind == "numeric" else [f"v{x}" for x in np.round(values)]
    settings = {"kind": kind, "warmup": 300, "false_alarms": 1000, "hold_for": 400}
    whole = Detector(**settings)
    whole.update_many(values)
    det = Detector(**settings)
    for value in values[:cut]:
        det.update(value)
    if cut == 2600:
        det.rebaseline()
        whole = Detector(**settings)
        whole.update_many(values[:cut])
        whole.rebaseline()
        whole.update_many(values[cut:])
    det = Detector.from_bytes(det.to_bytes())
    det.update_many(values[cut:])
    assert det.to_bytes() == whole.to_bytes()
    assert det.divergence("kl", against="origin").value > 0.3
    assert det.divergence("kl").value < 0.3


# ---------------------------------------------------------------- size


def test_a_watching_stream_is_small():
    plain = Detector(NOISE[:4000], stride=1, min_effect=None)
    plain.update_many(NOISE[:5000])
    learnt = Detector(warmup=4000, mature_until=5000)
    learnt.update_many(NOISE[:9000])
    short = Detector(mature_until=0)
    short.update_many(NOISE[:9000])
    drifted = Detector()
    drifted.update_many(np.r_[NOISE[:5000], NOISE[5000:] + 3])
    assert drifted.state == learnt.state == short.state == "watching"
    assert drifted.reference.m > 9000
    assert drifted.divergence("kl", against="origin").value > 1
    assert max(len(det.to_bytes()) for det in (learnt, short, drifted)) <= 6_000
    assert len(plain.to_bytes()) <= 3_584
