"""Flows: named streams whose values follow each other, as (kind, reference, calm, moved), made from a seed.

Rule: reference and values are of one process but not of one run; what is numeric is a float array, what is categorical a list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Flow(NamedTuple):
    """kind; m values to learn from; n values of the same process, and what they are after a change."""

    kind: str
    reference: np.ndarray | list
    calm: np.ndarray | list
    moved: np.ndarray | list


def autoregressive(rng: np.random.Generator, n: int, rho: float) -> np.ndarray:
    """AR(1) with standard normal shocks, begun in its stationary distribution (at 0 where there is none)."""
    values = rng.standard_normal(n)
    values[0] /= np.sqrt(1 - rho * rho) if rho < 1 else 1.0
    for i in range(1, n):
        values[i] += rho * values[i - 1]
    return values


def _blocks(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.repeat(np.round(rng.standard_normal(n), 1), rng.integers(1, 13, n))[:n]


def _sine(rng: np.random.Generator, n: int) -> np.ndarray:
    period, phase = rng.integers(80, 500), rng.random() * 2 * np.pi
    return np.sin(np.arange(n) * 2 * np.pi / period + phase) + 0.3 * rng.standard_normal(n)


def _gaps(rng: np.random.Generator, n: int) -> np.ndarray:
    """What is missing comes in bursts of about ten."""
    is_gone = np.repeat(rng.random(n) < 0.1, rng.integers(1, 21, n))[:n]
    return np.where(is_gone, np.nan, autoregressive(rng, n, 0.6))


def _levels(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two regimes of about a hundred values each, far apart: some windows lie in one of them."""
    return 3.0 * (np.cumsum(rng.random(n) < 0.01) % 2) + rng.standard_normal(n)


def _numeric(draw: Callable[[np.random.Generator, int], np.ndarray], move: Callable[[np.ndarray], np.ndarray]) -> Callable:
    def make(rng: np.random.Generator, m: int, n: int) -> Flow:
        reference, calm = draw(rng, m), draw(rng, n)
        return Flow("numeric", reference, calm, move(calm))

    return make


def _sticky(p: list[float], stay: float) -> Callable:
    """Categories "a", "b", ... of probabilities p, each kept with probability `stay`; the change turns their roles."""
    def chain(rng: np.random.Generator, n: int) -> list[int]:
        fresh, is_kept = rng.choice(len(p), n, p=p), rng.random(n) < stay
        for i in range(1, n):
            fresh[i] = fresh[i - 1] if is_kept[i] else fresh[i]
        return fresh.tolist()

    def make(rng: np.random.Generator, m: int, n: int) -> Flow:
        reference, calm = chain(rng, m), chain(rng, n)
        name = "abcdefghij".__getitem__
        return Flow("categorical", [name(i) for i in reference], [name(i) for i in calm], [name((i + 1) % len(p)) for i in calm])

    return make


FLOWS: dict[str, Callable] = {
    "AR .5": _numeric(lambda r, n: autoregressive(r, n, 0.5), lambda x: x + 1.5),
    "AR .9": _numeric(lambda r, n: autoregressive(r, n, 0.9), lambda x: x + 5.0),
    "random walk": _numeric(lambda r, n: autoregressive(r, n, 1.0), lambda x: x + 30.0),
    "blocks": _numeric(_blocks, lambda x: x * 2.0),
    "sine and noise": _numeric(_sine, lambda x: x + 1.0),
    "bursts of missing values": _numeric(_gaps, lambda x: x * 3.0),
    "two levels": _numeric(_levels, lambda x: x - 4.0),
    "sticky categories": _sticky([0.5, 0.3, 0.15, 0.05], 0.9),
    "sticky pair": _sticky([0.9, 0.1], 0.7),
}


def make(name: str, *, seed: int, m: int, n: int) -> Flow:
    return FLOWS[name](np.random.default_rng([seed, m, n]), m, n)
