"""Finding: one thing that an inspection saw.

Rule: a warning runs, and perhaps not as meant; a fault does not run, or watches nothing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """What was seen, in one sentence that ends with the next step where there is one."""

    verdict: Literal["ok", "warning", "fault"]
    sentence: str


def ok(sentence: str) -> Finding:
    """Return what is as it should be."""
    return Finding("ok", sentence)


def warning(sentence: str) -> Finding:
    """Return what runs, but perhaps not as meant."""
    return Finding("warning", sentence)


def fault(sentence: str) -> Finding:
    """Return what does not run, or watches nothing."""
    return Finding("fault", sentence)
