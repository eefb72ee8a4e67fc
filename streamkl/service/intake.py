"""Intake: what a subscription took from its feed and has not dealt with, in order, and the feed's position behind what it has.

Rule: what a poll brought stays here until it is dealt with, or its partition is another's: an error on the way loses nothing.
"""

from __future__ import annotations

from collections import deque

from streamkl.service.delivery_telemetry import DeliveryTelemetry
from streamkl.service.incoming import Brought, Incoming
from streamkl.service.ledger import Ledger
from streamkl.service.ports import EventFeed


class Intake:
    """Messages that wait. Whatever asks the feed raises what the feed raises."""

    def __init__(self, feed: EventFeed, telemetry: DeliveryTelemetry) -> None:
        self._feed = feed
        self._telemetry = telemetry
        self._ledger = Ledger()
        self._waiting: deque[Incoming] = deque()
        self._handed: dict[str, Incoming] = {}

    @property
    def name(self) -> str:
        """Where events come from."""
        return self._feed.name

    @property
    def is_ready(self) -> bool:
        """Whether it is known what is ours to read."""
        return self._feed.is_ready

    @property
    def first(self) -> Incoming | None:
        """The message that is next."""
        return self._waiting[0] if self._waiting else None

    @property
    def open(self) -> int:
        """How many messages were taken and hold up a position."""
        return len(self._ledger)

    def take(self, timeout_seconds: float) -> bool:
        """Take what is there; return whether that is anything."""
        brought = self._feed.poll(timeout_seconds)
        self._note(brought)
        for item in brought.items:
            self._ledger.take(item.partition, item.next_offset)
        self._waiting.extend(brought.items)
        return bool(brought.items)

    def keep(self) -> None:
        """Take nothing, and stay what we are."""
        self.settle()
        self._note(self._feed.keep())

    def settle(self) -> None:
        """Store how far everything is dealt with."""
        if moved := self._ledger.moved():
            self._feed.settle(moved)
            self._ledger.settled(moved)

    def done(self, item: Incoming) -> None:
        """A message is dealt with."""
        if self.first is item:
            self._waiting.popleft()
        self._ledger.done(item.partition, item.next_offset)

    def hand_over(self, key: str) -> Incoming:
        """Return the first message, which somebody else deals with now; key: of its event."""
        self._handed[key] = self._waiting.popleft()
        return self._handed[key]

    def is_handed_over(self, key: str) -> bool:
        """Return whether somebody deals with an event at this time."""
        return key in self._handed

    def answered(self, key: str) -> None:
        """Somebody has dealt with an event; nothing happens if it was not handed over."""
        if (item := self._handed.pop(key, None)) is not None:
            self._ledger.done(item.partition, item.next_offset)

    def close(self) -> None:
        """Leave; a second call does nothing."""
        self._feed.close()

    def _note(self, brought: Brought) -> None:
        if brought.gained or brought.lost:
            self._telemetry.rebalanced(brought.gained, brought.lost)
        if brought.replaced:
            self._telemetry.replaced(brought.replaced)
        if lost := set(brought.lost):
            self._ledger.drop(lost)
            self._waiting = deque(item for item in self._waiting if item.partition not in lost)
            self._handed = {key: item for key, item in self._handed.items() if item.partition not in lost}
