"""Gaussian: the KL divergence between two normal distributions in closed form.

Rule 1: 0.0 for equal parameters, never negative; nearly equal covariances keep their digits.
Rule 2: a covariance that is not symmetric and positive definite is refused, never repaired.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamkl.divergence.bregman import kl_terms, summed
from streamkl.divergence.shares import FloatArray, Shares


def gaussian_kl(mean_p: npt.ArrayLike, cov_p: npt.ArrayLike, mean_q: npt.ArrayLike, cov_q: npt.ArrayLike) -> float:
    """Return D(N(mean_p, cov_p) || N(mean_q, cov_q)) in nats: 0.0 if equal, never negative.

    mean_p, mean_q: shape (d,), or numbers; cov_p, cov_q: shape (d, d), symmetric and positive definite, or variances.
    Raises ValueError for other shapes, for NaN or infinity and for a covariance that is not positive definite.
    Source: Kullback (1959), "Information Theory and Statistics", chapter 9.
    >>> gaussian_kl(1.0, 1.0, 0.0, 1.0)
    0.5
    """
    centre_p, centre_q = _mean(mean_p, "mean_p"), _mean(mean_q, "mean_q")
    if centre_p.shape != centre_q.shape:
        raise ValueError(f"mean_p has {len(centre_p)} dimensions and mean_q has {len(centre_q)}; give both the same")
    spread_p, spread_q = (_covariance(c, len(centre_p), name) for c, name in ((cov_p, "cov_p"), (cov_q, "cov_q")))
    scale_p, scale = np.sqrt(np.diag(spread_p)), np.sqrt(np.diag(spread_q))
    root_p, root_q = _root(spread_p, scale_p, "cov_p"), _root(spread_q, scale, "cov_q")
    with np.errstate(over="ignore"):
        shift = 2 * ((centre_p / 2 - centre_q / 2) / scale)
        way = np.linalg.solve(root_q, shift)
        change = ((spread_p - spread_q) / scale) / scale[:, None]
        far: FloatArray = np.asarray(np.linalg.solve(root_q, (scale_p / scale)[:, None] * root_p), dtype=np.float64)
        return (summed(way * way) + summed(_spread_terms(far, root_q, change))) / 2


def _spread_terms(far: FloatArray, root_q: FloatArray, change: FloatArray) -> FloatArray:
    """l - 1 - log l for the eigenvalues l of cov_p in units of cov_q: a KL term with p = 1 and q = l."""
    inner = np.linalg.solve(root_q, np.linalg.solve(root_q, change).T)
    excess: FloatArray = np.asarray(np.linalg.eigvalsh((inner + inner.T) / 2), dtype=np.float64)
    roots = np.sort(np.linalg.svd(far, compute_uv=False))
    excess = np.where(np.abs(excess) < 0.5, excess, roots * roots - 1)  # far from 1 the singular values are the more precise
    one, nought = np.ones_like(excess), np.zeros_like(excess)
    return kl_terms(Shares(one, 1 + excess, nought, 2 * np.log(roots), -excess))


def _mean(values: npt.ArrayLike, name: str) -> FloatArray:
    mean = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if mean.ndim != 1 or mean.size == 0 or not np.isfinite(mean).all():
        raise ValueError(f"{name} has shape {mean.shape} and values {mean}; it must be a finite number or vector")
    return mean


def _covariance(values: npt.ArrayLike, dimensions: int, name: str) -> FloatArray:
    covariance = np.asarray(values, dtype=np.float64)
    if covariance.ndim == 0:
        covariance = covariance.reshape(1, 1)
    if covariance.shape != (dimensions, dimensions):
        raise ValueError(f"{name} has shape {covariance.shape}; {dimensions}-dimensional means need ({dimensions}, {dimensions})")
    if not np.isfinite(covariance).all() or not (np.diag(covariance) > 0).all():
        raise ValueError(f"{name} has the diagonal {np.diag(covariance)}; all entries must be finite and variances positive")
    if np.abs(covariance - covariance.T).max() > 1e-9 * np.abs(covariance).max():
        raise ValueError(f"{name} is not symmetric: it differs from its transpose by {np.abs(covariance - covariance.T).max()}")
    return covariance


def _root(covariance: FloatArray, scale: FloatArray, name: str) -> FloatArray:
    """Return the Cholesky root in units of `scale`, which neither huge nor tiny variances disturb."""
    correlation = (covariance / scale) / scale[:, None]
    try:
        return np.asarray(np.linalg.cholesky(correlation), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        least = np.linalg.eigvalsh(correlation)[0]
        raise ValueError(f"{name} is not positive definite: its correlations have the eigenvalue {least}; drop dependent columns") from error
