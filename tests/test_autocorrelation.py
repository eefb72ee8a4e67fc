"""Autocorrelation of a reference, against the definition written out."""

import numpy as np
import pytest
from specification.evidence import CategoricalBins, NumericBins, categorical_experts, numeric_experts

from streamkl import Detector, Reference
from streamkl.detect.autocorrelation import autocorrelation


def ar(rho, m, seed):
    shocks = np.random.default_rng(seed).standard_normal(m)
    values = np.zeros(m)
    for i in range(m):
        values[i] = rho * values[i - 1] + shocks[i]
    return values


def by_definition(columns, longest):
    """Largest integrated time (Sokal's window, c = 5) and first lag below .05, over all columns that move."""
    time, lag = 1.0, 1
    for column in columns.T:
        y = column - column.mean()
        if (y @ y) / len(y) < 1e-12:
            continue
        r = [(y[d:] @ y[:-d]) / (y @ y) for d in range(1, longest + 1)]
        times = 1 + 2 * np.cumsum(r)
        time = max(time, next((t for d, t in enumerate(times, 1) if d >= 5 * t), longest))
        lag = max(lag, next((d for d, c in enumerate(r, 1) if c < 0.05), longest))
    return time, lag


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("m", [150, 600, 2000])
def test_numeric_times_and_lags_are_those_of_every_third_expert_s_log_likelihood_ratio(rho, m):
    values = ar(rho, m, seed=m)
    spec = NumericBins(values)
    table, _ = numeric_experts()
    time, lag = by_definition(np.log(table[spec.rows][spec.index(values)])[:, ::3], m // 4)
    found = autocorrelation(Reference.fit(values).bins, Reference.fit(values).order, m // 4)
    assert found.tau == pytest.approx(time, rel=1e-9)
    assert found.lag == lag


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_categorical_times_and_lags_are_those_of_all_the_experts_too(rho):
    texts = [f"c{round(x)}" for x in ar(rho, 800, seed=1)]
    spec = CategoricalBins(texts)
    table, _ = categorical_experts(spec.k)
    time, lag = by_definition(np.log(table[spec.index(texts)]), 200)
    reference = Reference.fit(texts, "categorical")
    found = autocorrelation(reference.bins, reference.order, 200)
    assert found.tau == pytest.approx(time, rel=1e-9)
    assert found.lag == lag


def test_a_constant_reference_and_one_whose_order_is_unknown_are_taken_as_independent():
    for reference in (Reference.fit([7.0] * 200), Reference.from_counts([0.0, 1.0], [50, 50, 50])):
        det = Detector(reference)
        assert (det.autocorrelation.tau, det.autocorrelation.lag, det.stride) == (1.0, 1, 1)


@pytest.mark.parametrize(("rho", "stride", "guarantee"), [(0.0, 1, "exact"), (0.9, 1, "void"), (0.9, 40, "approximate")])
def test_the_guarantee_is_void_where_the_stride_is_too_short_for_the_correlation(rho, stride, guarantee):
    det = Detector(ar(rho, 4000, seed=2), stride=stride, false_alarms=1000, window=100)
    event = next(event for event in map(det.update, ar(rho, 5000, seed=3) + 4) if event)
    assert event.guarantee == guarantee


def test_what_was_found_outlives_a_restart_though_the_order_is_forgotten():
    det = Detector(warmup=400, extend=1, mature_until=400)
    det.update_many(ar(0.9, 500, seed=4))
    assert det.reference.order is None
    assert det.autocorrelation.tau > 3
    assert Detector.from_bytes(det.to_bytes()).autocorrelation == det.autocorrelation
    assert Detector.from_bytes(det.to_bytes()).criterion() == det.criterion()
    assert len(det.to_bytes()) < 5000
