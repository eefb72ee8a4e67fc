"""What a reference tells of itself - autocorrelation, stride, natural variability, limit - held to numbers of the runnable rule (spec/rule.py).

That program computed the numbers. Its autocorrelation is that of every third expert: "independent" and "a tenth missing" would say otherwise of all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from specification import flows
from specification.learned import Learned
from specification.study import autocorrelation, first_weak_lag, integrated_time, mean_time, natural_variability

from streamkl import Detector, Reference


class Expected(NamedTuple):
    """tau: observations. stride: "auto". variability, limit: nats, of the longest window, m // 4 observations; min_effect .05."""

    tau: float
    lag: int
    stride: int
    variability: float
    limit: float
    source: str


EXPECTED = {
    "independent": Expected(1.1943434343434345, 1, 1, 0.09666037987147297, 0.14499056980720945, "natural variability"),
    "AR .5": Expected(2.0962603534790496, 4, 4, 0.09983002996925443, 0.14974504495388163, "natural variability"),
    "AR .9": Expected(11.76048339821343, 24, 24, 0.3817147660372563, 0.5725721490558844, "natural variability"),
    "AR .9, too short": Expected(50.0, 26, 10, 0.937252689459003, 1.0, "ceiling"),
    "AR .5, rounded": Expected(4.7096253528814245, 5, 5, 0.09323566797368073, 0.1398535019605211, "natural variability"),
    "AR .9, a tenth missing": Expected(11.294670322531008, 21, 21, 0.18375287834033838, 0.27562931751050757, "natural variability"),
    "bursts of missing values": Expected(16.318967213616542, 15, 15, 0.2562887197390752, 0.3844330796086128, "natural variability"),
    "sticky categories": Expected(20.00299520955966, 55, 50, 0.3653299314605521, 0.5479948971908282, "natural variability"),
    "sticky pair": Expected(5.7810800685078165, 12, 12, 0.1385895781123779, 0.20788436716856684, "natural variability"),
    "random walk": Expected(150.0, 85, 30, 2.746778847177228, 1.0, "ceiling"),
    "blocks": Expected(8.138997071204159, 27, 27, 0.906162165576933, 1.0, "ceiling"),
    "independent categories": Expected(1.0, 1, 1, 0.0345133126475681, 0.065, "min_effect"),
}
VARIABILITY_OF_THE_SECOND_WINDOW = [           # nats; m // 4 // 4 observations
    ("independent", 0.32750597069121185),
    ("AR .5", 0.3615947845122588),
    ("AR .9", 0.6435760125272187),
    ("AR .5, rounded", 0.2909902121428567),
    ("AR .9, a tenth missing", 0.7223780388773198),
    ("bursts of missing values", 0.4940778980966235),
    ("sticky categories", 1.2207327408275246),
    ("random walk", 2.560859755420244),
    ("blocks", 1.7224005389118298),
    ("independent categories", 0.2096000162504013),
]


def with_gaps(values, seed):
    values[np.random.default_rng(seed).random(len(values)) < 0.1] = np.nan
    return values


def reference_of(name):
    """Kind and values of a named reference."""
    rng, ar = np.random.default_rng, flows.autoregressive
    numeric = {
        "independent": lambda: rng(1).standard_normal(600),
        "AR .5": lambda: ar(rng(2), 800, 0.5),
        "AR .9": lambda: ar(rng(3), 1000, 0.9),
        "AR .9, too short": lambda: ar(rng(4), 200, 0.9),
        "AR .5, rounded": lambda: np.round(ar(rng(5), 900, 0.5), 1),
        "AR .9, a tenth missing": lambda: with_gaps(ar(rng(6), 1000, 0.9), 7),
        "random walk": lambda: flows.make("random walk", seed=11, m=600, n=1).reference,
        "bursts of missing values": lambda: flows.make("bursts of missing values", seed=8, m=1200, n=1).reference,
        "blocks": lambda: flows.make("blocks", seed=12, m=700, n=1).reference,
    }
    if name in numeric:
        return "numeric", numeric[name]()
    if name == "independent categories":
        return "categorical", ["abcd"[i] for i in rng(13).choice(4, 500, p=[0.4, 0.3, 0.2, 0.1])]
    seed, m = {"sticky categories": (9, 1000), "sticky pair": (10, 400)}[name]
    return "categorical", flows.make(name, seed=seed, m=m, n=1).reference


