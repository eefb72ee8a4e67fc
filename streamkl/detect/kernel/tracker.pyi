"""Tracker: one stream compared with one reference, natively."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from streamkl.detect.criterion import GaugePlan
from streamkl.detect.experts import Stake
from streamkl.detect.kernel.state import TrackerState
from streamkl.sketch.bins import NumericBins
from streamkl.sketch.categories import CategoricalBins

class GaugeReading(TypedDict):
    window: int
    filled: int
    value: float
    limit: float
    counts: list[int]

class Tracker:
    """Watch one stream, in O(1) per event.

    bins: where values fall. window: observations in the reporting window. gauges: at most 3, the longest window first.
    stake: what the evidence starts from, or None: the first gauge alone raises. stride: every stride-th observation is fed.
    has_criterion: an open gauge is needed for an alarm. calm_needed: calm observations in a row that resolve an episode.
    update and its like return a verdict: 0 quiet, 1 raised, 2 resolved; at 1 the caller must call begin_episode, at 2 end_episode.
    """

    def __init__(
        self, bins: NumericBins | CategoricalBins, window: int, gauges: Sequence[GaugePlan], stake: Stake | None,
        stride: int, has_criterion: bool, calm_needed: int,
    ) -> None: ...
    def update(self, x: object, /) -> int: ...
    def update_many(self, values: npt.NDArray[np.float64], start: int) -> tuple[int, int]: ...
    def update_bins(self, bins: npt.NDArray[np.uint8], start: int) -> tuple[int, int]: ...
    def prefill(self, bins: npt.NDArray[np.uint8]) -> None: ...
    def begin_episode(self) -> None: ...
    def end_episode(self) -> None: ...
    @property
    def seen(self) -> int: ...
    @property
    def filled(self) -> int: ...
    @property
    def evidence(self) -> float: ...
    def counts(self) -> list[int]: ...
    def gauges(self) -> list[GaugeReading]: ...
    def to_state(self) -> TrackerState: ...
    def restore(self, state: TrackerState) -> None: ...
