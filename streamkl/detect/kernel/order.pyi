"""Order: what the order of a reference's observations tells, natively."""

from array import array

import numpy as np
import numpy.typing as npt

def largest_inside(groups: npt.NDArray[np.uint8], window: int, k: int) -> float:
    """Return the largest KL(window || rest), nats, of all windows of `window` consecutive observations among m.

    groups: shape (m,), each below k, in order. Both are smoothed by 1/2 in each of the k groups. O(m). Raises ValueError unless 0 < window < m.
    """

def matches(bins: npt.NDArray[np.uint8], weights: npt.NDArray[np.float64], longest: int) -> array[float]:
    """Return, for each lag 1 .. longest, the sum of weights[bins[t]] over all t with bins[t] == bins[t + lag]. O(m longest).

    bins: shape (m,), in order. weights: shape (k,). Raises ValueError unless 0 <= longest < m and each bin has a weight.
    """
