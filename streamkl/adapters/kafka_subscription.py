"""Kafka subscription: the drift events of a topic, of committed transactions alone, as one member of a consumer group.

Rule 1: positions are the group's offsets, committed by hand for what is dealt with, and for nothing that is not.
Rule 2: a rebalance arrives as data. What was brought of a lost partition is dropped, and comes to its new owner from the committed offset.
Rule 3: an offset that retention has taken is an error with its remedy; no position is ever reset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any, Literal

from streamkl.adapters.kafka_source import KafkaSource
from streamkl.errors import StateError
from streamkl.service.incoming import Brought, Incoming, of_message
from streamkl.service.record import Partition

POLL_EVENTS = 500
SESSION_SECONDS = 10.0
"""So long events wait after a member was killed; its main thread is never busy, and sends heartbeats whatever the corrector does."""
MAX_POLL_SECONDS = 300.0
KEEP_SECONDS = 0.02
"""So long a poll that brings nothing waits: a group that is being settled needs it for a moment."""


class KafkaFeed:
    """Brings the events of a topic; meets `service.ports.EventFeed`. settings: of `client_settings`. start_at: where a new group begins.

    instance: name of this process in its group, which no other has: when it starts anew it takes the place of the one that was killed at once.
    """

    def __init__(
        self, settings: Mapping[str, Any], topic: str, group: str, *, start_at: Literal["earliest", "latest"] = "earliest",
        instance: str = "", session_timeout_seconds: float = SESSION_SECONDS, max_poll_interval_seconds: float = MAX_POLL_SECONDS,
    ) -> None:  # fmt: skip
        self.name = f"{','.join(settings['bootstrap_servers'])}/{topic}"
        self.is_ready = False
        self._source = KafkaSource(
            settings, [topic], group, instance=instance, start_at=start_at, poll_records_max=POLL_EVENTS,
            session_timeout_seconds=session_timeout_seconds, max_poll_interval_seconds=max_poll_interval_seconds,
        )  # fmt: skip
        where = f"--bootstrap-server {','.join(settings['bootstrap_servers'])}"
        self._remedy = f"kafka-consumer-groups {where} --group {group} --topic {topic} --reset-offsets --to-earliest --execute"
        self._held: set[Partition] = set()
        self._new: list[Partition] = []         # gained, and not begun yet
        self._owed: dict[Partition, int] = {}   # dealt with, and not committed yet
        self._ahead: list[Incoming] = []        # came although paused
        self._is_paused = False

    def poll(self, timeout_seconds: float) -> Brought:
        """See `EventFeed.poll`."""
        until = monotonic() + timeout_seconds
        self._commit()
        if self._is_paused:
            self._source.resume(sorted(self._held))
            self._is_paused = False
        gained: list[Partition] = []
        lost: list[Partition] = []
        items, self._ahead = self._ahead, []
        while not items:
            self._begin()
            items = self._polled(max(0.0, until - monotonic()), gained, lost)
            if lost or (not self._new and monotonic() >= until):
                break
        return Brought(items, gained, lost)

    def keep(self) -> Brought:
        """See `EventFeed.keep`."""
        self._commit()
        if not self._is_paused:
            self._source.pause(sorted(self._held))
            self._is_paused = True
        gained: list[Partition] = []
        lost: list[Partition] = []
        self._ahead += self._polled(KEEP_SECONDS, gained, lost)
        return Brought((), gained, lost)

    def settle(self, positions: Mapping[Partition, int]) -> None:
        """See `EventFeed.settle`."""
        self._owed |= {partition: offset for partition, offset in positions.items() if partition in self._held}
        self._commit()

    def close(self) -> None:
        """Leave the group."""
        self._source.close()

    def _commit(self) -> None:
        """Commit what is owed; while the group is being settled it stays owed."""
        if self._owed and self._source.commit(self._owed):
            self._owed = {}

    def _polled(self, timeout_seconds: float, gained: list[Partition], lost: list[Partition]) -> list[Incoming]:
        with self._remedied():
            arrivals = self._source.poll(timeout_seconds)
        self._held -= set(arrivals.lost)
        self._owed = {partition: offset for partition, offset in self._owed.items() if partition in self._held}
        self._ahead = [item for item in self._ahead if item.partition in self._held]
        self._new = [partition for partition in self._new if partition not in arrivals.lost] + list(arrivals.gained)
        self.is_ready = self.is_ready or bool(arrivals.gained)
        gained += arrivals.gained
        lost += arrivals.lost
        return [of_message(record, record.offset + 1) for run in arrivals.runs for record in run.records]

    def _begin(self) -> None:
        """Read what was gained, from the group's offset on."""
        while self._new:
            partition = self._new[0]
            with self._remedied():
                self._source.start(partition, self._source.committed(partition))
            self._held.add(partition)
            self._new.pop(0)

    @contextmanager
    def _remedied(self) -> Iterator[None]:
        """Say what helps where an offset is not in the log."""
        try:
            yield
        except StateError as error:
            what = str(error).partition(";")[0]
            raise StateError(f"{what}; drift events may be lost: to go on with what is there, stop the group and run: {self._remedy}") from error
