"""Kafka rebalances: what the group gives us and takes from us, kept for the next poll of the source.

Rule: a listener runs on the client's own thread: it notes and pauses, and does nothing else.

Assignment is sticky, by the eager protocol: the client then takes all partitions away and gives most of them back in the same breath. Nobody else
had those, so they were never lost: positions stay, no state is dropped, and only what moved is told. The cooperative protocol of the library (3.0.12)
says the same in two rounds, but not of which generation a claim is: after one member was silent for too long, partitions stay without an owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition

ASSIGNMENT_SECONDS = 0.005


class Holdings:
    """What is held, from the client's thread to ours. A listener only runs while a poll waits for it, so there is no lock."""

    def __init__(self) -> None:
        self._held: set[TopicPartition] = set()
        self._told: set[TopicPartition] = set()
        self._dropped: set[TopicPartition] = set()

    def hold(self, places: set[TopicPartition]) -> set[TopicPartition]:
        """Hold these and no others; return those that were not held before."""
        before, self._held = self._held, set(places)
        self._dropped |= before - places
        return places - before

    def changes(self) -> tuple[set[TopicPartition], set[TopicPartition]]:
        """Return what was gained and lost since the last time; what was lost and gained again is both."""
        lost = self._dropped & self._told
        gained = self._held - (self._told - lost)
        self._told, self._dropped = set(self._held), set()
        return gained, lost


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """Notes what is held; what is gained waits, paused, at offset 0, which is never read: `start` says where to begin."""

    def __init__(self, consumer: Any, holdings: Holdings) -> None:
        self._consumer = consumer
        self._holdings = holdings

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        for place in self._holdings.hold(set(assigned)):
            self._consumer.pause(place)
            self._consumer.seek(place, 0)

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Nothing is lost yet: an assignment follows, and only after it somebody else can have these."""

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        """The group went on without us: somebody else may have had these meanwhile, even if we get them back."""
        self._holdings.hold(set())


class SteadyJoin:
    """Mends how the library (3.0.12) joins a group when a poll ends before it has joined; without this, members stall.

    A join that ends between two polls is thrown away, and another begins: members that work between their polls take turns in that for ever.
    So it waits for a poll. And one that began because partitions were added is forgotten: the member holds its partitions, reads nothing, sends
    no heartbeat. So it is asked for again.
    """

    def __init__(self, consumer: Any) -> None:
        self._coordinator = consumer._coordinator
        self._is_polled = False
        join = self._coordinator._do_join_and_sync_async

        async def join_and_wait() -> Any:
            assignment = await join()
            while not self._is_polled and not consumer._closed:
                await consumer._net.sleep(ASSIGNMENT_SECONDS)
            return assignment

        self._coordinator._do_join_and_sync_async = join_and_wait

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Say that a poll is there to take an assignment."""
        if self._coordinator.rejoining:
            self._coordinator.request_rejoin()
        self._is_polled = True
        try:
            yield
        finally:
            self._is_polled = False
