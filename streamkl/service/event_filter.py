"""Event filter: which drift events a subscription is told of.

Rule 1: all that is asked for must hold; what was not asked for holds.
Rule 2: the divergence of an event is the larger of two: of the reporting window, and of the window that raised it, as at an alarm the
reporting window is mostly old. One that is not known is below every number.
Rule 3: the end of an episode, and of what is told of it, has hardly any divergence: a least one is not asked of it, so that whoever was told of
an alarm is told of its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from streamkl import divergence
from streamkl.detect.event import DriftEvent
from streamkl.errors import ConfigError
from streamkl.service.alerts import KINDS

MEASURES: Final = ("kl", "js", "kl_reverse", "psi", "total_variation", "hellinger", "chi_square")
ENDS: Final = frozenset({"drift.resolved", "reference.rebaselined", "stream.silenced", "stream.forgotten"})
SMOOTHING: Final = 0.5


class EventFilter(NamedTuple):
    """streams: globs, one of which the stream matches. kinds: None: all. least: measure -> least value, in nats where it has a unit."""

    streams: tuple[str, ...] = ("*",)
    kinds: frozenset[str] | None = None
    least: Mapping[str, float] = {}
    is_silenced_too: bool = False

    def takes(self, event: DriftEvent) -> bool:
        """Return whether the subscription is told of this event."""
        if event.silenced and not self.is_silenced_too:
            return False
        if self.kinds is not None and event.kind not in self.kinds:
            return False
        if not any(fnmatchcase(event.stream, glob) for glob in self.streams):
            return False
        return event.kind in ENDS or all(magnitude(event, measure) >= least for measure, least in self.least.items())


def event_filter(
    streams: str | Sequence[str] = "*",
    kinds: str | Sequence[str] | None = None,
    min_divergence: float | Mapping[str, float] | None = None,
    is_silenced_too: bool = False,
) -> EventFilter:
    """Return the filter of some settings. min_divergence: of KL in nats, or measure -> least. Raises ConfigError for what can never hold.

    >>> event_filter("payments/*", ["drift.raised"], 0.1).least
    {'kl': 0.1}
    """
    globs = _several(streams)
    if not globs or not all(isinstance(glob, str) and glob for glob in globs):
        raise ConfigError(f"streams={streams!r} names no stream; give globs such as 'payments/*', or '*' for all")
    wanted = None if kinds is None else _several(kinds)
    for kind in wanted or ():
        if kind not in KINDS:
            raise ConfigError(f"kinds: there is no kind {kind!r}; kinds are {', '.join(KINDS)}")
    if wanted is not None and not wanted:
        raise ConfigError("kinds is empty, so that no event would ever come; leave it out for all kinds")
    return EventFilter(globs, None if wanted is None else frozenset(wanted), _least(min_divergence), is_silenced_too)


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return what one text, or several of them, are; what is neither is one that nothing is."""
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)


def magnitude(event: DriftEvent, measure: str) -> float:
    """Return the divergence of an event; NaN where it is not known."""
    told = [event.divergence[measure].value] if measure in event.divergence else []
    farthest = event.farthest
    if farthest is not None and farthest.window_counts:
        told.append(_of_counts(measure, farthest.window_counts, farthest.reference_counts))
    return max((value for value in told if not math.isnan(value)), default=math.nan)


def _of_counts(measure: str, window: Sequence[int], reference: Sequence[float]) -> float:
    return float(getattr(divergence, measure)(window, reference, smoothing=SMOOTHING))


def _least(given: float | Mapping[str, float] | None) -> dict[str, float]:
    if given is None:
        return {}
    by_measure = dict(given) if isinstance(given, Mapping) else {"kl": given}
    for measure, value in by_measure.items():
        if measure not in MEASURES:
            raise ConfigError(f"min_divergence: events have no measure {measure!r}; they have {', '.join(MEASURES)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise ConfigError(f"min_divergence: {measure} must be a number of at least 0, not {value!r}")
    return {measure: float(value) for measure, value in by_measure.items()}
