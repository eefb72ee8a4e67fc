"""State of a tracker: plain values from which it goes on bit for bit.

Rule: what follows from the rest (counts, running sums, 1/Z) is not stored but computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


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


@dataclass(frozen=True)
class TrackerState:
    """The window (bins, oldest first), where the stream is in its life, and its bets."""

    window: bytes
    is_drifting: bool
    phase: int
    calm: int
    seen: int
    evidence: EvidenceState | None


class GaugeReading(TypedDict):
    """What one gauge says: plug-in divergence and its limit in nats, the counts of its groups."""

    window: int
    filled: int
    value: float
    limit: float
    counts: list[int]
