"""Shapes: named streams, as (kind, reference, values), made from a seed; half of them change where the caller says.

Rule: what is numeric is a float array, what is categorical a list; nothing here depends on the global random state.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Shape = tuple[str, np.ndarray | list, np.ndarray | list]


def _numeric(draw: Callable, shift: Callable[[np.ndarray], np.ndarray]) -> Callable:
    def make(seed: int, m: int, n: int, change: int | None) -> Shape:
        rng = np.random.default_rng([seed, m, n])
        reference, values = np.asarray(draw(rng, m), float), np.asarray(draw(rng, n), float)
        if change is not None:
            values[change:] = shift(values[change:])
        return "numeric", reference, values

    return make


def _zero_inflated(rng, size):
    return np.where(rng.random(size) < 0.4, 0.0, rng.exponential(2.0, size))


def _some_missing(rng, size):
    return np.where(rng.random(size) < 0.05, np.nan, rng.standard_normal(size))


def _prices(rng, size):
    return np.floor(rng.lognormal(2.0, 0.7, size)) + 0.99


def _infinite_now_and_then(rng, size):
    u = rng.random(size)
    return np.where(u < 0.001, -np.inf, np.where(u > 0.999, np.inf, rng.standard_normal(size)))


def _set_one_in(every: int, to: float):
    def shift(values):
        out = values.copy()
        out[::every] = to
        return out

    return shift


def _categorical(probabilities: Callable[[], np.ndarray], label: Callable) -> Callable:
    def make(seed: int, m: int, n: int, change: int | None) -> Shape:
        rng = np.random.default_rng([seed, m, n])
        p = probabilities()
        reference = [label(i) for i in rng.choice(len(p), m, p=p)]
        before = n if change is None else change
        drifted = (p + np.roll(p, 1)) / 2
        drawn = np.r_[rng.choice(len(p), before, p=p), rng.choice(len(p), n - before, p=drifted)]
        return "categorical", reference, [label(i) for i in drawn]

    return make


def _zipf() -> np.ndarray:
    p = 1.0 / np.arange(1, 61)
    return p / p.sum()


_MIXED = ["a", 1, "1", True, 2.5, None, "other", "missing", False, float("nan")]

SHAPES: dict[str, Callable] = {
    "normal": _numeric(lambda r, n: r.standard_normal(n), lambda x: x + 0.5),
    "cauchy": _numeric(lambda r, n: r.standard_cauchy(n), lambda x: x * 1.5),
    "lognormal": _numeric(lambda r, n: r.lognormal(0, 1, n), lambda x: x * 1.3),
    "rounded normal": _numeric(lambda r, n: np.round(r.standard_normal(n), 1), lambda x: x + 0.3),
    "poisson": _numeric(lambda r, n: r.poisson(3.0, n), lambda x: x + (np.arange(len(x)) % 5 == 0)),
    "40 % zeros": _numeric(_zero_inflated, lambda x: x * 1.2),
    "5 % missing": _numeric(_some_missing, lambda x: x * 1.4),
    "bernoulli": _numeric(lambda r, n: r.random(n) < 0.1, _set_one_in(11, 1.0)),
    "prices": _numeric(_prices, lambda x: x + (np.arange(len(x)) % 3 == 0)),
    "zipf": _categorical(_zipf, lambda i: f"category {i}"),
    "few categories": _categorical(lambda: np.array([0.5, 0.3, 0.15, 0.05]), lambda i: "abcd"[i]),
    "mixed categories": _categorical(lambda: np.full(10, 0.1), lambda i: _MIXED[i]),
    "constant": _numeric(lambda r, n: np.full(n, 7.0), _set_one_in(41, 8.0)),
    "novel values": _numeric(lambda r, n: r.integers(0, 6, n) * 1.0, _set_one_in(53, 2.5)),
    "first missing values": _numeric(lambda r, n: r.standard_normal(n), _set_one_in(61, np.nan)),
    "infinities": _numeric(_infinite_now_and_then, _set_one_in(83, np.inf)),
}


def make(name: str, *, seed: int, m: int, n: int, change: int | None) -> Shape:
    """Return (kind, reference, values): m reference values and n values, changed from index `change` on."""
    return SHAPES[name](seed, m, n, change)
