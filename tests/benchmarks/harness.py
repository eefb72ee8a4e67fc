"""Harness: one stream through the rule, through the rule's own life with another alarm inside, or through an alarm bare.

Rule 1: wrapped, an alarm has all that the rule has - learning with extension and maturing, stride, criterion, episodes, rebaselining -: the life
is that of a Detector, and only who asks for an alarm differs. So what it does worse than the rule is the alarm's own doing.
Rule 2: it is one way only: how a reference matures still looks at the rule's own evidence, to the benefit of every alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike
from open_data import Stream

from streamkl import Detector
from streamkl.detect.verdict import Verdict
from streamkl.detect.watching import Watching

FIRST_ALARM = 600               # row before which the rule still learns: where luck is looked for


class Run(NamedTuple):
    """Rows at which drift was raised; those at which each episode ended, None: not yet; share of the watched rows with the alarm up."""

    raised: list[int]
    ended: list[int | None]
    up: float = float("nan")

    def luck(self, stream: Stream) -> list[float]:
        """Return for each must-alert point how often a window of the same length before it, outside of any label window, holds an alarm."""
        found = []
        for point, last in stream.must_alert:
            firsts = np.arange(FIRST_ALARM, max(FIRST_ALARM, 2 * point - last))
            lasts = firsts + last - point
            for low, high in (*stream.windows, *stream.must_alert):
                is_free = (lasts < low) | (firsts > high)
                firsts, lasts = firsts[is_free], lasts[is_free]
            if len(firsts):
                holds = np.searchsorted(self.raised, lasts, "right") > np.searchsorted(self.raised, firsts, "left")
                found.append(float(holds.mean()))
        return found


class Alarm(Protocol):
    """What stands in the place of the evidence."""

    def begin(self, watching: Watching, learnt: Sequence[int], row: int) -> None:
        """A reference is new, or an episode has resolved: the next row is `row`. learnt: the rows of the reference, in order."""

    def is_up(self, row: int) -> bool:
        """Return whether drift is to be raised, if the criterion is open; asked once for each watched row, in order."""

    def raised(self) -> None:
        """Drift was raised."""


class Wrapped:
    """One stream in a Detector's life, in which `alarm` asks for an alarm. Without episodes it watches on at once, its wealth reset."""

    def __init__(self, stream: Stream, alarm: Alarm, settings: dict[str, object], has_episodes: bool = True) -> None:
        self._stream, self._alarm, self._has_episodes = stream, alarm, has_episodes
        self._life = Detector(kind=stream.kind, **settings).life
        self._raised: list[int] = []
        self._ended: list[int | None] = []
        self._learnt: list[int] = []            # rows of the reference, then those watched since
        self._up = self._watched = 0

    def run(self) -> Run:
        """Return what comes of it."""
        life = self._life
        for row, x in enumerate(observations(self._stream)):
            verdict = life.step(x)
            if life.watching and not life.episode:
                self._learnt.append(row)
                if verdict <= Verdict.RAISED:   # the rule's own evidence has no say
                    verdict = self._judge(row)
            if verdict:
                self._turn(row, verdict)
        return Run(self._raised, closed(self._raised, self._ended), self._up / max(self._watched, 1))

    def _judge(self, row: int) -> int:
        self._watched += 1
        if not self._alarm.is_up(row):
            return Verdict.QUIET
        self._up += 1
        return Verdict.RAISED if is_open(self._life.watching) else Verdict.QUIET

    def _turn(self, row: int, verdict: int) -> None:
        if verdict == Verdict.RAISED:
            self._raised.append(row)
            self._alarm.raised()
            if not self._has_episodes:
                self._ended.append(row)
                self._life.watching.tracker.begin_episode()
                self._life.watching.tracker.end_episode()
                return
        self._life.turn(verdict)
        if verdict != Verdict.RAISED:
            self._begin(row + 1, verdict)

    def _begin(self, row: int, verdict: int) -> None:
        if len(self._ended) < len(self._raised):
            self._ended.append(row - 1)
        watching = self._life.watching
        m = int(watching.reference.m)
        if verdict in (Verdict.LEARNED, Verdict.REBASELINED):
            self._learnt = list(range(row - m, row))
        elif verdict != Verdict.RESOLVED:       # matured
            self._learnt = self._learnt[-m:]
        self._alarm.begin(watching, self._learnt[:m], row)


def ruled(stream: Stream, settings: dict[str, object]) -> Run:
    """Return what the Detector does."""
    events = Detector(kind=stream.kind, **settings).update_many(stream.values)
    raised = [event.index for event in events if event.kind == "drift.raised"]
    ended = [event.index for event in events if event.kind in ("drift.resolved", "reference.rebaselined")]
    return Run(raised, closed(raised, ended))


def bare(stream: Stream, detector: object) -> Run:
    """Return the detections of a river detector, each of them an alarm; a missing value is skipped."""
    found = []
    for row, x in enumerate(numbers(stream)):
        if x == x:
            detector.update(x)
            if detector.drift_detected:
                found.append(row)
    return Run(found, list(found))


def crossings(is_beyond: ArrayLike) -> Run:
    """Return the alarms of a threshold: raised where it is crossed, ended where it is crossed back."""
    steps = np.diff(np.r_[0, np.asarray(is_beyond, int), 0])
    return Run(np.flatnonzero(steps > 0).tolist(), np.flatnonzero(steps < 0).tolist())


def is_open(watching: Watching) -> bool:
    """Return whether a window of the criterion is full and beyond its limit."""
    return any(gauge["filled"] == gauge["window"] and gauge["value"] > gauge["limit"] for gauge in watching.tracker.gauges())


def closed(raised: list[int], ended: list[int | None]) -> list[int | None]:
    """Return the end of each episode, None for the last one where it is open."""
    return ended + [None] * (len(raised) - len(ended))


def observations(stream: Stream) -> list[object]:
    """Return the observations as Python's own objects, which are taken faster one by one."""
    return stream.values.tolist() if isinstance(stream.values, np.ndarray) else stream.values


def numbers(stream: Stream) -> list[float]:
    """Return a stream for an alarm that knows numbers only: categories are numbered in alphabetical order."""
    if stream.kind == "numeric":
        return observations(stream)
    code = {category: float(i) for i, category in enumerate(sorted(set(stream.values)))}
    return [code[category] for category in stream.values]
