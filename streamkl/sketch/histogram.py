"""Histogram: the counts of a window beside those of its reference, bin by bin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Histogram(NamedTuple):
    """Raw counts over a stream's own bins; the three have the same length k and the same order.

    labels: names of the bins; the last two are `novel` (numeric) or `other` (categorical), and `missing`.
    window: shape (k,), the last n observations. reference: shape (k,), as learnt: no half counts, no later growth.
    """

    labels: list[str]
    window: npt.NDArray[np.float64]
    reference: npt.NDArray[np.float64]
