"""What the order of a reference tells, natively, against the definitions written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import norm

from streamkl import Detector, Reference, divergence
from streamkl.detect.autocorrelation import autocorrelation
from streamkl.detect.kernel import largest_inside, matches


def farthest_window(groups, window, k):
    """The largest KL(window || rest) of all windows, each counted afresh."""
    inside = [np.bincount(groups[t:t + window], minlength=k) for t in range(len(groups) - window + 1)]
    everything = np.bincount(groups, minlength=k)
    return max(divergence.kl(counts, everything - counts, smoothing=0.5) for counts in inside)


@given(st.integers(2, 12), st.lists(st.integers(0, 1000), min_size=3, max_size=120), st.data())
@settings(max_examples=150)
def test_natural_variability_is_the_farthest_of_all_windows_from_the_rest(k, values, data):
    groups = np.array([value % k for value in values], np.uint8)
    window = data.draw(st.integers(1, len(groups) - 1))
    assert largest_inside(groups, window, k) == pytest.approx(farthest_window(groups, window, k), abs=1e-12)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=200), st.data())
def test_matches_are_the_weights_of_what_is_met_again(values, data):
    bins = np.array(values, np.uint8)
    weights = np.array(data.draw(st.lists(st.floats(0, 10), min_size=5, max_size=5)))
    longest = data.draw(st.integers(0, len(bins) - 1))
    expected = [sum(weights[b] for b, later in zip(values, values[lag:], strict=False) if b == later) for lag in range(1, longest + 1)]
    assert list(matches(bins, weights, longest)) == pytest.approx(expected)


@pytest.mark.parametrize("window", [0, -1, 5, 6, 2**40])
def test_a_window_that_does_not_fit_inside_the_reference_is_refused(window):
    with pytest.raises(ValueError, match="does not fit"):
        largest_inside(np.zeros(5, np.uint8), window, 2)


def test_bins_and_lags_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="is not one of 2"):
        largest_inside(np.array([0, 1, 2], np.uint8), 1, 2)
    with pytest.raises(ValueError, match="is not one of 2"):
        matches(np.array([0, 1, 2], np.uint8), np.ones(2), 1)
    with pytest.raises(ValueError, match="has no lag 3"):
        matches(np.array([0, 1, 1], np.uint8), np.ones(2), 3)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_mean_time_is_what_the_chi_square_of_windows_grows_by(rho):
    """Simulated: 300 windows of 2,000 observations against the masses of a reference 20 times as long."""
    rng = np.random.default_rng(3)

    def ar(count):
        return lfilter([1.0], [1.0, -rho], rng.standard_normal(count + 200))[200:] * np.sqrt(1 - rho * rho)

    reference = Reference.fit(ar(40_000))
    found = autocorrelation(reference.bins, reference.order, 10_000)
    shares = np.diff(np.r_[0.0, norm.cdf(reference.bins.edges), 1.0])
    windows = np.array([np.bincount(reference.bins.index(ar(2000)), minlength=reference.bins.k)[:-2] for _ in range(300)]) / 2000
    growth = 2000 * np.mean(((windows - shares) ** 2 / shares).sum(axis=1)) / (len(shares) - 1)
    assert found.mean_tau == pytest.approx(growth, rel=0.12)
    assert 1 <= found.mean_tau <= found.tau


def test_the_limit_of_the_criterion_is_one_and_a_half_times_what_the_reference_shows():
    rng = np.random.default_rng(5)
    values = rng.standard_normal(1200) + np.repeat([0.0, 0.7, -0.4, 0.2], 300)
    det = Detector(values, window=200)
    det.update_many(values[:400])
    for reading in det.criterion():
        reference = np.array(reading.reference_counts)
        assert reading.kl == pytest.approx(divergence.kl(reading.window_counts, reference, smoothing=0.5), abs=1e-10)
        assert reading.open == (reading.kl > reading.limit)
        assert sum(reading.window_counts) == reading.window
        assert reference.sum() == 1200
        upper = np.cumsum(reference[:-2])                   # no value repeats: the groups are those of the sorted values
        groups = np.searchsorted(upper, np.argsort(np.argsort(values)), "right").astype(np.uint8)
        natural = 1.5 * farthest_window(groups, reading.window, len(reference))
        tolerance = 0.05 + ((reference > 0).sum() - 1) / 2 * (1 / reading.window + 1 / 1200)
        assert reading.limit == pytest.approx(max(min(natural, 1.0), tolerance))
        assert reading.source == ("natural variability" if natural > tolerance else "min_effect")
    assert det.criterion()[0].source == "natural variability"


@pytest.mark.parametrize(("min_effect", "limit", "source"), [(0.05, 1.0, "ceiling"), (2.0, None, "min_effect"), (0.0, 1.0, "ceiling")])
def test_the_ceiling_bounds_what_the_reference_asks_for_not_what_the_user_asks_for(min_effect, limit, source):
    restless = np.repeat([0.0, 9.0, -9.0, 20.0], 300) + np.random.default_rng(6).standard_normal(1200)
    longest = Detector(restless, min_effect=min_effect).criterion()[0]
    assert longest.source == source
    assert longest.limit == limit or 2.0 < longest.limit < 2.1
    assert len(Detector(restless, min_effect=min_effect).criterion()) == 1      # shorter windows would ask for even more
