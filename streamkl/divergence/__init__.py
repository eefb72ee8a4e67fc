"""Divergence: two aligned count vectors, or what was forecast and what came, to numbers.

Pure functions, nats unless `base` says otherwise, always D(window || reference): `streamkl.divergence.kl(p, q)`.
"""

from typing import NoReturn

from streamkl.divergence.distances import js_distance, kolmogorov_smirnov, l_infinity, wasserstein
from streamkl.divergence.estimate import Estimate, estimate, estimates
from streamkl.divergence.f_divergences import (
    chi_square,
    f_divergence,
    hellinger,
    jeffreys,
    js,
    kl,
    kl_reverse,
    psi,
    terms,
    total_variation,
)
from streamkl.divergence.gaussian import gaussian_kl
from streamkl.divergence.renyi_divergences import bhattacharyya, renyi
from streamkl.divergence.scores import brier_score, cross_entropy, entropy
from streamkl.errors import ConfigError

__all__ = [
    "Estimate",
    "bhattacharyya",
    "brier_score",
    "chi_square",
    "cross_entropy",
    "entropy",
    "estimate",
    "estimates",
    "f_divergence",
    "gaussian_kl",
    "hellinger",
    "jeffreys",
    "js",
    "js_distance",
    "kl",
    "kl_reverse",
    "kolmogorov_smirnov",
    "l_infinity",
    "psi",
    "renyi",
    "terms",
    "total_variation",
    "wasserstein",
]


def __getattr__(name: str) -> NoReturn:
    if name == "precision_recall":
        raise ConfigError("streamkl.divergence.precision_recall is not built yet; use total_variation or kl")
    raise AttributeError(f"module 'streamkl.divergence' has no attribute {name!r}")
