"""Telemetry: every log event and its metric, declared once; this file is the list that dashboards may rely on.

Rule 1: a log event is `noun.verb_past`; what differs stands in fields, of which none holds a value of a record.
Rule 2: never per record: per batch, commit, episode. What repeats with every batch is said at its 1st, 2nd, 4th, 8th ... time.
Rule 3: losing data is `warning`; being unable to go on is `error`; what comes with every batch is `debug`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from streamkl.detect.event import DriftEvent
from streamkl.service.cloud_events import attribute, rfc3339
from streamkl.service.command import Command
from streamkl.service.gauges import Gauges
from streamkl.service.metrics import Meter
from streamkl.service.record import Partition
from streamkl.service.work import Reading

MOST_REASONS = 100
MOST_CHANGES = 20
OTHER = "other reasons"


class Telemetry:
    """What the worker tells. gauges: whose divergences are metrics."""

    def __init__(self, meter: Meter, gauges: Gauges | None = None) -> None:
        self._meter = meter
        self._gauges = gauges or Gauges()
        self._log: Any = structlog.get_logger("streamkl")
        self._shown: frozenset[tuple[str, str]] = frozenset()
        self._held: set[Partition] = set()
        self._reasons: dict[str, set[str]] = {}
        self._said: dict[tuple[str, ...], int] = {}

    # ------------------------------------------------------------ the service

    def started(self, application: str, version: str, metrics: str | None = None) -> None:
        """The service begins. metrics: where it answers over HTTP, None: nowhere."""
        self._log.info("service.started", application=application, version=version, metrics=metrics)

    def stopping(self, signal: str) -> None:
        """A signal asked for the end; the unit of work is finished first."""
        self._log.info("signal.received", signal=signal)

    def stopped(self, reason: str) -> None:
        """The service ends, all that it had taken is committed or will come again."""
        self._log.info("service.stopped", reason=reason)

    def failed(self, reason: str) -> None:
        """The service cannot go on."""
        self._log.error("service.failed", reason=reason)

    def unavailable(self, what: str, reason: str, retry_seconds: float) -> None:
        """Something outside is away. what: one of a few words, "broker", "store"."""
        self._meter.count("streamkl_unavailable_total", what=self._bounded("unavailable", what))
        self._log.warning("outside.failed", what=what, reason=reason, retry_seconds=round(retry_seconds, 3))

    # ------------------------------------------------------------ partitions and their state

    def partitions_gained(self, partitions: Sequence[Partition]) -> None:
        """These are ours now, and wait for their state."""
        self._held.update(partitions)
        self._rebalanced()
        self._log.info("partitions.gained", partitions=list(map(str, partitions)), held=len(self._held))

    def partitions_lost(self, partitions: Sequence[Partition], streams: int | None = None) -> None:
        """These are another's now; their state is dropped. streams: how many are held still, if known."""
        self._held.difference_update(partitions)
        self._rebalanced()
        for topic, number in partitions:
            self._meter.forget("streamkl_consumer_lag_records", topic=topic, partition=str(number))
        if streams is not None:
            self._meter.gauge("streamkl_streams", streams)
        self._gauges.drop(partitions)
        self._show()
        self._log.info("partitions.lost", partitions=list(map(str, partitions)), held=len(self._held))

    def state_restored(
        self, partition: Partition, streams: int, entries_bytes: int, replay_from: int | None, processed: int | None, seconds: float
    ) -> None:
        """A partition's state is back. replay_from, processed: offsets, None where nothing was ever committed."""
        self._meter.observe("streamkl_restore_seconds", seconds)
        fields = {"streams": streams, "entries_bytes": entries_bytes, "replay_from": replay_from, "processed": processed}
        self._log.info("state.restored", partition=str(partition), **fields, seconds=round(seconds, 3))

    def settings_postponed(self, partition: Partition, until: int, changes: Sequence[str]) -> None:
        """Changed settings take hold at this offset: what lies before is replayed under the former ones. changes: what was, and what will be."""
        self._log.info("settings.postponed", partition=str(partition), until=until, changes=list(changes[:MOST_CHANGES]), number=len(changes))

    def state_relearned(self, stream: str, why: str) -> None:
        """What was stored of a stream cannot be kept, as the configuration has changed: it learns anew."""
        self._meter.count("streamkl_relearned_streams_total")
        self._log.warning("state.relearned", stream=stream, why=why)

    def streams_evicted(self, partition: Partition, streams: Sequence[str], idle_records: int) -> None:
        """Streams were forgotten to keep the limit: those of one key, idle for so many records."""
        self._meter.count("streamkl_evictions_total", len(streams))
        self._gauges.drop_streams(partition, streams)
        if evicted := self._is_due(len(streams), "evicted", str(partition)):
            where = {"partition": str(partition), "stream": streams[0], "idle_records": idle_records}
            self._log.warning("stream.evicted", **where, number=len(streams), so_far=evicted)

    # ------------------------------------------------------------ records

    def records_taken(self, partition: Partition, number: int, bytes: int) -> None:
        """A batch was observed. bytes: of its values."""
        self._meter.count("streamkl_records_total", number)
        self._meter.count("streamkl_input_bytes_total", bytes)
        self._log.debug("records.taken", partition=str(partition), number=number, bytes=bytes)

    def records_refused(self, partition: Partition, reason: str, number: int, first_offset: int) -> None:
        """Records of a batch could not be used."""
        reason = self._bounded("records", reason)
        self._meter.count("streamkl_records_refused_total", number, reason=reason)
        if refused := self._is_due(number, "refused", str(partition), reason):
            where = {"partition": str(partition), "first_offset": first_offset}
            self._log.warning("records.refused", **where, reason=reason, number=number, so_far=refused)

    def values_refused(self, stream_entry: str, reason: str, number: int) -> None:
        """Values of a batch are missing now, as they were no value of their field. stream_entry: which entry of the configuration."""
        reason = self._bounded("values", reason)
        self._meter.count("streamkl_values_refused_total", number, reason=reason)
        if refused := self._is_due(number, "values", stream_entry, reason):
            self._log.warning("values.refused", stream_entry=stream_entry, reason=reason, number=number, so_far=refused)

    def learning_postponed(self, streams: int) -> None:
        """So many streams wait for their turn to learn; 0: none any longer."""
        self._meter.gauge("streamkl_postponed_streams", streams)
        self._log.debug("learning.postponed", streams=streams)

    def partition_stalled(self, partition: Partition, lag: int, seconds: float) -> None:
        """A partition has records to read, and none of them came for so long."""
        self._meter.count("streamkl_stalls_total")
        self._log.error("partition.stalled", partition=str(partition), lag=lag, seconds=round(seconds, 1))

    def lag_measured(self, partition: Partition, lag: float) -> None:
        """So many offsets of a partition are not processed yet; NaN: it is not known."""
        self._meter.gauge("streamkl_consumer_lag_records", lag, topic=partition.topic, partition=str(partition.number))
        self._log.debug("lag.measured", partition=str(partition), lag=lag)

    # ------------------------------------------------------------ work

    def work_committed(
        self,
        partitions: Sequence[Partition],
        records: int,
        streams: int,
        state_bytes: int,
        events: int,
        dead_letters: Mapping[str, int],
        seconds: float,
    ) -> None:
        """A unit of work stands. records: in it. streams: held now. dead_letters: reason -> number. seconds: that the loop stood still."""
        self._meter.count("streamkl_commits_total")
        self._meter.observe("streamkl_commit_seconds", seconds)
        self._meter.count("streamkl_state_bytes_total", state_bytes)
        self._meter.gauge("streamkl_streams", streams)
        for reason, number in dead_letters.items():
            self._meter.count("streamkl_dead_letters_total", number, reason=self._bounded("records", reason))
        fields = {"records": records, "streams": streams, "state_bytes": state_bytes, "events": events, "dead_letters": sum(dead_letters.values())}
        self._log.info("work.committed", partitions=list(map(str, partitions)), **fields, seconds=round(seconds, 4))

    def memory_measured(self, tracker_bytes: int) -> None:
        """The streams' native state holds so many bytes."""
        self._meter.gauge("streamkl_tracker_bytes", tracker_bytes)
        self._log.debug("memory.measured", tracker_bytes=tracker_bytes)

    def event_published(self, event: DriftEvent) -> None:
        """A drift event stands, in the unit that was committed."""
        self._meter.count("streamkl_drift_events_total", kind=event.kind)
        log = self._log.debug if event.kind == "reference.learned" else self._log.info      # thousands of streams learn in one commit
        far = event.farthest if event.kind == "drift.raised" else None
        why = {"kl": round(far.kl, 4), "limit": round(far.limit, 4), "window": far.window} if far else {}
        at = None if event.at is None else rfc3339(event.at)
        log("event.published", id=event.id, kind=event.kind, stream=event.stream, episode=event.episode, at=at, **why)

    def readings_published(self, readings: Sequence[Reading]) -> None:
        """These readings stand, the newest of some streams; nothing is said of none. Those to be shown become gauges, others are gone."""
        if not readings:
            return
        self._gauges.take(readings)
        self._meter.count("streamkl_readings_total", len(readings))
        self._log.debug("readings.published", number=len(readings), gauges=self._show())

    def stages_timed(self, wall_seconds: Mapping[str, float], cpu_seconds: Mapping[str, float]) -> None:
        """So long was spent in each stage since the last time. Stages: poll, decode, detect, learn, snapshot, commit."""
        for stage, seconds in wall_seconds.items():
            self._meter.count("streamkl_stage_seconds_total", seconds, stage=stage)
        for stage, seconds in cpu_seconds.items():
            self._meter.count("streamkl_stage_cpu_seconds_total", seconds, stage=stage)
        rounded = {stage: round(seconds, 4) for stage, seconds in wall_seconds.items()}
        self._log.debug("stages.timed", wall_seconds=rounded, cpu_seconds={stage: round(seconds, 4) for stage, seconds in cpu_seconds.items()})

    # ------------------------------------------------------------ commands

    def command_carried_out(self, command: Command, partition: Partition, next_offset: int, matched: int, touched: int) -> None:
        """A command was carried out on a partition, before the record at next_offset. matched: streams of its names; touched: those changed."""
        self._meter.count("streamkl_commands_total", command=command.name)
        what = {"id": command.id, "command": command.name, "streams": command.streams, "by": command.by, "reason": command.reason}
        self._log.info("command.executed", **what, partition=str(partition), next_offset=next_offset, matched=matched, touched=touched)

    def command_unmatched(self, command: Command) -> None:
        """A command names no stream of the partitions that are ours."""
        self._meter.count("streamkl_commands_unmatched_total")
        self._log.warning("command.unmatched", id=command.id, command=command.name, streams=command.streams, by=command.by)

    def command_repeated(self, id: str, partition: Partition) -> None:
        """A command came again, and was carried out before."""
        self._log.debug("command.repeated", id=id, partition=str(partition))

    def command_refused(self, offset: int, reason: str) -> None:
        """A message of the control topic is no command, and is skipped."""
        self._meter.count("streamkl_commands_refused_total")
        if refused := self._is_due(1, "commands"):
            self._log.warning("command.refused", offset=offset, reason=reason, so_far=refused)

    def control_failed(self, reason: str) -> None:
        """Commands cannot be read now; the service goes on without."""
        self._meter.count("streamkl_unavailable_total", what="control")
        if failed := self._is_due(1, "control"):
            self._log.warning("control.failed", reason=reason, so_far=failed)

    # ------------------------------------------------------------ bounds

    def _show(self) -> int:
        """Make the gauges those that are to be shown, and return their number."""
        shown = {(attribute(stream), measure): value for (stream, measure), value in self._gauges.shown().items()}
        for stream, measure in self._shown - shown.keys():
            self._meter.forget("streamkl_divergence_nats", stream=stream, measure=measure)
        for (stream, measure), value in shown.items():
            self._meter.gauge("streamkl_divergence_nats", value, stream=stream, measure=measure)
        self._shown = frozenset(shown)
        return len(shown)

    def _rebalanced(self) -> None:
        self._meter.count("streamkl_rebalances_total")
        self._meter.gauge("streamkl_partitions", len(self._held))

    def _bounded(self, of: str, reason: str) -> str:
        """Return the reason, or one word for all that come after the first hundred."""
        known = self._reasons.setdefault(of, set())
        if reason not in known and len(known) >= MOST_REASONS:
            return OTHER
        known.add(reason)
        return reason

    def _is_due(self, number: int, *what: str) -> int:
        """Return how many there were so far if that passed a power of two just now, else 0."""
        before = self._said.get(what, 0)
        self._said[what] = before + number
        return before + number if (before + number).bit_length() > before.bit_length() else 0
