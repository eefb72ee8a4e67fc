"""State of a tracker: plain values from which it goes on bit for bit.

Rule 1: what follows from the rest (counts, running sums, 1/Z) is not stored but computed again.
Rule 2: a state is checked before a byte of it reaches the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

HISTORY, PLUG_INS = 1024, 3             # as in evidence.h
MOST_EVENTS = 2**53


@dataclass(frozen=True)
class EvidenceState:
    """The bets of one stream; arrays are little-endian doubles, histories one byte a bin, oldest first."""

    g: bytes
    kept: bytes
    shares: bytes
    wealth: bytes
    plug_in: bytes
    history: bytes
    total: float
    s: float
    fed: int
    clock: int
    refresh_at: int
    is_unseen: bytes
    kept_unseen: bytes

    def check(self, bins: int, experts: int) -> None:
        """Raise ValueError unless this can be the evidence of a stream with so many bins and experts."""
        is_due = self.clock >= self.refresh_at                      # shares are made anew before they are used
        _check_numbers(self.g, bins, 1e-3, 1e16)
        _check_numbers(self.kept, bins, 1e-3, 1e16)
        _check_numbers(self.shares, bins, 0.0 if is_due else 1e-20, 1.0)
        _check_numbers(self.wealth, experts, 0.0, 1e300)
        _check_numbers(self.plug_in, PLUG_INS, 0.0, 1e300)
        if not 0.999 < self.total / np.frombuffer(self.g).sum() < 1.001 or not 0 <= self.s < 1e300:
            raise ValueError("its weights do not sum to their total, or its evidence is out of range")
        if not 0 <= self.fed <= self.clock <= MOST_EVENTS or self.refresh_at < 0 or len(self.history) != min(self.fed, HISTORY):
            raise ValueError("its history of bets does not fit its counters")
        if any(len(flags) != 2 or flags.strip(b"\0\1") for flags in (self.is_unseen, self.kept_unseen)):
            raise ValueError("what it has never met is not told by two flags")
        _check_bins(self.history, bins)


@dataclass(frozen=True)
class TrackerState:
    """The window (bins, oldest first), where the stream is in its life, and its bets.

    That an episode can no longer resolve is not here: it follows from `EpisodeState.is_due`.
    """

    window: bytes
    is_drifting: bool
    phase: int
    calm: int
    seen: int
    evidence: EvidenceState | None

    def check(self, bins: int, capacity: int, stride: int, experts: int) -> None:
        """Raise ValueError unless this can be the state of a tracker of that size; experts: 0 where it does not bet."""
        if len(self.window) > capacity or not 0 <= self.phase < stride:
            raise ValueError("its window or phase is out of range")
        if (self.evidence is None) == (experts > 0):
            raise ValueError("its evidence does not fit the alarm")
        _check_bins(self.window, bins)
        if self.evidence is not None:
            self.evidence.check(bins, experts)


class GaugeReading(TypedDict):
    """What one gauge says: plug-in divergence and its limit in nats, the counts of its groups."""

    window: int
    filled: int
    value: float
    limit: float
    counts: list[int]


def _check_numbers(stored: bytes, count: int, least: float, most: float) -> None:
    if len(stored) != 8 * count:
        raise ValueError(f"an array of {count} numbers is stored in {len(stored)} bytes")
    values = np.frombuffer(stored)
    if not ((values >= least) & (values <= most)).all():
        raise ValueError("one of its numbers is out of range")


def _check_bins(stored: bytes, bins: int) -> None:
    if stored and max(stored) >= bins:
        raise ValueError("one of its bins does not exist")