def learned(name):
    kind, values = reference_of(name)
    return Learned(list(values), kind, window=len(values) // 4, min_effect=0.05, stride="auto", is_extended=False)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_twin_finds_in_a_reference_what_the_runnable_rule_finds(name):
    twin, expected = learned(name), EXPECTED[name]
    assert twin.tau == pytest.approx(expected.tau, rel=1e-9)
    assert (twin.lag, twin.stride) == (expected.lag, expected.stride)
    assert natural_variability(twin.merged_own, twin.merged_k, twin.m // 4) == pytest.approx(expected.variability, rel=1e-9)
    assert twin.limits[0].limit == pytest.approx(expected.limit, rel=1e-9)
    assert twin.limits[0].source == expected.source


@pytest.mark.parametrize(("name", "variability"), VARIABILITY_OF_THE_SECOND_WINDOW)
def test_the_twin_keeps_or_drops_a_shorter_window_by_the_variability_that_the_runnable_rule_finds(name, variability):
    twin = learned(name)
    w = twin.m // 4 // 4
    assert natural_variability(twin.merged_own, twin.merged_k, w) == pytest.approx(variability, rel=1e-9)
    kept = [limit for limit in twin.limits if limit.window == w]
    assert [limit.source for limit in kept] == ([] if 1.5 * variability > 1 else ["natural variability"])
    assert all(limit.limit == pytest.approx(1.5 * variability, rel=1e-9) for limit in kept)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("is_fitted_before", [False, True])
def test_a_detector_finds_in_a_given_reference_what_the_runnable_rule_finds(name, is_fitted_before):
    kind, values = reference_of(name)
    expected = EXPECTED[name]
    reference = Reference.from_bytes(Reference.fit(values, kind).to_bytes()) if is_fitted_before else values
    det = Detector(reference, kind=kind, window=len(values) // 4)
    assert det.autocorrelation.tau == pytest.approx(expected.tau, rel=1e-9)
    assert (det.autocorrelation.lag, det.stride) == (expected.lag, expected.stride)
    longest = det.criterion()[0]
    assert longest.window == len(values) // 4
    assert longest.limit == pytest.approx(expected.limit, rel=1e-9)
    assert longest.source == expected.source


@pytest.mark.parametrize(("name", "variability"), VARIABILITY_OF_THE_SECOND_WINDOW)
def test_a_detector_keeps_or_drops_a_shorter_window_by_the_variability_that_the_runnable_rule_finds(name, variability):
    kind, values = reference_of(name)
    readings = Detector(values, kind=kind, window=len(values) // 4).criterion()
    kept = [reading for reading in readings if reading.window == len(values) // 4 // 4]
    assert [reading.source for reading in kept] == ([] if 1.5 * variability > 1 else ["natural variability"])
    assert all(reading.limit == pytest.approx(1.5 * variability, rel=1e-9) for reading in kept)


def test_counts_have_no_order_thus_stride_one_and_the_minimum_effect_as_the_limit():
    det = Detector(Reference.from_counts([0.0, 1.0, 2.0], [300, 400, 200, 100]), window=120)
    assert (det.autocorrelation.tau, det.autocorrelation.lag, det.stride) == (1.0, 1, 1)
    assert [reading.source for reading in det.criterion()] == ["min_effect"] * 2
    occupied = int((np.array(det.criterion()[0].reference_counts) > 0).sum())
    assert [reading.limit for reading in det.criterion()] == [pytest.approx(0.05 + (occupied - 1) / 2 * (1 / w + 1 / 1000)) for w in (120, 30)]
    assert det.guarantee == "approximate"


def test_an_integrated_time_and_a_lag_worked_by_hand():
    # sums 1 + 2r: 2, 2.5, 2.75, 2.75, ...; the first lag of at least five times that is 14
    r = [0.5, 0.25, 0.125] + [0.0] * 20
    assert integrated_time(r) == 2.75
    assert first_weak_lag(r) == 4
    assert integrated_time(r[:13]) == 13          # no lag is long enough: the longest
    assert first_weak_lag([0.9, 0.8]) == 2
    assert integrated_time([-0.4, 0.0]) == pytest.approx(0.2)
    assert integrated_time([0.5, 0.1, -0.1] + [0.0] * 9) == pytest.approx(2.0)        # lag 10 is five times that, exactly
    assert first_weak_lag([0.3 - 0.25, 0.05, 0.0]) == 3          # .3 - .25 is a little below .05


def test_a_time_averaged_over_the_bins_worked_by_hand():
    # halves of 24: 2 (24 - d) coincidences of share 1/2 at lag d, thus 1 - d / 16 more than by chance; lags 1 to 48 // 16
    halves = [0] * 24 + [1] * 24
    assert mean_time(halves, 10.0) == pytest.approx(1 + 2 * (3 - 6 / 16), rel=1e-14)
    assert mean_time(halves, 2.5) == 2.5                      # never above tau
    assert mean_time([0, 1] * 24, 10.0) == 1.0                # never below 1
    assert mean_time([0] * 48, 10.0) == 1.0


def test_the_variability_of_two_halves_worked_by_hand():
    # (2, 0) against the rest (0, 2): p = (2.5, .5) / 3 and q the other way round
    assert natural_variability([0, 0, 1, 1], 2, 2) == pytest.approx(2 / 3 * math.log(5), rel=1e-14)
    assert natural_variability([0, 1, 0, 1], 2, 2) == pytest.approx(0.0, abs=1e-15)


def test_a_reference_that_never_changes_and_one_of_a_few_values_have_time_and_lag_one():
    still = Learned([7.0] * 120, "numeric", window=None, min_effect=0.05, stride="auto", is_extended=False)
    assert (still.tau, still.mean_tau, still.lag, still.stride) == (1.0, 1.0, 1, 1)
    assert autocorrelation([0, 1, 0], still.bins) == (1.0, 1)
