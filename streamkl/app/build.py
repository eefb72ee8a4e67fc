"""Build: what the operator typed -> parts put together.

Rule: the only place that knows which source, which decoder and which detector meet; a wrong setting is refused before anything is read.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from streamkl.adapters.file_head import FORMATS, Format
from streamkl.adapters.file_source import FileSource
from streamkl.adapters.lines import is_unicode
from streamkl.app.event_place import event_place
from streamkl.app.label import label
from streamkl.app.options import in_flags
from streamkl.detect.detector import Detector
from streamkl.errors import ConfigError
from streamkl.service.feed import Feed, Field
from streamkl.service.gauges import Gauges
from streamkl.service.health import LIVE_WITHIN_SECONDS, Health
from streamkl.service.holding import Holding
from streamkl.service.observations import Watched
from streamkl.service.pace import Pace
from streamkl.service.ports import Checkpoint, Decoder, EventReader, RecordDecoder, RecordSource
from streamkl.service.restoration import Policy
from streamkl.service.streams import Streams
from streamkl.service.telemetry import Telemetry
from streamkl.service.worker import Worker

if TYPE_CHECKING:
    from streamkl.adapters.kafka_client import Security
    from streamkl.app.config import Config
    from streamkl.app.config_source import KafkaSource
    from streamkl.app.config_streams import StreamEntry
    from streamkl.service.finding import Finding
    from streamkl.service.sample import Expected

SAVES_IN_REPLAY = 20
"""A sketch is not saved again before so small a part of what a restart may replay came: saving costs more than replaying."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to watch, and how. settings: of `Detector`; what was not typed is left out. block_bytes: None is the source's own."""

    file: str
    watched: Watched
    format: Format | None
    settings: Mapping[str, object]
    is_strict: bool = False
    block_bytes: int | None = None


class Service(NamedTuple):
    """What runs: the loop, what it tells, and what answers over HTTP (None: nothing does)."""

    worker: Worker
    telemetry: Telemetry
    server: Listening | None


class Listening(Protocol):
    """What answers on a port until it is closed."""

    port: int

    def close(self) -> None: ...


def parts(options: Options) -> tuple[FileSource, Streams]:
    """Return the source and the streams. Raises ConfigError for a wrong setting."""
    watched = options.watched
    settings: dict[str, Any] = dict(options.settings)
    if watched.kind is not None:
        settings["kind"] = watched.kind

    def detector(name: str) -> Detector:
        return Detector(name=name, **settings)

    for column in watched.fields:
        _refuse_no_column(column)
    try:
        detector(watched.values[0])
    except ConfigError as error:
        raise ConfigError(in_flags(str(error))) from error
    sizes = {} if options.block_bytes is None else {"block_bytes": options.block_bytes}
    name = "standard input" if options.file == "-" else label(options.file)
    source = FileSource(options.file, partial(_decoder, watched.fields, name), options.format, **sizes)
    return source, Streams(watched, detector, source.name, options.is_strict)


def event_reader(url: str, config: str | None) -> EventReader:
    """Return the reader of the drift events of a URL. config: path of a configuration, for its security settings. Raises ConfigError."""
    place = event_place(url)
    if place.kind == "sqlite":
        from streamkl.adapters.sqlite_events import SqliteEvents

        return SqliteEvents(place.path)
    if place.kind == "file":
        from streamkl.adapters.file_events import FileEvents

        return FileEvents(place.path)
    from streamkl.adapters.kafka_client import client_settings
    from streamkl.adapters.kafka_events import KafkaEvents

    return KafkaEvents(client_settings(place.servers, _security(config)), place.topic)


def inspection(config: Config) -> Iterator[Finding]:
    """Return what the broker says of a configuration. Raises ConfigError where it does not let us in, Unavailable where it is away."""
    from streamkl.adapters import kafka_inspection
    from streamkl.adapters.kafka_client import client_settings
    from streamkl.app.config_source import KafkaSource

    if not isinstance(config.source, KafkaSource):
        return iter(())
    outputs = [config.drift_topic, config.divergence_topic]
    outputs += [config.dead_letter_topic] if config.dead_letters.on_bad_record == "dead_letter" else []
    expected = [_expected(config, entry) for entry in config.streams]
    wanted = kafka_inspection.Wanted(expected, outputs, config.state_topic, config.group, config.transactional_id, config.dead_letter_topic,
                                      config.limits.record_bytes_max, config.state.replay_seconds_max)
    return kafka_inspection.inspect(client_settings(config.source.bootstrap_servers, security_of(config.source)), wanted)


def record_decoder(name: str, paths: Sequence[str], record_bytes_max: int) -> RecordDecoder:
    """Return a decoder for some paths. name: `json`, `csv`, or a dotted module, `acme.avro_decoder`, whose class is AvroDecoder.

    Raises ConfigError where there is none, or where it refuses a path.
    """
    module = name if "." in name else f"streamkl.adapters.{name}_record_decoder"
    kind = "".join(part.capitalize() for part in module.rsplit(".", 1)[-1].split("_"))
    try:
        make = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError):
        raise ConfigError(f"decoder {name!r}: there is no class {kind} in the module {module}; correct the name, or install what brings it") from None
    made: RecordDecoder = make(paths, record_bytes_max)
    return made


