"""Alarm: what may raise drift in the place of the evidence.

Rule: an alarm knows numbers alone, in their order; whether drift is raised, when an episode is over and what is told is decided by who asks it.
"""

from __future__ import annotations

from typing import Protocol

from streamkl.errors import ConfigError, StateError

OWN = ("evidence", "threshold")


class Alarm(Protocol):
    """An alarm of another make. One object serves as the pattern of a stream's alarms: it is asked for fresh ones, and never given a value.

    It must be a function of the values that it was given, in order: no clock, no randomness without a seed, else a restart finds other events.
    """

    @property
    def name(self) -> str:
        """What it is, with all its settings, e.g. "river ADWIN(delta=0.002)": equal names mean equal alarms. It has brackets."""

    def fresh(self) -> Alarm:
        """Return one with the same settings that has seen nothing."""

    def update(self, x: float) -> bool:
        """Take one number; return whether it says that drift began."""

    def to_state(self) -> bytes:
        """Return all that it has learnt, so that `restore` of a fresh one goes on bit for bit."""

    def restore(self, state: bytes) -> None:
        """Take over a state; raises StateError for what is none."""


def told_apart(alarm: str | Alarm) -> tuple[str, Alarm | None]:
    """Return the name of an alarm as it stands in the settings, and the alarm where it is not one of ours. Raises ConfigError for what is neither."""
    if isinstance(alarm, str):
        if alarm not in OWN:
            raise ConfigError(f"alarm={alarm[:60]!r} is unknown; use {' or '.join(map(repr, OWN))}, or an alarm like RiverAlarm(ADWIN())")
        return alarm, None
    name = getattr(alarm, "name", None)
    if not isinstance(name, str) or not is_lent(name):
        raise ConfigError(f"alarm={alarm!r:.60} is no alarm; use {' or '.join(map(repr, OWN))}, or an alarm like RiverAlarm(ADWIN())")
    return name, alarm


def is_lent(name: str) -> bool:
    """Return whether the name of an alarm is that of another make."""
    return "(" in name


def fitting(name: str, alarm: Alarm | None) -> Alarm | None:
    """Return the alarm that a stored detector goes on with; raises StateError where it needs one like it and was given none, or another."""
    if not is_lent(name):
        return None
    if alarm is None or alarm.name != name:
        given = "none was given" if alarm is None else f"{alarm.name} was given"
        raise StateError(f"the detector was stored with the alarm {name}, and {given}; pass one like it: Detector.from_bytes(stored, alarm=...)")
    return alarm
