"""Guarantee: what holds of the false-alarm budget of one reference.

Rule: it says what is known, never more: what was found in the reference decides, not what a stream ought to be.
"""

from __future__ import annotations

from streamkl.detect.study import LEAST_COVERAGE, covers
from streamkl.detect.watching import Watching

EXACT, APPROXIMATE, VOID = "exact", "approximate", "void"


def guarantee(watching: Watching, alarms: int, is_maturing: bool) -> str:
    """Return what holds of the budget for alarm number `alarms` of this reference. is_maturing: it still grows.

    "exact": independent, distinct values, each of them bet on, a reference of a size fixed in advance, its first alarm. "void": a threshold
    alarm, or observations too correlated for the reference or for the stride. "approximate": everything else.
    """
    if is_void(watching):
        return VOID
    is_fixed = not (watching.study.is_extended or watching.is_grown or is_maturing)
    return EXACT if watching.reference.is_exact and watching.stride == 1 and is_fixed and alarms <= 1 else APPROXIMATE


def is_void(watching: Watching) -> bool:
    """Return whether the budget means nothing: no bets, under 20 autocorrelation times, bets on correlated observations, or seasons."""
    found, m = watching.study.autocorrelation, watching.reference.m
    is_correlated = is_capped(watching) or not found.is_weak(watching.stride) or found.is_seasonal
    return not watching.is_betting or not covers(m, found, LEAST_COVERAGE) or is_correlated


def is_capped(watching: Watching) -> bool:
    """Return whether the reference is too short for the stride that its autocorrelation asks for."""
    return watching.is_stride_found and watching.study.autocorrelation.lag > watching.stride
