"""Build service: a configuration -> the parts of `streamkl run`, put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from streamkl.app import build, build_control
from streamkl.app.build_alarm import with_alarm
from streamkl.detect.detector import Detector
from streamkl.service.control import Control
from streamkl.service.feed import Feed, Field
from streamkl.service.gauges import Gauges
from streamkl.service.health import LIVE_WITHIN_SECONDS, Health
from streamkl.service.holding import Holding
from streamkl.service.pace import Pace
from streamkl.service.ports import Checkpoint, RecordSource
from streamkl.service.restoration import Policy
from streamkl.service.telemetry import Telemetry
from streamkl.service.worker import Worker

if TYPE_CHECKING:
    from streamkl.app.config import Config
    from streamkl.app.config_streams import StreamEntry

SAVES_IN_REPLAY = 20
"""A sketch is not saved again before so small a part of what a restart may replay came: saving costs more than replaying."""


class Service(NamedTuple):
    """What runs: the loop, what it tells, and what answers over HTTP (None: nothing does)."""

    worker: Worker
    telemetry: Telemetry
    server: Listening | None


class Listening(Protocol):
    """What answers on a port until it is closed."""

    port: int

    def close(self) -> None: ...


def service(config: Config, discard: Sequence[str], at_step: Callable[[str], None] | None = None) -> Service:
    """Return the parts of the service. discard: globs of streams whose stored state is given up. at_step: told each step of a commit.

    Raises ConfigError for what only shows when it is put together (a port that is taken), StateError where the state is another process's.
    """
    from streamkl.adapters.prometheus import MetricsServer, PrometheusMeter

    meter = PrometheusMeter()
    telemetry = Telemetry(meter, Gauges(config.divergence.gauges, config.divergence.top))
    source, checkpoint = kafka(config, at_step) if config.is_kafka else embedded(config, at_step)
    policy = Policy(config.state.on_incompatible == "relearn", tuple(discard))
    holding = Holding(config.application, feeds(config), source, checkpoint, telemetry, policy, time.monotonic)
    control = Control(holding, build_control.command_source(config), telemetry, time.monotonic) if config.control.enabled else None
    worker = Worker(source, checkpoint, holding, telemetry, _pace(config), control=control)
    server = None
    if config.monitoring.port is not None:
        live_within = max(LIVE_WITHIN_SECONDS, config.limits.shutdown_seconds, _longest_wait(config))
        server = MetricsServer(meter, Health(worker, live_within), config.monitoring.host, config.monitoring.port)
    return Service(worker, telemetry, server)


def feeds(config: Config) -> list[Feed]:
    """Return what is watched."""
    return [_feed(config, entry) for entry in config.streams]


def _feed(config: Config, entry: StreamEntry) -> Feed:
    found, limits = build.expected(config, entry), config.limits
    fields = tuple(
        Field(name, entry.path(name), Detector(**with_alarm(config.detector_settings(entry, name)))) for name in entry.fields
    )
    is_keyed = entry.key is not None and entry.key.message_key
    return Feed(
        found.topic, found.name, fields, found.decoder, None if is_keyed else found.key, is_keyed, found.time, found.ahead_ms,
        found.oldest_ms, limits.key_characters_max, max(1, limits.streams_per_partition_max // len(fields)),
    )


def kafka(config: Config, at_step: Callable[[str], None] | None) -> tuple[RecordSource, Checkpoint]:
    """Return a Kafka source and its checkpoint."""
    from streamkl.adapters import kafka_checkpoint, kafka_source
    from streamkl.adapters.kafka_client import client_settings
    from streamkl.app.config_source import KafkaSource
    from streamkl.service.alerts import Alerts

    given = config.source
    assert isinstance(given, KafkaSource)
    settings = client_settings(given.bootstrap_servers, build.security_of(given), f"streamkl-{config.application}", given.request_timeout_seconds)
    source = kafka_source.KafkaSource(
        settings, config.topics, config.group, instance=config.instance, start_at=given.start_at, poll_records_max=given.poll_records_max,
        session_timeout_seconds=given.session_timeout_seconds, max_poll_interval_seconds=given.max_poll_interval_seconds,
    )
    has_letters = config.dead_letters.on_bad_record == "dead_letter"
    store = kafka_checkpoint.KafkaCheckpoint(
        settings, application=config.application, instance=config.instance, group=config.group, topics=config.topics,
        state_topic=config.state_topic, events_topic=config.drift_topic, dead_letters_topic=config.dead_letter_topic if has_letters else None,
        readings_topic=config.divergence_topic, publisher=Alerts(config.application, config.drift_events.mode),
        transaction_timeout_seconds=given.transaction_timeout_seconds, at_step=at_step,
    )
    return source, store


def _longest_wait(config: Config) -> float:
    """Return the seconds that one restore may wait for a transaction that hangs, and a little more."""
    from streamkl.app.config_source import KafkaSource

    return config.source.transaction_timeout_seconds + 30 if isinstance(config.source, KafkaSource) else 0.0


def embedded(config: Config, at_step: Callable[[str], None] | None) -> tuple[RecordSource, Checkpoint]:
    """Return a file as the source and its SQLite checkpoint."""
    from streamkl.adapters.file_records import FileRecords
    from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
    from streamkl.app import config_source

    assert isinstance(config.source, config_source.FileSource)
    source = FileRecords(config.source.path, config.topics[0], config.source.format, config.limits.record_bytes_max)
    return source, SqliteCheckpoint(config.state_path, config.application, at_step)


def _pace(config: Config) -> Pace:
    return Pace(
        commit_every_seconds=config.commit.every_seconds, commit_every_records=config.commit.every_records,
        learning_seconds=config.limits.learning_seconds_per_poll, state_share=config.state.state_share_max,
        replay_records=config.state.replay_records_max, replay_seconds=config.state.replay_seconds_max,
        save_after_records=config.state.replay_records_max // SAVES_IN_REPLAY, shutdown_seconds=config.limits.shutdown_seconds,
        stall_seconds=config.limits.stall_seconds, readings_every_seconds=config.divergence.every_seconds,
        on_bad_record=config.dead_letters.on_bad_record,
    )
