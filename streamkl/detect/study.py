"""Study: what the order of a reference's observations tells: how long they repeat each other, and how far it wanders by nature.

Rule: it is made once, when the reference is new; the order itself is then forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamkl.detect.autocorrelation import Autocorrelation, autocorrelation
from streamkl.detect.criterion import criterion_windows, merged
from streamkl.detect.kernel import largest_inside
from streamkl.sketch.reference import Reference

LONGEST_LAG = 4             # autocorrelation is looked for up to this part of the reference
LEAST_POINTS = 20           # observations of a reference that the stride leaves: it is at most m / 20
COVERAGE = 50.0             # autocorrelation times that a reference should cover, for the budget to hold about
LEAST_COVERAGE = 20.0       # and below which it does not hold


@dataclass(frozen=True)
class Study:
    """autocorrelation: that of independent observations where the order is not known.

    variability: natural variability F of each criterion window, the longest first: the largest KL(window || rest), nats, of windows inside
    the reference; None where the order is not known. is_extended: the warm-up went on because it did not cover enough autocorrelation times.
    """

    autocorrelation: Autocorrelation = field(default_factory=Autocorrelation)
    variability: tuple[float, ...] | None = None
    is_extended: bool = False

    def stride(self, m: float) -> int:
        """Return how thin the evidence of a reference of m observations must be fed, so that what it is fed is uncorrelated."""
        return max(1, min(self.autocorrelation.lag, int(m) // LEAST_POINTS))

    def check(self, m: float, window: int) -> None:
        """Raise ValueError unless this can be the study of a reference of m observations, beside a window."""
        numbers = self.variability
        self.autocorrelation.check(m)
        if numbers is not None and (len(numbers) != len(criterion_windows(window, m)) or not all(-1e3 < number < 1e3 for number in numbers)):
            raise ValueError("its natural variability is out of range")


def correlation_of(reference: Reference) -> Autocorrelation:
    """Return the autocorrelation of a reference; that of independent observations where its order is not known."""
    if reference.order is None:
        return Autocorrelation()
    return autocorrelation(reference.bins, reference.order, int(reference.m) // LONGEST_LAG)


def covers(m: float, found: Autocorrelation, times: float = COVERAGE) -> bool:
    """Return whether m observations are so many autocorrelation times."""
    return m >= times * found.tau


def study(reference: Reference, window: int, is_extended: bool = False, found: Autocorrelation | None = None) -> Study:
    """Return what a reference's order tells. window: the stream's, in observations. is_extended: its warm-up was. found: its autocorrelation,
    where it is known already.

    >>> reference = Reference.fit([i % 10 for i in range(400)])
    >>> found = study(reference, 100)
    >>> found.stride(reference.m), [round(f, 3) for f in found.variability or ()]
    (3, [0.008])
    """
    if reference.order is None:
        return Study(is_extended=is_extended)
    groups = merged(reference.bins)
    order, k = groups.astype(np.uint8)[reference.order], int(groups.max()) + 1
    variability = tuple(largest_inside(order, w, k) for w in criterion_windows(window, reference.m))
    return Study(found or correlation_of(reference), variability, is_extended)
