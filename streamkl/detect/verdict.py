"""Verdict: what one observation caused."""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """The first three are the kernel's (tracker.h), the last one is the fleet's; the others are decided above them."""

    QUIET = 0
    RAISED = 1
    RESOLVED = 2
    LEARNED = 3
    REBASELINED = 4
    MATURED = 5
    TAPE_DUE = 6
