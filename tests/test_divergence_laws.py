"""Law: what every divergence must obey, whatever the counts; and agreement with scipy and with 50-digit decimals."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from scipy.spatial.distance import jensenshannon

from streamkl import divergence as d

lawful = settings(derandomize=True, deadline=None, max_examples=60, database=None)

PAIRWISE = {
    "kl": d.kl,
    "kl_reverse": d.kl_reverse,
    "jeffreys": d.jeffreys,
    "psi": d.psi,
    "js": d.js,
    "js_distance": d.js_distance,
    "total_variation": d.total_variation,
    "hellinger": d.hellinger,
    "bhattacharyya": d.bhattacharyya,
    "chi_square": d.chi_square,
    "l_infinity": d.l_infinity,
    "kolmogorov_smirnov": d.kolmogorov_smirnov,
    "renyi_0": lambda p, q, **k: d.renyi(p, q, 0, **k),
    "renyi_0.3": lambda p, q, **k: d.renyi(p, q, 0.3, **k),
    "renyi_1": lambda p, q, **k: d.renyi(p, q, 1, **k),
    "renyi_3": lambda p, q, **k: d.renyi(p, q, 3, **k),
    "renyi_inf": lambda p, q, **k: d.renyi(p, q, math.inf, **k),
    "wasserstein": lambda p, q, **k: d.wasserstein(p, q, np.arange(len(p)), **k),
    "f_divergence": lambda p, q, **k: d.f_divergence(p, q, lambda t: t * math.log(t) if t > 0 else 0.0, **k),
}
ORDERED = {"kolmogorov_smirnov", "wasserstein"}
SYMMETRIC = ["jeffreys", "psi", "js", "js_distance", "total_variation", "hellinger", "bhattacharyya", "l_infinity", *sorted(ORDERED)]
BINWISE = ["kl", "kl_reverse", "jeffreys", "psi", "js", "total_variation", "hellinger", "chi_square"]
WITH_BASE = ["kl", "kl_reverse", "jeffreys", "psi", "js", "bhattacharyya"]
# what merging bins never increases: the f-divergences, and their increasing functions
PROCESSED = [*BINWISE, "js_distance", "bhattacharyya", "renyi_0", "renyi_0.3", "renyi_1", "renyi_3", "renyi_inf", "f_divergence"]


small_counts = st.integers(0, 1000).map(float)
any_float = st.floats(0, allow_nan=False, allow_infinity=False)
extreme = st.one_of(any_float, st.sampled_from([0.0, 5e-324, 2.3e-308, 1.0, 1e308]))
positive = st.floats(1e-3, 1e3)


@st.composite
def pairs(draw, least=1, numbers=small_counts):
    """Two count vectors of one length, zeros included, none all zero."""
    size = draw(st.integers(least, 12))
    vectors = st.lists(numbers, min_size=size, max_size=size).filter(any)
    return np.array(draw(vectors)), np.array(draw(vectors))


def close(value, other):
    return value == other or abs(value - other) <= 1e-12 + 1e-11 * abs(other)


@pytest.mark.parametrize("name", PAIRWISE)
@lawful
@given(pair=pairs(numbers=extreme), smoothing=st.sampled_from([0.0, 5e-324, 0.5, 1e308]))
def test_no_counts_however_extreme_give_nan_or_a_negative_value(name, pair, smoothing):
    assert PAIRWISE[name](*pair, smoothing=smoothing) >= 0


@pytest.mark.parametrize("name", PAIRWISE)
@lawful
@given(pair=pairs(numbers=any_float))
def test_equal_input_gives_exactly_zero(name, pair):
    assert PAIRWISE[name](pair[0], pair[0]) == 0.0


@pytest.mark.parametrize("name", PAIRWISE)
@lawful
@given(pair=pairs(), factor=st.integers(2, 9))
def test_counts_in_proportion_give_exactly_zero(name, pair, factor):
    assert PAIRWISE[name](pair[0], factor * pair[0]) == 0.0


@pytest.mark.parametrize("name", SYMMETRIC)
@lawful
@given(pair=pairs())
def test_a_symmetric_measure_does_not_mind_which_comes_first(name, pair):
    assert close(PAIRWISE[name](*pair), PAIRWISE[name](*pair[::-1]))


@lawful
@given(pair=pairs())
def test_the_reverse_of_kl_is_kl_the_other_way_and_both_make_jeffreys(pair):
    p, q = pair
    assert d.kl_reverse(p, q) == d.kl(q, p)
    assert close(d.jeffreys(p, q), d.kl(p, q) + d.kl(q, p))
    assert d.psi(p, q) == d.jeffreys(p, q)


@pytest.mark.parametrize("name", sorted(set(PAIRWISE) - ORDERED))
@lawful
@given(pair=pairs(), random=st.randoms(use_true_random=False))
def test_the_order_of_the_bins_does_not_matter(name, pair, random):
    order = list(range(len(pair[0])))
    random.shuffle(order)
    assert close(PAIRWISE[name](pair[0][order], pair[1][order]), PAIRWISE[name](*pair))


@pytest.mark.parametrize("name", PROCESSED)
@lawful
@given(pair=pairs(least=2), group_count=st.integers(1, 4), random=st.randoms(use_true_random=False))
def test_merging_bins_never_increases_the_divergence(name, pair, group_count, random):
    groups = [random.randrange(group_count) for _ in pair[0]]
    merged = [np.bincount(groups, weights=x, minlength=group_count) for x in pair]
    assert PAIRWISE[name](*merged) <= PAIRWISE[name](*pair) * (1 + 1e-12) + 1e-12


@pytest.mark.parametrize("name", ["kl", "kl_reverse", "jeffreys", "bhattacharyya", "renyi_0", "renyi_0.3", "renyi_3", "renyi_inf"])
@lawful
@given(one=pairs(), two=pairs())
def test_divergences_of_independent_quantities_add_up(name, one, two):
    joint = [np.outer(one[i], two[i]).ravel() for i in (0, 1)]
    assert close(PAIRWISE[name](*joint), PAIRWISE[name](*one) + PAIRWISE[name](*two))


@lawful
@given(pair=pairs(numbers=any_float))
def test_bounded_measures_keep_their_bounds(pair):
    assert d.js(*pair) <= math.log(2)
    assert d.js(*pair, base=2) <= 1
    assert max(d.total_variation(*pair), d.hellinger(*pair), d.l_infinity(*pair), d.kolmogorov_smirnov(*pair)) <= 1


@lawful
@given(pair=pairs())
def test_the_classical_inequalities_between_measures_hold(pair):
    tv, h, kl, js = d.total_variation(*pair), d.hellinger(*pair), d.kl(*pair), d.js(*pair)
    slack = 1e-12
    assert 2 * tv * tv <= kl + slack  # Pinsker
    assert kl <= math.log1p(d.chi_square(*pair)) + slack
    assert h * h <= tv + slack
    assert tv <= math.sqrt(2) * h + slack  # Le Cam
    assert js <= math.log(2) * tv + slack  # Lin
    assert 2 * d.bhattacharyya(*pair) <= kl + slack


@lawful
@given(pair=pairs(), third=pairs())
def test_the_metrics_obey_the_triangle_inequality(pair, third):
    size = min(len(pair[0]), len(third[0]))
    p, q, r = (x[:size] + 1 for x in (*pair, third[0]))
    for distance in (d.js_distance, d.hellinger, d.total_variation, d.l_infinity, d.kolmogorov_smirnov):
        assert distance(p, q) <= distance(p, r) + distance(r, q) + 1e-12


@lawful
@given(pair=pairs())
def test_renyi_rises_with_its_order_through_kl(pair):
    orders = (0, 1e-9, 0.3, 0.5, 1 - 1e-9, 1, 1 + 1e-9, 2, 10, 1e6, 1e301, math.inf)
    values = [d.renyi(*pair, order) for order in orders]
    assert all(low <= high * (1 + 1e-9) + 1e-12 for low, high in pairwise(values))
    assert values[5] == d.kl(*pair)
    assert values[3] == 2 * d.bhattacharyya(*pair)


@pytest.mark.parametrize("name", sorted(set(PAIRWISE) - {"wasserstein"}))
@lawful
@given(pair=pairs(), smoothing=st.sampled_from([0.5, 1.0, 30.0]))
def test_smoothing_is_added_to_every_bin_of_both_before_normalising(name, pair, smoothing):
    assert close(PAIRWISE[name](*pair, smoothing=smoothing), PAIRWISE[name](pair[0] + smoothing, pair[1] + smoothing))


@pytest.mark.parametrize("name", ["kl", "jeffreys", "js", "total_variation", "hellinger", "chi_square", "bhattacharyya", "renyi_3"])
@lawful
@given(pair=pairs(), first=st.floats(0.01, 100), factor=st.floats(1, 100))
def test_more_smoothing_never_increases_a_divergence_of_equal_totals(name, pair, first, factor):
    """Only then: equal totals are mixed with the uniform distribution in equal parts (joint convexity)."""
    p, q = pair[0] * pair[1].sum(), pair[1] * pair[0].sum()
    first, second = first * p.sum() / 100, first * factor * p.sum() / 100
    assert PAIRWISE[name](p, q, smoothing=second) <= PAIRWISE[name](p, q, smoothing=first) * (1 + 1e-12) + 1e-14


@lawful
@given(pair=pairs())
def test_smoothing_takes_the_infinity_away(pair):
    assert math.isfinite(d.kl(*pair, smoothing=0.5))
    is_outside = bool(((pair[1] == 0) & (pair[0] > 0)).any())
    assert math.isinf(d.kl(*pair)) == math.isinf(d.chi_square(*pair)) == math.isinf(d.cross_entropy(*pair)) == is_outside


@pytest.mark.parametrize("name", BINWISE)
@lawful
@given(pair=pairs(), smoothing=st.sampled_from([0.0, 0.5]))
def test_terms_are_not_negative_and_sum_to_the_divergence(name, pair, smoothing):
    terms = d.terms(*pair, measure=name, smoothing=smoothing)
    whole = getattr(d, name)(*pair, smoothing=smoothing) ** (2 if name == "hellinger" else 1)
    assert (terms >= 0).all()
    assert terms.shape == pair[0].shape
    assert whole == terms.sum() or abs(terms.sum() - whole) <= 4e-15 * max(1, whole)


@lawful
@given(pair=pairs())
def test_a_term_of_kl_is_its_bregman_form(pair):
    p, q = (x / x.sum() for x in pair)
    np.testing.assert_allclose(d.terms(*pair, measure="kl"), special.kl_div(p, q), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", WITH_BASE)
@lawful
@given(pair=pairs())
def test_a_base_divides_by_its_logarithm(name, pair):
    assert close(PAIRWISE[name](*pair, base=2), PAIRWISE[name](*pair) / math.log(2))
    assert close(d.js_distance(*pair, base=10) ** 2, d.js(*pair) / math.log(10))


@lawful
@given(pair=pairs())
def test_cross_entropy_is_entropy_plus_kl(pair):
    assert close(d.cross_entropy(*pair, base=2), d.entropy(pair[0], base=2) + d.kl(*pair, base=2))
    assert 0 <= d.entropy(pair[0]) <= math.log(len(pair[0])) + 1e-12


GENERATORS = {
    "kl": lambda t: t * np.log(t),
    "kl_reverse": lambda t: -math.log(t),
    "jeffreys": lambda t: (t - 1) * math.log(t),
    "js": lambda t: (t * np.log(2 * t / (1 + t)) + np.log(2 / (1 + t))) / 2,
    "total_variation": lambda t: abs(t - 1) / 2,
    "hellinger": lambda t: (math.sqrt(t) - 1) ** 2 / 2,
    "chi_square": lambda t: (t - 1) ** 2,
}


@pytest.mark.parametrize("name", GENERATORS)
@lawful
@given(pair=pairs())
def test_the_generator_of_a_named_divergence_gives_that_divergence(name, pair):
    """Also where a count is zero and the generator is undefined or infinite there."""
    value = d.f_divergence(*pair, GENERATORS[name])
    assert close(value, getattr(d, name)(*pair) ** (2 if name == "hellinger" else 1))


@lawful
@given(pair=pairs(), spots=st.lists(st.floats(-1e3, 1e3), min_size=12, max_size=12))
def test_our_values_are_those_of_scipy(pair, spots):
    p, q = pair
    positions = np.array(spots[: len(p)])
    assert close(d.kl(p, q), stats.entropy(p, q))
    assert close(d.entropy(p, base=2), stats.entropy(p, base=2))
    assert close(d.wasserstein(p, q, positions), stats.wasserstein_distance(positions, positions, p, q))
    with np.errstate(invalid="ignore"):  # scipy's root of a rounded negative
        theirs = jensenshannon(p, q)
    assert math.isnan(theirs) or d.js(p, q) == pytest.approx(theirs**2, abs=1e-14)


@lawful
@given(one=st.lists(st.integers(0, 9), min_size=3, max_size=30), two=st.lists(st.integers(0, 9), min_size=3, max_size=30))
def test_kolmogorov_smirnov_of_counts_is_that_of_the_samples(one, two):
    counted = (np.bincount(x, minlength=10) for x in (one, two))
    assert close(d.kolmogorov_smirnov(*counted), stats.ks_2samp(one, two, method="asymp").statistic)


def exact(name, p, q):
    """The measure in 50 digits. The inputs are taken as the floats that they are."""
    p, q = ([Decimal(float(x)) for x in v] for v in (p, q))
    p, q = ([x / sum(v) for x in v] for v in (p, q))
    bins, order = list(zip(p, q, strict=True)), Decimal("0.3")
    return {
        "kl": lambda: sum(a * (a / b).ln() for a, b in bins),
        "kl_reverse": lambda: sum(b * (b / a).ln() for a, b in bins),
        "jeffreys": lambda: sum((a - b) * (a / b).ln() for a, b in bins),
        "js": lambda: sum(a * (2 * a / (a + b)).ln() + b * (2 * b / (a + b)).ln() for a, b in bins) / 2,
        "total_variation": lambda: sum(abs(a - b) for a, b in bins) / 2,
        "hellinger": lambda: (sum((a.sqrt() - b.sqrt()) ** 2 for a, b in bins) / 2).sqrt(),
        "chi_square": lambda: sum((a - b) ** 2 / b for a, b in bins),
        "bhattacharyya": lambda: -sum((a * b).sqrt() for a, b in bins).ln(),
        "l_infinity": lambda: max(abs(a - b) for a, b in bins),
        "renyi_0.3": lambda: sum((order * (a / b).ln()).exp() * b for a, b in bins).ln() / (order - 1),
        "renyi_3": lambda: sum(a * (a / b) ** 2 for a, b in bins).ln() / 2,
    }[name]()


DECIMAL = ["kl", "kl_reverse", "jeffreys", "js", "total_variation", "hellinger", "chi_square", "bhattacharyya", "l_infinity", "renyi_0.3", "renyi_3"]


@pytest.mark.parametrize("name", DECIMAL)
@pytest.mark.parametrize("step", [1.0, 1e-3, 1e-6, 1e-9, 1e-12])
@settings(lawful, max_examples=20)
@given(q=st.lists(positive, min_size=2, max_size=8), signs=st.lists(st.floats(-0.9, 0.9), min_size=8, max_size=8))
def test_nearly_equal_distributions_keep_their_digits(name, step, q, signs):
    q = np.array(q)
    p = q * (1 + step * np.array(signs[: len(q)]))
    with localcontext() as context:
        context.prec = 50
        truth = float(exact(name, p, q))
    if truth > 1e-26:  # below, 50 digits no longer suffice for the truth itself
        assert PAIRWISE[name](p, q) == pytest.approx(truth, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("p", "q", "nats"),
    [
        ([1e308, 1e308], [1e308, 1.5e308], 0.5 * math.log(0.5 / 0.4) + 0.5 * math.log(0.5 / 0.6)),
        ([5e-324, 5e-324], [5e-324, 1.5e-323], 0.5 * math.log(2) + 0.5 * math.log(2 / 3)),
        ([1.0, 1.0], [1e308, 5e-324], 0.5 * math.log(0.5) + 0.5 * (math.log(0.5) + math.log(1e308) - math.log(5e-324))),
        ([1.0, 0.0], [5e-324, 1e308], math.log(1e308) - math.log(5e-324)),
        ([1e308] * 10, [5e-324] * 10, 0.0),
    ],
)
def test_counts_at_the_ends_of_the_float_range_give_their_true_kl(p, q, nats):
    assert d.kl(p, q) == pytest.approx(nats, rel=1e-12, abs=0)
    assert d.kl_reverse(q, p) == d.kl(p, q)


@pytest.mark.parametrize("alpha", [1e-300, 1e-9, 1 - 1e-12, 1 + 1e-12, 50.0, 1e9])
def test_renyi_of_two_point_masses_apart_needs_no_power(alpha):
    """p = (1, 0), q = (x, 1-x): every order from 0 on gives -log x."""
    assert d.renyi([1, 0], [1, 1e300 - 1], alpha) == pytest.approx(300 * math.log(10), rel=1e-12)
    assert d.renyi([1, 0], [0, 1], alpha) == math.inf


def test_the_brier_score_is_the_mean_squared_error_of_the_forecasts():
    assert d.brier_score([0.1, 0.9, 0.8, 0.3], [0, 1, 1, 0]) == pytest.approx((0.01 + 0.01 + 0.04 + 0.09) / 4, rel=1e-15)
    assert d.brier_score([1, 0], [True, False]) == 0.0


def test_gaussian_kl_has_its_textbook_values():
    assert d.gaussian_kl(0, 1, 0, 4) == pytest.approx(math.log(2) + 1 / 8 - 1 / 2, rel=1e-14)
    assert d.gaussian_kl([1, 2], np.eye(2), [1, 4], np.eye(2)) == pytest.approx(2.0, rel=1e-14)
    assert d.gaussian_kl(0, 1e-300, 0, 1e300) == pytest.approx((600 * math.log(10) - 1) / 2, rel=1e-12)
    assert d.gaussian_kl([3, 4], [[2, 1], [1, 2]], [3, 4], [[2, 1], [1, 2]]) == 0.0


@lawful
@given(seed=st.integers(0, 10_000), size=st.integers(1, 4))
def test_gaussian_kl_is_the_formula_and_does_not_change_with_the_coordinates(seed, size):
    random = np.random.default_rng(seed)
    mean_p, mean_q = random.normal(size=(2, size))
    cov_p, cov_q = (x @ x.T + 0.3 * np.eye(size) for x in random.normal(size=(2, size, size)))
    shift, back = mean_q - mean_p, np.linalg.inv(cov_q)
    formula = (np.trace(back @ cov_p) - size + shift @ back @ shift + np.log(np.linalg.det(cov_q) / np.linalg.det(cov_p))) / 2
    value = d.gaussian_kl(mean_p, cov_p, mean_q, cov_q)
    assert value == pytest.approx(formula, rel=1e-9, abs=1e-12)
    turn = random.normal(size=(size, size)) + 3 * np.eye(size)
    turned = d.gaussian_kl(turn @ mean_p, turn @ cov_p @ turn.T, turn @ mean_q, turn @ cov_q @ turn.T)
    assert turned == pytest.approx(value, rel=1e-6)


def test_gaussian_kl_of_nearly_equal_variances_keeps_its_digits():
    with localcontext() as context:
        context.prec = 50
        ratio = Decimal(1 + 1e-9)
        truth = float((ratio - 1 - ratio.ln()) / 2)
    assert d.gaussian_kl(0, 1 + 1e-9, 0, 1) == pytest.approx(truth, rel=1e-12, abs=0)


BAD_COUNTS = {
    "negative": [1.0, -1.0],
    "nan": [1.0, math.nan],
    "infinite": [1.0, math.inf],
    "beyond floats": [1, 10**400],
    "empty": [],
    "all zero": [0, 0],
    "two-dimensional": [[1, 2], [3, 4]],
    "a number": 3.0,
    "text": ["1", "2"],
    "complex": [1j, 2],
    "missing": [1, None],
    "longer": [1, 2, 3],
}


@pytest.mark.parametrize("bad", BAD_COUNTS)
@pytest.mark.parametrize("name", [*PAIRWISE, "cross_entropy", "terms"])
def test_bad_counts_are_refused_on_either_side_with_a_message(name, bad):
    measure = PAIRWISE.get(name) or getattr(d, name)
    for pair in ((BAD_COUNTS[bad], [1, 2]), ([1, 2], BAD_COUNTS[bad])):
        with pytest.raises(ValueError, match=r".{20,}"):
            d.wasserstein(*pair, [0, 1]) if name == "wasserstein" else measure(*pair)


@pytest.mark.parametrize(
    "call",
    [
        *(lambda base=base: d.kl([1, 2], [2, 1], base=base) for base in (0, -2, 1, 0.5, math.nan, math.inf)),
        *(lambda s=s: d.js([1, 2], [2, 1], smoothing=s) for s in (-0.5, math.nan, math.inf)),
        *(lambda a=a: d.renyi([1, 2], [2, 1], a) for a in (-0.1, math.nan, -math.inf)),
        lambda: d.entropy([0, 0]),
        lambda: d.entropy([1, 2], base=1),
        lambda: d.terms([1, 2], [2, 1], measure="js_distance"),
        lambda: d.wasserstein([1, 2], [2, 1], [0, math.nan]),
        lambda: d.wasserstein([1, 2], [2, 1], [0, 1, 2]),
        lambda: d.f_divergence([1, 2], [2, 1], lambda t: t),
        lambda: d.f_divergence([1, 2], [2, 1], lambda t: 0.0 if t == 1 else math.nan),
        lambda: d.brier_score([0.5, 1.1], [0, 1]),
        lambda: d.brier_score([0.5, 1.0], [0, 2]),
        lambda: d.brier_score([0.5], [0, 1]),
        lambda: d.gaussian_kl(0, -1, 0, 1),
        lambda: d.gaussian_kl(0, 1, 0, 0),
        lambda: d.gaussian_kl([0, 0], np.eye(2), [0], np.eye(2)),
        lambda: d.gaussian_kl([0, 0], np.eye(3), [0, 0], np.eye(2)),
        lambda: d.gaussian_kl([0, 0], [[1, 2], [2, 1]], [0, 0], np.eye(2)),
        lambda: d.gaussian_kl([0, 0], [[1, 0.5], [0, 1]], [0, 0], np.eye(2)),
        lambda: d.gaussian_kl(math.nan, 1, 0, 1),
    ],
)
def test_bad_settings_are_refused_with_a_message(call):
    with pytest.raises(ValueError, match=r".{20,}"):
        call()


def test_an_error_names_the_bin_and_its_value():
    with pytest.raises(ValueError, match=r"q\[2\] is -7\.0"):
        d.kl([1, 2, 3], [1, 2, -7])


def test_every_public_name_is_exported_and_documented_with_an_example():
    for name in set(d.__all__) - {"Estimate"}:
        assert ">>>" in (getattr(d, name).__doc__ or ""), name
