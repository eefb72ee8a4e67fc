"""Event time: ms since the epoch, UTC, as a detector takes them; it never asks a clock."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

NO_TIME = int(np.iinfo(np.int64).min)   # in update_many's `at`: this observation has no time


def checked_time(at: object) -> int:
    """Return one time; raises ValueError or TypeError for what is none."""
    if isinstance(at, (bool, np.bool_)) or not NO_TIME < (time := operator.index(at)) <= -NO_TIME - 1:       # type: ignore[arg-type]
        raise ValueError(f"at={at!r} must be a whole number of milliseconds since the epoch, within 64 bits; correct it")
    return time


def checked_times(at: Sequence[int] | npt.NDArray[np.int64] | None, count: int) -> npt.NDArray[np.int64] | None:
    """Return the times of so many observations; raises ValueError for what are none."""
    if at is None:
        return None
    times = np.asarray(at) if count else np.zeros(0, np.int64)
    if times.shape != (count,) or (count and times.dtype.kind not in "iu") or (times > np.iinfo(np.int64).max).any():
        raise ValueError(f"at must hold {count} whole numbers of milliseconds, one for each observation, got {times.dtype} of shape {times.shape}")
    return times.astype(np.int64)
