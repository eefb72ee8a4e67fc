"""Slots: detectors of many streams, which take their observations from one native loop.

Rule 1: an event is what the stream's own detector would have returned; streams do not see each other.
Rule 2: learning may be postponed: the stream then holds what comes, and goes on with it once it has learnt. What it finds does not change.
Rule 3: a detector is read through `detector`, which first brings it up to date.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamkl.detect.detector import Detector
from streamkl.detect.event import DriftEvent
from streamkl.detect.event_time import NO_TIME
from streamkl.detect.kernel import Fleet, Tracker
from streamkl.detect.life import Life
from streamkl.detect.maturing import Maturing
from streamkl.detect.verdict import Verdict

LEARNS = frozenset((Verdict.LEARNED, Verdict.REBASELINED, Verdict.MATURED))
Times = npt.NDArray[np.int64]


class Hit(NamedTuple):
    """An event, and the slot of its stream."""

    slot: int
    event: DriftEvent


class Held:
    """A stream that is due to learn: what made it due, and what came since."""

    __slots__ = ("at", "position", "positions", "times", "values", "verdict")

    def __init__(self, verdict: int, at: int, position: int) -> None:
        self.verdict, self.at, self.position = verdict, at, position
        self.values: list[object] = []
        self.times: list[int] = []
        self.positions: list[int] = []


class Slots:
    """Detectors in numbered slots.

    >>> slots = Slots()
    >>> first = slots.add([Detector(reference=[i % 10 for i in range(1000)]) for _ in range(2)])
    >>> places = np.arange(400)
    >>> hits = slots.take(first + places % 2, np.full(400, 5.0), np.full(400, NO_TIME), places)
    >>> [(hit.slot, hit.event.kind) for hit in hits]
    [(0, 'drift.raised'), (1, 'drift.raised')]
    """

    def __init__(self) -> None:
        self._fleet = Fleet()
        self._detectors: list[Detector | None] = []
        self._free: dict[int, list[int]] = {}       # how many in a row -> the first of each
        self._held: OrderedDict[int, Held] = OrderedDict()

    def add(self, detectors: Sequence[Detector]) -> int:
        """Give detectors slots in a row; return the first. A detector is the slots' own from now on."""
        count = len(detectors)
        if free := self._free.get(count):
            first = free.pop()
        else:
            first = self._fleet.grow(count)
            self._detectors += [None] * count
        for slot, detector in enumerate(detectors, start=first):
            self._detectors[slot] = detector
            self._follow(slot)
        return first

    def discard(self, first: int, count: int) -> None:
        """Forget what so many slots in a row hold; they are given to others."""
        for slot in range(first, first + count):
            self._fleet.empty(slot)
            self._detectors[slot] = None
            self._held.pop(slot, None)
        self._free.setdefault(count, []).append(first)

    def detector(self, slot: int) -> Detector:
        """Return the detector of a slot, up to date unless it is held; it must be read only. Raises RuntimeError while another thread updates."""
        detector = self._detectors[slot]
        if detector is None:
            raise IndexError(f"slot {slot} is empty")
        tape = self._fleet.tape(slot)               # asked for in any case: it is refused while another thread updates
        if (maturing := _taping(detector.life)) and slot not in self._held:
            maturing.absorb(np.frombuffer(tape))
            self._fleet.make_room(slot, maturing.room)
        return detector

    def take(
        self, slots: npt.NDArray[np.int64], values: npt.NDArray[np.float64] | list[object], times: Times, positions: Times,
        is_postponing: bool = False,
    ) -> list[Hit]:
        """Take observations, slots[i] the slot of values[i]; return what they caused, in order.

        values: numbers as an array, or a list of whatever `Detector.update` takes (streams of numbers take arrays only). times: ms UTC, or
        NO_TIME. positions: told in the events. is_postponing: a stream that is due to learn does so in `learn`. Raises IndexError, ValueError
        and (in the middle) TypeError.
        """
        hits: list[tuple[int, Hit]] = []
        held: list[int] = []
        order = np.arange(len(slots))
        if not isinstance(values, list):
            self._fleet.order(slots, order)         # stream by stream: what one stream needs of memory is fetched once
        at, end = 0, len(slots)
        while at < end:
            if isinstance(values, list):
                at, verdict = self._fleet.take_objects(slots, values, at, held)
            else:
                at, verdict = self._fleet.take(slots, values, order, at, held)
            if verdict:
                i = int(order[at - 1])
                event = self._turn(int(slots[i]), verdict, int(times[i]), int(positions[i]), is_postponing)
                if event:
                    hits.append((i, Hit(int(slots[i]), event)))
        for j in held:
            self._hold(self._held[int(slots[j])], values[j], int(times[j]), int(positions[j]))
        return [hit for _, hit in sorted(hits, key=itemgetter(0))]

    @property
    def held(self) -> int:
        """How many streams wait for their learning."""
        return len(self._held)

    def is_held(self, first: int, count: int) -> bool:
        """Return whether one of so many slots in a row waits for its learning."""
        return bool(self._held) and any(slot in self._held for slot in range(first, first + count))

    def learn(self) -> list[Hit]:
        """Let the stream learn that has waited longest, and go on with what it held; return what came of it."""
        return self.learn_of(next(iter(self._held))) if self._held else []

    def learn_of(self, slot: int) -> list[Hit]:
        """The same for one stream; [] where it does not wait."""
        held, detector = self._held.pop(slot, None), self._detectors[slot]
        if held is None or detector is None:
            return []
        hits = [Hit(slot, event) for event in _caught_up(detector, held)]
        self._follow(slot)
        return hits

    def rebaseline(self, slot: int, reason: str = "", by: str = "") -> DriftEvent | None:
        """See `Detector.rebaseline`; not while the stream waits to learn."""
        event = self.detector(slot).rebaseline(reason, by)
        self._follow(slot)
        return event

    def undo_rebaseline(self, slot: int, reason: str = "", by: str = "") -> DriftEvent | None:
        """See `Detector.undo_rebaseline`; not while the stream waits to learn."""
        event = self.detector(slot).undo_rebaseline(reason, by)
        self._follow(slot)
        return event

    def replace(self, slot: int, detector: Detector) -> None:
        """Give the slot to another detector of the same kind of values; not while the stream waits to learn."""
        self._fleet.empty(slot)
        self._detectors[slot] = detector
        self._follow(slot)

    def _turn(self, slot: int, verdict: int, time: int, position: int, is_postponing: bool) -> DriftEvent | None:
        detector = self._detectors[slot]
        assert detector is not None
        life = detector.life
        if maturing := _taping(life):
            maturing.absorb(np.frombuffer(self._fleet.tape(slot)))
            verdict = maturing.look() if verdict == Verdict.TAPE_DUE else verdict
            if not verdict:
                self._fleet.make_room(slot, maturing.room)
                return None
        if is_postponing and verdict in LEARNS:
            self._held[slot] = Held(verdict, time, position)
            self._fleet.hold(slot)
            return None
        event = life.turn(verdict, None if time == NO_TIME else time, position)
        self._follow(slot)
        return event

    def _hold(self, held: Held, value: object, time: int, position: int) -> None:
        held.values.append(value)
        held.times.append(time)
        held.positions.append(position)

    def _follow(self, slot: int) -> None:
        """Let the fleet take the slot's observations the way its phase wants them."""
        detector = self._detectors[slot]
        assert detector is not None
        life = detector.life
        tracker = life.watching.tracker if life.watching and life.is_numeric and not life.episode else None
        if isinstance(tracker, Tracker):
            self._fleet.track(slot, tracker, life.maturing.room if life.maturing else 0)
        else:
            self._fleet.follow(slot, life.step)


def _taping(life: Life) -> Maturing | None:
    """Return the phase that takes over what the fleet keeps on the tape; None where it keeps nothing."""
    return life.maturing if life.is_numeric and not life.episode else None


def _caught_up(detector: Detector, held: Held) -> list[DriftEvent]:
    """Let a detector learn and take what it held; return what came of it."""
    first = detector.life.turn(held.verdict, None if held.at == NO_TIME else held.at, held.position)
    later = detector.update_many(held.values, at=held.times)
    return [first, *(replace(event, position=held.positions[event.position or 0]) for event in later)]
