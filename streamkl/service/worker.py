"""Worker: the loop. Records in, drift events out, one unit of work after the other.

Rule 1: what was taken since the last commit stands with the next one, or not at all: where a commit fails everything is restored.
Rule 2: a unit of work is committed only when no stream waits to learn; meanwhile reading is paused, and polls go on.
Rule 3: no event, no state depends on the clock: it says only when to commit, to learn and to look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from streamkl.detect.kernel.tracker import held_bytes
from streamkl.errors import RecordError, StreamklError, Unavailable
from streamkl.service.control import Control
from streamkl.service.holding import Holding
from streamkl.service.pace import Pace
from streamkl.service.ports import Checkpoint, RecordSource
from streamkl.service.readings import Readings
from streamkl.service.record import Arrivals, Partition, Run
from streamkl.service.shard import Shard
from streamkl.service.stages import Stages
from streamkl.service.telemetry import Telemetry
from streamkl.service.thrift import Thrift
from streamkl.service.watchdog import Watchdog
from streamkl.service.work import UnitOfWork

FIRST_RETRY_SECONDS: Final = 0.5
LEARNING_PART: Final = 0.6              # of the time to shut down, at most; the rest is for commits
THAWING_SLICE: Final = 100
SLICE_BYTES: Final = 4 << 20            # of sketches that one commit of the end saves


class Worker:
    """Runs until it is stopped, or the source ends. turned_at, is_ready: for whoever asks whether it lives.

    has_lost: the last commit failed, in a rebalance or an outage, and what it held is not restored yet: it comes again to whoever is next.
    """

    def __init__(
        self, source: RecordSource, checkpoint: Checkpoint, holding: Holding, telemetry: Telemetry, pace: Pace,
        clock: Callable[[], float] = time.monotonic, control: Control | None = None,
    ) -> None:
        self._source, self._checkpoint, self._holding, self._telemetry, self._pace, self._clock = source, checkpoint, holding, telemetry, pace, clock
        self._stages, self._control = Stages(telemetry, clock), control
        share = pace.state_share if source.is_replayable else float("inf")
        self._thrift = Thrift(share, pace.replay_records, pace.save_after_records, pace.replay_seconds, clock)
        self._readings = Readings(holding, pace.readings_every_seconds, clock)
        self._watchdog = Watchdog(source, telemetry, pace.stall_seconds, pace.lag_every_seconds, clock)
        self._stop = threading.Event()
        self._membership: object = None
        self._records, self._state_bytes, self._output_bytes, self._committed_at = 0, 0, 0, clock()
        self._paused_from = clock()
        self._commits = 0
        self.has_lost = False                          # what was taken did not stand, and is not restored yet
        self._restored: set[Partition] = set()          # of which no record was taken since
        self._is_paused = self._is_ended = self._is_settled = False
        self._bad: RecordError | None = None
        self.turned_at = clock()
        self.is_ready = False

    def stop(self) -> None:
        """Finish the unit of work and end; may be called from a signal handler or another thread."""
        self._stop.set()

    def run(self) -> None:
        """Run to the end. Raises StateError, ConfigError, RecordError (on_bad_record: stop), Unavailable where the end could not be committed."""
        retry = FIRST_RETRY_SECONDS
        while not (self._stop.is_set() or self._is_ended or self._bad):
            try:
                commits = self._commits
                self._turn()
                retry = FIRST_RETRY_SECONDS if self._commits > commits else retry
            except Unavailable as error:
                self.is_ready = False
                self._telemetry.unavailable("source or state", str(error), retry)
                self._stop.wait(retry)
                retry = min(2 * retry, self._pace.longest_retry_seconds)
        self._finish()
        if self._bad:
            raise self._bad

    def _turn(self) -> None:
        """One turn: what is there is taken, some streams learn, some sketches are saved, and what is due is committed."""
        self.turned_at = self._clock()
        with self._stages.of("poll"):
            is_busy = self._holding.slots.held or not self._holding.is_complete
            arrivals = self._source.poll(0.0 if is_busy else self._pace.poll_seconds)
        self._rebalance(arrivals)
        with self._stages.of("detect"):
            for run in arrivals.runs:
                self._take(run)
        self._is_ended = arrivals.is_end and self._holding.is_complete and not self._holding.slots.held
        self._restore()                     # after the records are taken: what it raises must not lose them
        self._command()
        self._learn(self._clock() + self._pace.learning_seconds)
        self._paused_from, is_due = self._clock(), self._is_commit_due()
        if is_due or self._source.is_replayable:        # of a pipe everything is saved with each commit, and only then
            with self._stages.of("snapshot"):
                self._save()
        if is_due:
            self._commit_or_pause()
        self._readings.gather()
        self._watchdog.look(self._holding.shards, self._is_paused)
        self._stages.tell()
        self.is_ready = self._holding.is_complete and self._is_settled
        self.has_lost = self.has_lost and not self._holding.is_complete       # what is restored is taken again, or is another's

    def _rebalance(self, arrivals: Arrivals) -> None:
        if arrivals.membership is not None:
            self._membership = arrivals.membership
        if arrivals.gained or arrivals.lost or arrivals.runs or arrivals.membership is not None:
            self._is_settled = True                     # the group has told us what is ours
        if arrivals.gained or arrivals.lost:
            self._holding.rebalance(arrivals.gained, arrivals.lost)
            self._watchdog.forget(arrivals.lost)
            for partition in arrivals.lost:
                self._thrift.forget(partition)

    def _restore(self) -> None:
        """Restore one partition of those that were gained, so that polls go on; it is read from where its state ends."""
        if self._holding.is_complete:
            return
        self.is_ready = False
        with self._stages.of("restore"):
            partition = self._holding.restore_next()
        if partition is None:
            return
        self._restored.add(partition)
        self._thrift.forget(partition)
        if self._is_paused:
            self._source.pause([partition])

    def _take(self, run: Run) -> None:
        """Take a run; after a restore in slices, as the first record of each row thaws it: so that records move from the start."""
        shard = self._holding.shards.get(run.partition)
        if shard is None:
            return
        records = shard.due(run.records)
        if self._pace.on_bad_record == "stop" and (bad := shard.first_refused(records)) is not None:
            self._bad = _stopped(run, bad)
            records = records[:bad]
        size = THAWING_SLICE if run.partition in self._restored else max(len(records), 1)
        for start in range(0, len(records), size):
            self._take_slice(shard, Run(run.partition, records[start:start + size]))
            self.turned_at = self._clock()
        self._restored.discard(run.partition)
        if shard.is_repeated:
            self._source.pause([run.partition])

    def _take_slice(self, shard: Shard, run: Run) -> None:
        before, size = len(shard.refused), sum(len(record.value or b"") for record in run.records)
        shard.take(run.records, self._telemetry.values_refused)
        self._telemetry.records_taken(run.partition, len(run.records), size)
        self._records += len(run.records)
        self._thrift.earn(run.partition, size, shard.next_offset, run.records[-1].timestamp)
        self._watchdog.moved(run.partition)
        for evicted in shard.evicted:
            self._telemetry.streams_evicted(run.partition, evicted.streams, evicted.idle_offsets)
        shard.evicted = []
        if len(shard.refused) > before:
            self._refuse(run, before)

    def _refuse(self, run: Run, before: int) -> None:
        shard = self._holding.shards[run.partition]
        reasons: dict[str, list[int]] = {}
        for offset, letter in {refused.offset: refused.letter for refused in shard.refused[before:]}.items():
            reasons.setdefault(letter.reason, []).append(offset)
        for reason, offsets in reasons.items():
            self._telemetry.records_refused(run.partition, reason, len(offsets), offsets[0])
        if self._pace.on_bad_record == "skip":
            del shard.refused[before:]
        self._output_bytes += sum(len(refused.letter.record.value or b"") for refused in shard.refused[before:])

    def _command(self) -> None:
        """Carry out commands, for as long as streams may learn; the source has not ended before all are."""
        if self._control is not None:
            self._state_bytes += self._control.turn(self._clock() + self._pace.learning_seconds, self._is_ended)
            self._is_ended = self._is_ended and not self._control.is_busy

    def _learn(self, until: float) -> None:
        """Let streams learn that wait for it, one at least, until the time is up."""
        slots = self._holding.slots
        if slots.held:
            with self._stages.of("learn"):
                self._holding.tell(slots.learn())
                while slots.held and self._clock() < until:
                    self._holding.tell(slots.learn())
            self._telemetry.learning_postponed(slots.held)

    def _save(self) -> None:
        for partition, shard in self._holding.shards.items():
            self._state_bytes += self._thrift.save(partition, shard)

    def _is_commit_due(self) -> bool:
        return (
            self._is_ended or self._bad is not None or self._holding.is_repeated or self._records >= self._pace.commit_every_records
            or self._state_bytes >= self._pace.commit_every_state_bytes or self._holding.events >= self._pace.commit_every_events
            or self._output_bytes >= self._pace.commit_every_output_bytes
            or self._clock() - self._committed_at >= self._pace.commit_every_seconds
        )

    def _commit_or_pause(self) -> None:
        if self._holding.slots.held:
            if not self._is_paused:
                self._source.pause(list(self._holding.shards))
                self._is_paused = True
            return
        self._commit()
        if self._is_paused:
            self._is_paused = False
            self._source.resume(list(self._holding.shards))

    def _commit(self) -> None:
        readings = self._readings.ready()
        if not (self._records or readings or self._holding.has_changes):
            self._committed_at = self._clock()
            return
        with self._stages.of("commit"):
            unit = self._holding.unit(readings, self._membership)
            self._stand(unit)
        self._commits += 1
        letters = self._holding.committed(unit)
        self._readings.committed(unit.readings)
        seconds = self._clock() - self._paused_from      # with what was saved right before
        self._telemetry.work_committed(
            list(unit.replay_from), self._records, self._holding.streams, self._state_bytes, len(unit.events), letters, seconds)
        self._telemetry.memory_measured(held_bytes())
        self._telemetry.readings_published(unit.readings)
        self._forget_unit()

    def _stand(self, unit: UnitOfWork) -> None:
        """Commit a unit. Where it may not stand, forget all that came since the last one and restore; of a pipe, which cannot, try again."""
        retry = FIRST_RETRY_SECONDS
        while True:
            try:
                return self._checkpoint.commit(unit)
            except Unavailable as error:
                if self._source.is_replayable or self._stop.is_set():
                    self._forget_all()
                    raise
                self._telemetry.unavailable("state", str(error), retry)
                self.turned_at = self._clock()
                self._stop.wait(retry)
                retry = min(2 * retry, self._pace.longest_retry_seconds)

    def _forget_all(self) -> None:
        """What was taken since the last commit does not stand. Restoring begins to read again, so that nothing stays paused."""
        self._holding.drop_all()
        self._readings.forget()
        self._forget_unit()
        self._is_paused, self.has_lost = False, True

    def _forget_unit(self) -> None:
        self._records, self._state_bytes, self._output_bytes, self._committed_at = 0, 0, 0, self._clock()

    def _finish(self) -> None:
        """Let what waits learn, save all that is not saved, and commit it. Raises Unavailable where the time does not suffice for the events."""
        began = self._clock()
        until = began + self._pace.shutdown_seconds
        self.is_ready = False
        self._learn(began + LEARNING_PART * self._pace.shutdown_seconds)
        if self._holding.slots.held:
            raise Unavailable(f"the unit of work was not finished in {self._pace.shutdown_seconds:g} s; its records come again with the next start")
        if self._is_ended:
            self._readings.gather_rest()
        is_all = False
        while not is_all:
            self.turned_at = self._paused_from = self._clock()
            saved, is_all = self._thrift.save_all(self._holding.shards, SLICE_BYTES)
            self._state_bytes += saved
            self._commit()
            if self._clock() >= until:
                return

    @property
    def unsaved(self) -> int:
        """How many keys' sketches are not saved as they are now: a restart replays records for them."""
        return sum(shard.unsaved for shard in self._holding.shards.values())

    def close(self) -> None:
        """Let go of the outside, though it may be away; last of the checkpoint: who writes a state file puts it in order once nobody reads it."""
        for port in (self._source, *((self._control,) if self._control else ()), self._checkpoint):
            with suppress(StreamklError):
                port.close()


def _stopped(run: Run, bad: int) -> RecordError:
    return RecordError(f"{run.partition}, offset {run.records[bad].offset}: a record that cannot be used; mend it, or set dead_letters.on_bad_record")
