"""Settings of a detector, checked once, before any observation is taken.

Rule: every fault is a ConfigError that names the setting, the value and what to write instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from streamkl.detect.alarm import OWN, is_lent
from streamkl.detect.criterion import MEASURES
from streamkl.errors import ConfigError

LEAST_WARMUP = 100
NUMBER = r"\d{1,3}(?:,\d{3})+|[\d_]+(?:\.\d+)?(?:e\+?\d+)?"        # commas only between thousands
LARGEST_COUNT = 1_000_000       # observations in a window, a warm-up or a stride
LARGEST_EXTENT = 20             # warm-ups
LARGEST_HOLD = 10**15
AUTO = "auto"
LARGEST_BUDGET = 1e15
WINDOW_SHARE = 4                # by default the window is this part of the reference, within these bounds
WINDOW_BOUNDS = (100, 1_000)
GROWN_WINDOW = 300              # as a reference matures its window grows up to this, so that a short event is over soon after its end


@dataclass(frozen=True)
class Settings:
    """The settings of `Detector`, checked. budget: A, in events. alarm: the name of it, where it is of another make."""

    kind: str
    budget: float
    warmup: int
    window: int | None
    extend: int
    mature_until: int
    stride: int | str
    min_effect: float | None
    on_drift: str
    hold_for: int | None
    alarm: str
    measure: str
    raise_at: float
    resolve_at: float
    name: str

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, "numeric", "categorical")
        _one_of("on_drift", self.on_drift, "rebaseline", "hold")
        _known_alarm(self.alarm, self.kind)
        _one_of("measure", self.measure, *MEASURES)
        _number("false_alarms", self.budget, 1.0, LARGEST_BUDGET)
        _whole("warmup", self.warmup, LEAST_WARMUP)
        if self.window is not None:
            _whole("window", self.window, 1)
        _whole("extend", self.extend, 1, LARGEST_EXTENT)
        _whole("mature_until", self.mature_until, 0)
        if self.stride != AUTO:
            _whole("stride", self.stride, 1)
        if self.hold_for is not None:
            _whole("hold_for", self.hold_for, 0, LARGEST_HOLD)
        if self.min_effect is not None:
            _number("min_effect", self.min_effect, 0.0)
        _number("resolve_at", self.resolve_at, 0.0)
        _number("raise_at", self.raise_at, 0.0)
        if not 0 < self.resolve_at < self.raise_at:
            raise ConfigError(f"resolve_at={self.resolve_at!r} must lie above 0 and below raise_at={self.raise_at!r}, else the alarm flaps; lower it")
        object.__setattr__(self, "name", checked_text("name", self.name))
        for setting in ("budget", "min_effect", "raise_at", "resolve_at"):
            if isinstance(value := getattr(self, setting), int):        # equal settings have equal state
                object.__setattr__(self, setting, float(value))

    @classmethod
    def of(cls, *values: object) -> Settings:
        """Return the settings of values in the order of the fields; numpy's numbers are taken as Python's."""
        return cls(*(value.item() if isinstance(value, np.generic) else value for value in values))     # type: ignore[arg-type]

    def window_for(self, m: float, base: float | None = None) -> int:
        """Return the reporting window, in observations, beside a reference of m. base: its first size, None: it has not grown."""
        low, high = WINDOW_BOUNDS
        if base is not None and base < m:
            high = max(GROWN_WINDOW, self.window_for(base))
        return self.window or min(max(int(m) // WINDOW_SHARE, low), high)


def budget_of(false_alarms: object) -> float:
    """Return the budget A in events per false alarm, from a number or from text.

    >>> budget_of("1 per 1,000,000 events"), budget_of("2 per 1e6 events"), budget_of(5000)
    (1000000.0, 500000.0, 5000.0)
    """
    if isinstance(false_alarms, np.generic):
        false_alarms = false_alarms.item()
    if isinstance(false_alarms, (int, float)) and not isinstance(false_alarms, bool):
        return float(min(false_alarms, 10**300)) if isinstance(false_alarms, int) else false_alarms
    match = re.fullmatch(rf"\s*({NUMBER})\s+(?:per|in)\s+({NUMBER})\s+(\w+)\s*", str(false_alarms), re.IGNORECASE)
    if match is None:
        raise ConfigError(f"false_alarms={false_alarms!r} is not understood; write e.g. '1 per 1000000 events', or the number of events")
    alarms, events, unit = match.groups()
    if unit.lower() not in ("event", "events", "observation", "observations"):
        not_built(f"false_alarms={false_alarms!r}: a budget per {unit}", "write it per number of events, e.g. '1 per 1000000 events'")
    try:
        share = float(events.replace(",", "")) / float(alarms.replace(",", ""))
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"false_alarms={false_alarms!r} is not a rate; write e.g. '1 per 1000000 events'") from None
    return share


def checked_text(setting: str, value: object) -> str:
    """Return a text that can be stored; raises ConfigError for what is none, or has no UTF-8."""
    if not isinstance(value, str):
        raise ConfigError(f"{setting}={value!r} must be text; give it as a str")
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{setting}={value[:60]!r} cannot be written as UTF-8; replace its lone surrogates") from None
    return text


def not_built(what: str, instead: str) -> NoReturn:
    """Refuse a setting that is specified but does not exist yet."""
    raise ConfigError(f"{what} is not built yet; {instead}")


def refuse_what_is_not_built(window: object, season: object, raise_at: object) -> None:
    """Refuse what is specified for these settings and does not exist yet."""
    if isinstance(window, str):
        not_built(f"window={window!r}", "give a whole number of observations")
    if season is not None:
        not_built(f"season={season!r}", "leave it out")
    if raise_at is None:
        not_built("raise_at=None", "give it in nats")


def _one_of(setting: str, value: object, *known: str) -> None:
    if value not in known:
        raise ConfigError(f"{setting}={value!r} is unknown; use {' or '.join(map(repr, known))}")


def _known_alarm(name: object, kind: str) -> None:
    if not isinstance(name, str) or not is_lent(name):
        _one_of("alarm", name, *OWN)
    elif kind != "numeric":
        raise ConfigError(f"alarm={name.split('(')[0]!r} takes numbers, and kind={kind!r}; use alarm='evidence' for this stream")


def _number(setting: str, value: object, least: float, most: float = 1e300) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ConfigError(f"{setting}={value!r} must be a number of at least {least:g} and at most {most:g}; correct it")


def _whole(setting: str, value: object, least: int, most: int = LARGEST_COUNT) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{setting}={value!r} must be a whole number of at least {least} and at most {most}; correct it")
