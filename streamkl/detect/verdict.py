"""Verdict: what one observation caused."""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """The first three are the kernel's (tracker.h); learning and rebaselining are decided above it."""

    QUIET = 0
    RAISED = 1
    RESOLVED = 2
    LEARNED = 3
    REBASELINED = 4
    MATURED = 5
