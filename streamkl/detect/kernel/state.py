"""State of a tracker: plain values from which it goes on bit for bit.

Rule 1: what follows from the rest (counts, running sums, 1/Z) is not stored but computed again.
Rule 2: a state is checked before a byte of it reaches the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np

HISTORY, PLUG_INS = 1024, 3             # as in evidence.h
MOST_EVENTS = 2**53


@dataclass(frozen=True)
class EvidenceState:
    """The bets of one stream; arrays are little-endian doubles, the history is packed bins, oldest first."""

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
    kept_at: int
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
        if not 0 <= self.fed <= self.clock <= MOST_EVENTS or self.refresh_at < 0 or not 0 <= self.kept_at <= self.clock:
            raise ValueError("its counters of bets are out of range")
        if any(len(flags) != 2 or flags.strip(b"\0\1") for flags in (self.is_unseen, self.kept_unseen)):
            raise ValueError("what it has never met is not told by two flags")


@dataclass(frozen=True)
class TrackerState:
    """The window (`filled` bins, packed, oldest first), where the stream is in its life, and its bets.

    That an episode can no longer resolve is not here: it follows from `EpisodeState.is_due`.
    """

    window: bytes
    filled: int
    is_drifting: bool
    phase: int
    calm: int
    seen: int
    evidence: EvidenceState | None

    @classmethod
    def of(
        cls, window: bytes, is_drifting: bool, phase: int, calm: int, seen: int, evidence: EvidenceState | None, stride: int, bins: int
    ) -> TrackerState:
        """Return the state: bins in as few bits as they need, the history of bets without what the window holds already."""
        if evidence:
            shared = len(window) if stride == 1 and not is_drifting else 0      # then every observation was bet on
            history = evidence.history[:max(0, len(evidence.history) - shared)]
            evidence = replace(evidence, history=_packed(history, bins))
        return cls(_packed(window, bins), len(window), is_drifting, phase, calm, seen, evidence)

    def bins_in_window(self, bins: int) -> bytes:
        """Return the bins in the window, oldest first; raises ValueError where there are none such."""
        return _unpacked(self.window, self.filled, bins)

    def bets(self, window: bytes, stride: int, bins: int) -> bytes:
        """Return the whole history of bets; raises ValueError where it does not fit the counters."""
        if self.evidence is None:
            raise ValueError("its evidence is missing")
        fed = min(self.evidence.fed, HISTORY)
        shared = min(len(window), fed) if stride == 1 and not self.is_drifting else 0
        return _unpacked(self.evidence.history, fed - shared, bins) + window[len(window) - shared:]

    def check(self, capacity: int, stride: int, bins: int, experts: int) -> None:
        """Raise ValueError unless this can be the state of a tracker of that size; experts: 0 where it does not bet."""
        if not 0 <= self.filled <= capacity or not 0 <= self.phase < stride:
            raise ValueError("its window or phase is out of range")
        if (self.evidence is None) == (experts > 0):
            raise ValueError("its evidence does not fit the alarm")
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


def _packed(stored: bytes, bins: int) -> bytes:
    """Return bins, one a byte, in as few bits each as any of them needs."""
    bits = np.unpackbits(np.frombuffer(stored, np.uint8)[:, None], axis=1)
    return np.packbits(bits[:, 8 - _bits(bins):]).tobytes()


def _unpacked(packed: bytes, count: int, bins: int) -> bytes:
    """Return `count` bins, one a byte; raises ValueError where they are not so many, or one does not exist."""
    width = _bits(bins)
    if len(packed) != -(-count * width // 8):
        raise ValueError(f"{count} bins are stored in {len(packed)} bytes")
    bits = np.zeros((count, 8), np.uint8)
    bits[:, 8 - width:] = np.unpackbits(np.frombuffer(packed, np.uint8), count=count * width).reshape(count, width)
    found = np.packbits(bits)
    if count and int(found.max()) >= bins:
        raise ValueError("one of its bins does not exist")
    return found.tobytes()


def _bits(bins: int) -> int:
    return max(1, (bins - 1).bit_length())
