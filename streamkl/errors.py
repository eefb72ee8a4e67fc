"""Errors, named by who must act.

Rule: the message says what, where and why with the values, and ends with the next step.
Misuse of the pure core (a wrong type, a wrong shape) is a plain ValueError or TypeError: the caller's bug.
"""

from __future__ import annotations


class StreamklError(Exception):
    """Every error that streamkl raises on purpose and that is not the caller's bug."""


class ConfigError(StreamklError, ValueError):
    """A setting is wrong: the operator (or the programmer who typed it) must change it."""


class RecordError(StreamklError):
    """One record cannot be used: its producer must act; the stream goes on."""


class StateError(StreamklError):
    """Stored state cannot be used: the operator must restore or discard it."""


class Unavailable(StreamklError):
    """A file, broker, store or receiver cannot be reached: nobody must act yet, try again.

    retry_after_seconds: how long it asked to be left alone, None where it said nothing.
    """

    def __init__(self, sentence: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_seconds = retry_after_seconds
