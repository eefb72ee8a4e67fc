"""Subscription: the loop that brings drift events to a corrector, each at least once, in order, and keeps in mind what it dealt with.

poll -> understand -> filter -> leave out repeats -> deliver, with retries -> keep in mind, or bury -> settle the position

Rule 1: an event is dealt with when the store says so; only then may a position pass it. So a crash anywhere repeats at most what was on its way.
Rule 2: one event at a time, in the order of the feed: the next one of a stream never overtakes one that fails. Retries are bounded, so that a
failing event holds up others only for so long; then it is a dead letter.
Rule 3: while an event is on its way the feed is kept alive, whatever the corrector does; detection is another process, which sees nothing of it.
Rule 4: it belongs to one thread at a time; `stop` alone may be called from any, and from a signal handler.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from time import monotonic
from typing import Final

from streamkl.detect.event import DriftEvent
from streamkl.errors import ConfigError, StreamklError, Unavailable
from streamkl.service.delivery import Delivery, News
from streamkl.service.delivery_telemetry import DeliveryTelemetry
from streamkl.service.event_filter import EventFilter
from streamkl.service.incoming import Incoming, Undelivered, key_of
from streamkl.service.intake import Intake
from streamkl.service.ports import DeadLetters, DeliveryStore, EventFeed

SLICE_SECONDS: Final = 0.2          # in which a stop is heard, and the feed kept
READY_SECONDS: Final = 15.0
STOP_SECONDS: Final = 10.0
FIRST_RETRY_SECONDS: Final = 0.5
LONGEST_RETRY_SECONDS: Final = 5.0
MOST_IN_A_TURN: Final = 10_000
MOST_UNANSWERED: Final = 10_000


class Subscription:
    """A named reader of drift events. delivery: to the corrector; None: whoever polls acknowledges. What it is given is closed with it.

    clock: seconds since the epoch, for dead letters.
    """

    def __init__(
        self, name: str, feed: EventFeed, store: DeliveryStore, letters: DeadLetters, wanted: EventFilter, delivery: Delivery | None,
        telemetry: DeliveryTelemetry, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.name = name
        self._intake = Intake(feed, telemetry)
        self._store = store
        self._letters = letters
        self._wanted = wanted
        self._delivery = delivery
        self._telemetry = telemetry
        self._clock = clock
        self._unrecorded: tuple[Incoming, News] | None = None
        self._is_stopped = self._is_closed = self._has_started = False

    # ------------------------------------------------------------ by hand

    def poll(self, timeout_seconds: float = 1.0) -> list[DriftEvent]:
        """Return events that are there now and were not returned before, in order per stream; wait at most so long for the first.

        Each is to be acknowledged by `ack`; what is not comes again in the next life. While 10,000 messages are not, no more are taken.
        Raises Unavailable where events, store or dead letters cannot be reached: call it again.
        """
        self._begin()
        self._intake.settle()
        if self._intake.first is None and self._intake.open >= MOST_UNANSWERED:
            self._intake.keep()
            self._wait(timeout_seconds)
        elif self._intake.first is None:
            self._intake.take(timeout_seconds)
        found: list[DriftEvent] = []
        while (item := self._head(is_raising=not found)) is not None:
            event = _event(item)
            self._intake.hand_over(key_of(event))
            found.append(event)
        return found

    def ack(self, event: DriftEvent) -> None:
        """Say that an event is dealt with, so that it does not come again; a second time does nothing. Raises Unavailable: say it again."""
        key = key_of(event)
        if not self._intake.is_handed_over(key) and self._store.knows(key):
            return
        self._store.done(key)
        self._telemetry.acknowledged(event)
        self._intake.answered(key)

    # ------------------------------------------------------------ by a corrector

    def run_once(self, timeout_seconds: float = 1.0) -> int:
        """Deliver what is there now, and return how many events were dealt with: delivered, or made dead letters.

        timeout_seconds: so long the first event is waited for, besides what a group takes to say what is ours. Raises Unavailable: call it again.
        """
        if self._delivery is None:
            raise ConfigError("this subscription has no corrector; give one, or use poll() and ack()")
        self._begin()
        dealt = self._finished()
        self._intake.settle()
        self._get_ready()
        wait_seconds = timeout_seconds
        while not self._is_stopped and dealt < MOST_IN_A_TURN and (self._intake.first is not None or self._intake.take(wait_seconds)):
            wait_seconds = 0.0
            while not self._is_stopped and (item := self._head()) is not None:
                dealt += self._deliver(item)
            self._intake.settle()
        return dealt

    def run(self) -> None:
        """Deliver until `stop`. What is away is waited for; raises ConfigError and StateError, which waiting does not mend."""
        pause = FIRST_RETRY_SECONDS
        try:
            while not self._is_stopped:
                try:
                    self.run_once(SLICE_SECONDS)
                    pause = FIRST_RETRY_SECONDS
                except Unavailable as error:
                    self._telemetry.unavailable(str(error), pause)
                    self._wait(pause)
                    pause = min(2 * pause, LONGEST_RETRY_SECONDS)
        except StreamklError as error:
            self._telemetry.failed(str(error))
            raise

    def stop(self) -> None:
        """Let `run` and `run_once` end within about a second - where the corrector is at work, when it returns, or after 10 seconds."""
        self._is_stopped = True

    def close(self) -> None:
        """Store the position and let go of everything; a second call does nothing. Never raises for what is away."""
        if self._is_closed:
            return
        self._is_closed = True
        faults = self._closed(self._intake.settle)
        if self._delivery is not None:
            self._delivery.close()
        for part in (self._intake, self._letters, self._store):
            faults += self._closed(part.close)
        if self._has_started:
            left = self._intake.open
            said = f"{left} messages were taken and come again" if left else "all that was taken is dealt with"
            self._telemetry.stopped("; ".join(faults) or said)

    # ------------------------------------------------------------ the steps

    def _begin(self) -> None:
        if self._is_closed:
            raise ConfigError(f"the subscription {self.name} is closed; make a new one")
        if not self._has_started:
            self._has_started = True
            self._telemetry.started(self._intake.name, self._store.name)

    def _get_ready(self) -> None:
        """Wait until it is known what is ours to read."""
        until = monotonic() + READY_SECONDS
        while not (self._intake.is_ready or self._is_stopped or self._intake.first) and monotonic() < until:
            self._intake.take(SLICE_SECONDS)

    def _head(self, is_raising: bool = True) -> Incoming | None:
        """Return the first event that waits to be delivered; what stands before it is dealt with. is_raising: else None where something is away."""
        try:
            while (item := self._intake.first) is not None:
                if self._is_new(item):
                    return item
                self._intake.done(item)
        except Unavailable:
            if is_raising:
                raise
        return None

    def _is_new(self, item: Incoming) -> bool:
        """Return whether a message is an event to be delivered; what becomes of others is told."""
        event = item.event
        if event is None:
            if item.fault is None:
                self._telemetry.foreign(item.partition, item.record.offset)
            else:
                self._bury(item, item.fault, None)
        elif not self._wanted.takes(event):
            self._telemetry.filtered(event)
        elif self._intake.is_handed_over(key := key_of(event)) or self._store.knows(key):
            self._telemetry.repeated(event)
        else:
            return True
        return False

    def _deliver(self, item: Incoming) -> int:
        """Deliver the first event; return how many were dealt with: 0 where it was given up."""
        news = self._delivered(item)
        if news is None:
            self._telemetry.given_up(_event(item), "a stop was asked for" if self._is_stopped else "its partition is another's now")
            return 0
        self._unrecorded = item, news
        return self._finished()

    def _finished(self) -> int:
        """Record what became of the last delivery, which may have been impossible before; return how many that were."""
        if self._unrecorded is None:
            return 0
        item, news = self._unrecorded
        event, is_delivered = _event(item), news.kind == "delivered"
        if not is_delivered:
            if self._intake.first is not item:          # its partition is another's, who tries it himself
                self._unrecorded = None
                return 0
            self._bury(item, news.reason, news)
        self._store.done(key_of(event))
        if is_delivered:
            self._telemetry.delivered(event, news)
        self._unrecorded = None
        self._intake.done(item)
        return 1

    def _bury(self, item: Incoming, reason: str, news: News | None) -> None:
        letter = Undelivered(item, self.name, reason, news.attempts if news else 0, round(self._clock() * 1000))
        place, advice = self._letters.bury(letter)
        self._telemetry.buried(letter, news, place, advice)

    def _delivered(self, item: Incoming) -> News | None:
        """Return how the delivery of an event ended, None: it was given up, as it is not ours any more or a stop was heard."""
        assert self._delivery is not None
        event, last = _event(item), None
        self._delivery.begin(event)
        try:
            while last is None or last.kind == "failed":
                last = self._delivery.news(SLICE_SECONDS)
                if last is None:
                    self._keep()
                elif last.kind == "failed":
                    self._telemetry.attempt_failed(event, last)
                if (last is None or last.kind == "failed") and (self._is_stopped or self._intake.first is not item):
                    last = self._last_news()
                    break
        finally:
            self._delivery.leave()                      # of something that ended by an error here, or is given up; else it does nothing
        return None if last is None or last.kind == "given_up" else last

    def _last_news(self) -> News | None:
        """Let no further attempt begin, and return how the one that runs ends, None: none runs, or it took too long."""
        assert self._delivery is not None
        self._delivery.give_up()
        until = monotonic() + STOP_SECONDS
        while monotonic() < until:
            news = self._delivery.news(SLICE_SECONDS)
            if news is None:
                if not self._delivery.is_running:
                    return None
                self._keep()
            elif news.kind != "failed":
                return news
        return None

    def _keep(self) -> None:
        """Stay in the group while something else is done; what is away is told, and tried again by the next call."""
        try:
            self._intake.keep()
        except Unavailable as error:
            self._telemetry.unavailable(str(error), SLICE_SECONDS)

    def _wait(self, seconds: float) -> None:
        until = monotonic() + seconds
        while not self._is_stopped and (left := until - monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))
            if self._intake.first is not None:
                self._keep()

    def _closed(self, close: Callable[[], None]) -> list[str]:
        """Return why something could not be closed in order."""
        try:
            close()
        except StreamklError as error:
            return [str(error)]
        return []


def _event(item: Incoming) -> DriftEvent:
    assert item.event is not None
    return item.event
