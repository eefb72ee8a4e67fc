"""Origin: the first reference of a stream, which stays what slow change is seen against once another reference has taken its place."""

from __future__ import annotations

from dataclasses import dataclass

from streamkl.detect.autocorrelation import Autocorrelation
from streamkl.detect.kernel import Tracker
from streamkl.detect.state import OriginState
from streamkl.sketch.reference import Reference


@dataclass(frozen=True)
class Origin:
    """reference: the first one. is_given: it was not learnt from the stream."""

    reference: Reference
    autocorrelation: Autocorrelation
    is_given: bool

    def tracker(self, window: int) -> Tracker:
        """Return what counts the last `window` observations over the origin's bins, and nothing else."""
        return Tracker(self.reference.bins, window, [], None, 1, True, 1)

    def to_state(self) -> OriginState:
        """Return plain values from which `from_state` makes the same."""
        return OriginState(None if self.is_given else self.reference.to_state(), self.autocorrelation)

    @classmethod
    def from_state(cls, given: Reference | None, state: OriginState, kind: str) -> Origin:
        """Return what `to_state` described; raises ValueError or StateError where its parts do not fit."""
        reference = given if state.reference is None else Reference.from_state(state.reference)
        if reference is None or reference.kind != kind:
            raise ValueError("its origin is missing, or of another kind")
        state.autocorrelation.check(reference.m)
        return cls(reference, state.autocorrelation, state.reference is None)
