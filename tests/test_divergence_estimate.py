"""Estimate: the bias it takes off and the coverage of its interval are measured by simulation, not taken on trust."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from streamkl import divergence
from streamkl.divergence import estimate

MEASURES = ["kl", "kl_reverse", "jeffreys", "psi", "js", "js_distance", "total_variation", "hellinger", "chi_square"]
# mean of the plug-in without change, in units of (k - 1)(1/n + 1/m): half a chi-square variable for KL, and so on
NULL_FACTORS = {"kl": 1 / 2, "kl_reverse": 1 / 2, "jeffreys": 1, "psi": 1, "js": 1 / 8, "chi_square": 1}
BOUNDS = {"js": math.log(2), "js_distance": math.sqrt(math.log(2)), "total_variation": 1.0, "hellinger": 1.0}
lawful = settings(derandomize=True, deadline=None, max_examples=60, database=None)


def shifted(q, shift):
    """q tilted exponentially along the bins, by `shift` standard units."""
    p = q * np.exp(shift * np.linspace(-1.7, 1.7, len(q)))
    return p / p.sum()


def draws(p, q, n, m, runs, seed):
    random = np.random.default_rng(seed)
    return zip(random.multinomial(n, p, runs), random.multinomial(m, q, runs), strict=True)


@st.composite
def histograms(draw):
    size = draw(st.integers(1, 10))
    vectors = st.lists(st.one_of(st.integers(0, 2000).map(float), st.floats(0, 1e308)), min_size=size, max_size=size).filter(any)
    return draw(vectors), draw(vectors)


@pytest.mark.parametrize("measure", MEASURES)
@lawful
@given(pair=histograms(), tau=st.floats(0.5, 1000), smoothing=st.sampled_from([0.0, 0.5, 3.0]))
def test_the_interval_holds_the_value_and_keeps_the_bounds_of_the_measure(measure, pair, tau, smoothing):
    e = estimate(*pair, measure, tau, smoothing=smoothing)
    assert 0 <= e.low <= e.value <= e.high <= BOUNDS.get(measure, math.inf)
    assert e.value <= e.plug_in


@pytest.mark.parametrize("measure", MEASURES)
@lawful
@given(pair=histograms())
def test_the_plug_in_is_the_measure_of_the_smoothed_counts(measure, pair):
    e = estimate(*pair, measure)
    assert e.plug_in == getattr(divergence, measure)(*pair, smoothing=0.5)


@pytest.mark.parametrize("measure", NULL_FACTORS)
@pytest.mark.parametrize(("n", "m", "k"), [(1000, 10_000, 16), (1000, 1000, 8)])
def test_without_change_the_bias_taken_off_is_the_mean_of_the_plug_in(measure, n, m, k):
    """Simulated: for chi-square it is (k-1)(1/n + 1/m), not the half of it. 3,000 runs, standard error 0.7 %."""
    q = np.full(k, 1 / k)
    values = [estimate(a, b, measure, smoothing=0.0).plug_in for a, b in draws(q, q, n, m, 3000, seed=11)]
    assert np.mean(values) == pytest.approx(NULL_FACTORS[measure] * (k - 1) * (1 / n + 1 / m), rel=0.04)


@pytest.mark.parametrize("measure", NULL_FACTORS)
def test_the_bias_taken_off_counts_occupied_bins_and_effective_sizes(measure):
    window, reference, tau = np.array([300, 500, 200, 0, 40]), np.array([3000, 4000, 900, 0, 0]), 2.5
    e = estimate(window, reference, measure, tau)
    per = tau / 1040 + tau / 7900
    assert e.plug_in - e.value == pytest.approx(NULL_FACTORS[measure] * (4 - 1) * per, rel=1e-9)


def test_root_measures_are_corrected_squared():
    window, reference = [300, 500, 200], [3000, 5500, 1500]
    bias = (3 - 1) / 8 * (1 / 1000 + 1 / 10_000)
    for measure in ("js_distance", "hellinger"):
        e = estimate(window, reference, measure)
        assert e.value == pytest.approx(math.sqrt(e.plug_in**2 - bias), rel=1e-12)
    root, square = estimate(window, reference, "js_distance"), estimate(window, reference, "js")
    assert root[:4] == pytest.approx([math.sqrt(x) for x in square[:4]])


def test_without_change_the_bias_of_total_variation_is_its_mean():
    q = np.array([0.4, 0.3, 0.2, 0.05, 0.05])
    estimates = [estimate(a, b, "total_variation", smoothing=0.0) for a, b in draws(q, q, 1000, 5000, 3000, seed=3)]
    theory = sum(math.sqrt(x * (1 - x) * (1 / 1000 + 1 / 5000)) for x in q) * norm.expect(abs) / 2
    assert np.mean([e.plug_in for e in estimates]) == pytest.approx(theory, rel=0.03)
    uncut = [e.plug_in - e.value for e in estimates if e.value > 0]
    assert np.mean(uncut) == pytest.approx(theory, rel=0.03)


@pytest.mark.parametrize("measure", ["kl", "kl_reverse", "jeffreys", "js", "js_distance", "total_variation", "hellinger", "chi_square"])
@pytest.mark.parametrize("k", [16, 32])
@pytest.mark.parametrize("shift", [0.0, 0.25, 0.6])
def test_the_interval_covers_the_true_divergence(measure, k, shift):
    """Nominal .95; 500 runs have a standard error of .01, so .93 is two of them below."""
    q = 1 / (np.arange(k) + 3.0)
    q /= q.sum()
    p = shifted(q, shift)
    truth = getattr(divergence, measure)(p, q)
    inside = [e.low <= truth <= e.high for e in (estimate(a, b, measure) for a, b in draws(p, q, 1000, 10_000, 500, seed=5))]
    assert np.mean(inside) >= 0.93


@pytest.mark.parametrize("measure", ["kl", "kl_reverse", "jeffreys", "js", "hellinger", "chi_square"])
def test_the_interval_is_not_wider_than_the_scatter_of_the_values(measure):
    """Far from zero its half width is 1.96 standard deviations of the value, by simulation; it is wide only near zero."""
    q = np.full(8, 1 / 8)
    estimates = [estimate(a, b, measure) for a, b in draws(shifted(q, 0.8), q, 2000, 3000, 1500, seed=9)]
    scatter = np.std([e.value for e in estimates])
    assert np.mean([(e.high - e.low) / 2 for e in estimates]) == pytest.approx(1.96 * scatter, rel=0.08)


@pytest.mark.parametrize("measure", ["kl", "js"])
def test_the_correction_brings_the_mean_nearer_to_the_truth(measure):
    q = np.full(16, 1 / 16)
    p = shifted(q, 0.3)
    truth = getattr(divergence, measure)(p, q)
    estimates = [estimate(a, b, measure) for a, b in draws(p, q, 1000, 10_000, 800, seed=2)]
    raw, corrected = (np.mean([getattr(e, field) for e in estimates]) - truth for field in ("plug_in", "value"))
    assert abs(corrected) < raw / 4


@pytest.mark.parametrize("measure", ["kl", "js"])
def test_autocorrelation_widens_the_interval(measure):
    """By more than its root (the first order of the variance), by less than itself (the second order)."""
    window, reference = [300, 500, 200], [4000, 4500, 1500]
    calm, slow = estimate(window, reference, measure), estimate(window, reference, measure, tau=9)
    assert 3 < (slow.high - slow.value) / (calm.high - calm.value) < 9
    assert slow.plug_in == calm.plug_in


def test_a_tau_is_the_same_as_fewer_observations():
    def parts(e):
        return [e.value - e.low, e.high - e.value, e.plug_in - e.value]

    window, reference = np.array([300, 500, 200]), np.array([4000, 4500, 1500])
    slow, fewer = estimate(window, reference, "kl", tau=4, smoothing=0), estimate(window / 4, reference / 4, "kl", smoothing=0)
    assert parts(slow) == pytest.approx(parts(fewer))


@pytest.mark.parametrize("measure", MEASURES)
def test_an_empty_window_says_nothing(measure):
    e = estimate([0, 0, 0], [1, 2, 3], measure)
    assert math.isnan(e.value)
    assert math.isnan(e.plug_in)
    assert (e.low, e.high) == (0.0, math.inf)


def test_equal_counts_give_zero_and_an_interval_that_starts_there():
    e = estimate([50, 50], [5000, 5000], "kl")
    assert (e.value, e.low, e.plug_in) == (0.0, 0.0, 0.0)
    assert 0 < e.high < 0.05


def test_an_infinite_plug_in_is_reported_with_an_interval_that_says_so():
    e = estimate([1, 1], [2, 0], "kl", smoothing=0.0)
    assert (e.value, e.low, e.high, e.plug_in) == (math.inf, 0.0, math.inf, math.inf)


@pytest.mark.parametrize(
    ("measure", "base", "unit"),
    [
        ("kl", None, "nats"),
        ("js", 2, "bits"),
        ("psi", 10, "log base 10"),
        ("js_distance", 2, ""),
        ("hellinger", None, ""),
        ("total_variation", None, ""),
        ("chi_square", None, ""),
    ],
)
def test_the_unit_names_the_base(measure, base, unit):
    assert estimate([1, 2], [2, 1], measure, base=base).unit == unit


def test_a_base_divides_every_figure_by_its_logarithm():
    window, reference = [300, 500, 200], [4000, 4500, 1500]
    in_nats, in_bits = estimate(window, reference, "kl"), estimate(window, reference, "kl", base=2)
    assert in_bits[:4] == pytest.approx([x / math.log(2) for x in in_nats[:4]])
    assert estimate(window, reference, "js_distance", base=2).plug_in == divergence.js_distance(window, reference, 2, 0.5)


def test_an_estimate_cannot_be_changed():
    with pytest.raises(AttributeError):
        estimate([1, 2], [2, 1], "kl").value = 3.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: estimate([1, 2], [0, 0], "kl"),
        lambda: estimate([0, 0], [0, 0], "kl"),
        lambda: estimate([1, 2], [1, 2, 3], "kl"),
        lambda: estimate([1, -2], [1, 2], "kl"),
        lambda: estimate([1, math.nan], [1, 2], "kl"),
        lambda: estimate([], [], "kl"),
        lambda: estimate([1, 2], [2, 1], "wasserstein"),
        lambda: estimate([1, 2], [2, 1], "kl", tau=0),
        lambda: estimate([1, 2], [2, 1], "kl", tau=math.nan),
        lambda: estimate([0, 0], [2, 1], "kl", smoothing=-1),
        lambda: estimate([1, 2], [2, 1], "kl", base=1),
        lambda: estimate([1, 2], [2, 1], "hellinger", base=2),
    ],
)
def test_misuse_is_refused_with_a_message(call):
    with pytest.raises(ValueError, match=r".{20,}"):
        call()
