"""Holding: the partitions that are ours now, each with its shard, and the unit of work that is open for all of them.

Rule 1: a partition that was gained waits until its state is restored; only then records of it are read.
Rule 2: what is lost is dropped: its new owner restores it from what was committed.
Rule 3: so is what was replayed under former settings, once all of it is committed: it is restored under the new ones (`era.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from streamkl.detect.slots import Hit, Slots
from streamkl.errors import StateError
from streamkl.service.entries import SETTINGS_KEY
from streamkl.service.era import era
from streamkl.service.feed import Feed
from streamkl.service.orders import Orders
from streamkl.service.ports import Checkpoint, RecordSource
from streamkl.service.record import Partition
from streamkl.service.restoration import Policy, fill, stock
from streamkl.service.shard import Shard
from streamkl.service.telemetry import Telemetry
from streamkl.service.work import DeadLetter, Reading, UnitOfWork


class Holding:
    """What we hold. clock: seconds, of any beginning."""

    def __init__(
        self, application: str, feeds: Sequence[Feed], source: RecordSource, checkpoint: Checkpoint, telemetry: Telemetry, policy: Policy,
        clock: Callable[[], float],
    ) -> None:
        self._application, self._policy = application, policy
        self._feeds = {topic: [feed for feed in feeds if feed.topic == topic] for topic in {feed.topic for feed in feeds}}
        self._source, self._checkpoint, self._telemetry, self._clock = source, checkpoint, telemetry, clock
        self.slots = Slots()
        self.shards: dict[Partition, Shard] = {}
        self._waiting: dict[Partition, None] = {}
        self._started: set[Partition] = set()       # whose discarding is done with

    @property
    def is_complete(self) -> bool:
        """Whether nothing waits for its state, or for its settings."""
        return not self._waiting and not self.is_repeated

    @property
    def is_repeated(self) -> bool:
        """Whether a partition was replayed under former settings, and is to be committed and restored under the new ones."""
        return any(shard.is_repeated for shard in self.shards.values())

    @property
    def has_changes(self) -> bool:
        """Whether there is something to commit though no record came."""
        return any(shard.changes or shard.telling.told or shard.is_repeated or shard.orders.is_changed for shard in self.shards.values())

    @property
    def events(self) -> int:
        """How many events the open unit of work has."""
        return sum(len(shard.telling.told) for shard in self.shards.values())

    @property
    def streams(self) -> int:
        """How many streams are held."""
        return sum(shard.streams for shard in self.shards.values())

    def rebalance(self, gained: Sequence[Partition], lost: Sequence[Partition]) -> None:
        """Drop what is lost, and let what is gained wait for its state."""
        for partition in lost:
            self._waiting.pop(partition, None)
            if shard := self.shards.pop(partition, None):
                shard.drop()
        self._waiting.update(dict.fromkeys(gained))
        if lost:
            self._telemetry.partitions_lost(lost, self.streams)
        if gained:
            self._telemetry.partitions_gained(gained)

    def drop_all(self) -> None:
        """Nothing since the last commit can be relied on: restore all."""
        for partition, shard in self.shards.items():
            shard.drop()
            self._waiting[partition] = None
        self.shards = {}

    def restore_next(self) -> Partition | None:
        """Restore one of what waits, and begin to read it; return what that was, None: nothing. Raises Unavailable, StateError."""
        partition = next(iter(self._waiting), None)
        if partition is not None:
            self._restore(partition)
        return partition

    def _restore(self, partition: Partition) -> None:
        self._source.pause([partition])
        began = self._clock()
        restored = self._checkpoint.restore(partition)
        policy = Policy(self._policy.is_relearning) if partition in self._started else self._policy
        replay_from, processed, entries = stock(self._application, partition, restored, policy)
        first = self._start(partition, replay_from, policy)
        processed = max(processed, first) if entries.progress is None else processed
        found = era(self._feeds.get(partition.topic, ()), entries.settings, first < processed and self._source.is_replayable)
        stored = None if policy.is_all_discarded else restored.entries.get(SETTINGS_KEY)
        shard = Shard(self._application, partition, found.feeds, self.slots, processed, stored, found.is_former)
        shard.resume(Orders(entries.orders, entries.progress is None))
        for finding in fill(shard, entries, policy):
            self._telemetry.state_relearned(finding.stream, f"{finding.outcome}: {finding.why}")
        if policy.is_all_discarded:
            shard.changes.update(dict.fromkeys(restored.entries))
        shard.begin(first)
        self.shards[partition] = shard
        del self._waiting[partition]
        size = sum(map(len, restored.entries.values()))
        self._telemetry.state_restored(partition, shard.streams, size, first, processed, self._clock() - began)
        if found.is_former:
            self._telemetry.settings_postponed(partition, processed, found.changes)

    def _start(self, partition: Partition, replay_from: int | None, policy: Policy) -> int:
        try:
            return self._source.start(partition, replay_from)
        except StateError:
            if not policy.is_all_discarded:
                raise
            return self._source.start(partition, None)

    def tell(self, hits: Iterable[Hit]) -> None:
        """Take down what learning found, each with its partition."""
        for hit in hits:
            next(shard for shard in self.shards.values() if shard.owns(hit.slot)).telling.tell([hit])

    def unit(self, readings: Sequence[Reading], membership: object) -> UnitOfWork:
        """Return the open unit of work; nothing may be postponed."""
        shards = self.shards
        events = [event for shard in shards.values() for event in shard.telling.in_order()]
        return UnitOfWork(
            replay_from={partition: shard.replay_from for partition, shard in shards.items()},
            changes={partition: shard.finish_changes() for partition, shard in shards.items()},
            events=events, dead_letters=list(self._dead_letters()), readings=readings, membership=membership,
        )

    def committed(self, unit: UnitOfWork) -> Mapping[str, int]:
        """The unit stands: begin the next one. Return how many dead letters it had for each reason."""
        self._started.update(self.shards)
        for shard in self.shards.values():
            shard.committed()
        for partition in [partition for partition, shard in self.shards.items() if shard.is_repeated and shard.replay_from == shard.processed]:
            self.shards.pop(partition).drop()
            self._waiting[partition] = None
        for event in unit.events:
            self._telemetry.event_published(event)
        return Counter(letter.reason for letter in unit.dead_letters)

    def _dead_letters(self) -> Iterator[DeadLetter]:
        """Yield each record that could not be used once, though two feeds may have refused it."""
        for shard in self.shards.values():
            yield from {refused.offset: refused.letter for refused in sorted(shard.refused, key=lambda refused: refused.offset)}.values()