def security_of(source: KafkaSource) -> Security:
    """Return security settings in the words of the client."""
    from streamkl.adapters.kafka_client import Security

    given = dict(source.security)
    secrets = {name: given[name] and given[name].reveal() for name in ("password", "key_password")}
    return Security(**{**given, **secrets, "protocol": source.security.protocol.upper()})


def service(config: Config, discard: Sequence[str], at_step: Callable[[str], None] | None = None) -> Service:
    """Return the parts of the service. discard: globs of streams whose stored state is given up. at_step: told each step of a commit.

    Raises ConfigError for what only shows when it is put together (a port that is taken), StateError where the state is another process's.
    """
    from streamkl.adapters.prometheus import MetricsServer, PrometheusMeter

    meter = PrometheusMeter()
    telemetry = Telemetry(meter, Gauges(config.divergence.gauges, config.divergence.top))
    source, checkpoint = _kafka(config, at_step) if config.is_kafka else _embedded(config, at_step)
    policy = Policy(config.state.on_incompatible == "relearn", tuple(discard))
    holding = Holding(config.application, feeds(config), source, checkpoint, telemetry, policy, time.monotonic)
    worker = Worker(source, checkpoint, holding, telemetry, _pace(config))
    server = None
    if config.monitoring.port is not None:
        live_within = max(LIVE_WITHIN_SECONDS, config.limits.shutdown_seconds, _longest_wait(config))
        server = MetricsServer(meter, Health(worker, live_within), config.monitoring.host, config.monitoring.port)
    return Service(worker, telemetry, server)


def feeds(config: Config) -> list[Feed]:
    """Return what is watched."""
    return [_feed(config, entry) for entry in config.streams]


def _feed(config: Config, entry: StreamEntry) -> Feed:
    expected, limits = _expected(config, entry), config.limits
    fields = tuple(
        Field(name, entry.path(name), Detector(**config.detector_settings(entry, name))) for name in entry.fields  # type: ignore[arg-type]
    )
    is_keyed = entry.key is not None and entry.key.message_key
    return Feed(
        expected.topic, expected.name, fields, expected.decoder, None if is_keyed else expected.key, is_keyed, expected.time, expected.ahead_ms,
        expected.oldest_ms, limits.key_characters_max, max(1, limits.streams_per_partition_max // len(fields)),
    )


def _kafka(config: Config, at_step: Callable[[str], None] | None) -> tuple[RecordSource, Checkpoint]:
    from streamkl.adapters import kafka_checkpoint, kafka_source
    from streamkl.adapters.kafka_client import client_settings
    from streamkl.app.config_source import KafkaSource
    from streamkl.service.alerts import Alerts

    given = config.source
    assert isinstance(given, KafkaSource)
    settings = client_settings(given.bootstrap_servers, security_of(given), f"streamkl-{config.application}", given.request_timeout_seconds)
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


def _embedded(config: Config, at_step: Callable[[str], None] | None) -> tuple[RecordSource, Checkpoint]:
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


def _expected(config: Config, entry: StreamEntry) -> Expected:
    from streamkl.service.sample import MESSAGE_KEY, Expected

    kinds = {entry.path(field): watched.kind for field, watched in entry.fields.items()}
    key = None if entry.key is None else MESSAGE_KEY if entry.key.message_key else entry.key.field
    time = entry.time.field if entry.time else None
    paths = [path for path in dict.fromkeys((*kinds, key, time)) if path is not None and path != MESSAGE_KEY]
    limits = config.limits
    decoder = record_decoder(config.decoder_of(entry), paths, limits.record_bytes_max)
    ahead_ms = round(limits.time_ahead_seconds_max * 1000)
    return Expected(config.topic_of(entry), config.name_of(entry), decoder, kinds, key, time, limits.oldest_time_ms, ahead_ms)


def _security(config: str | None) -> Security:
    """Return the security settings of a configuration, in the words of the client."""
    from streamkl.adapters.kafka_client import Security
    from streamkl.app.config import load
    from streamkl.app.config_source import KafkaSource

    if config is None:
        return Security()
    source = load(config, os.environ).source
    if not isinstance(source, KafkaSource):
        raise ConfigError(f"{label(config)}: its source is a file, so it has no security settings of Kafka; leave --config out")
    return security_of(source)


def _refuse_no_column(name: str) -> None:
    if name.endswith((*FORMATS, ".gz")) and os.path.isfile(name):
        raise ConfigError(f"{name!r} is a file, not a column; one FILE at a time, and first: streamkl watch {name} --value COL")
    if not is_unicode(name):
        raise ConfigError(f"the column name {name!r} is not UTF-8; convert the file first, e.g.: iconv -f LATIN1 -t UTF-8")


def _decoder(fields: tuple[str, ...], name: str, format: Format) -> Decoder:
    if format == "csv":
        from streamkl.adapters.csv_decoder import CsvDecoder

        return CsvDecoder(fields, name)
    from streamkl.adapters.json_decoder import JsonDecoder

    return JsonDecoder(fields, name)
