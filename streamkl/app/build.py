"""Build: what the operator typed -> parts put together.

Rule: the only place that knows which source, which decoder and which detector meet; a wrong setting is refused before anything is read.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from streamkl.adapters.file_head import FORMATS, Format
from streamkl.adapters.file_source import FileSource
from streamkl.adapters.lines import is_unicode
from streamkl.app.event_place import event_place
from streamkl.app.label import label
from streamkl.app.options import in_flags
from streamkl.detect.detector import Detector
from streamkl.errors import ConfigError
from streamkl.service.observations import Watched
from streamkl.service.ports import Decoder, EventReader, RecordDecoder
from streamkl.service.streams import Streams

if TYPE_CHECKING:
    from streamkl.adapters.kafka_client import Security
    from streamkl.app.config import Config
    from streamkl.app.config_source import KafkaSource
    from streamkl.app.config_streams import StreamEntry
    from streamkl.service.finding import Finding
    from streamkl.service.sample import Expected

@dataclass(frozen=True, slots=True)
class Options:
    """What to watch, and how. settings: of `Detector`; what was not typed is left out. block_bytes: None is the source's own."""

    file: str
    watched: Watched
    format: Format | None
    settings: Mapping[str, object]
    is_strict: bool = False
    block_bytes: int | None = None


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

    return KafkaEvents(client_settings(place.servers, security(config)), place.topic)


def inspection(config: Config) -> Iterator[Finding]:
    """Return what the broker says of a configuration. Raises ConfigError where it does not let us in, Unavailable where it is away."""
    from streamkl.adapters import kafka_inspection
    from streamkl.adapters.kafka_client import client_settings
    from streamkl.app.config_source import KafkaSource

    if not isinstance(config.source, KafkaSource):
        return iter(())
    outputs = [config.drift_topic, config.divergence_topic]
    outputs += [config.dead_letter_topic] if config.dead_letters.on_bad_record == "dead_letter" else []
    wanted_of = [expected(config, entry) for entry in config.streams]
    wanted = kafka_inspection.Wanted(wanted_of, outputs, config.state_topic, config.group, config.transactional_id, config.dead_letter_topic,
                                      config.limits.record_bytes_max, config.state.replay_seconds_max,
                                      config.control_topic if config.control.enabled else None)
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


def expected(config: Config, entry: StreamEntry) -> Expected:
    """Return what an entry of the configuration takes the records of its topic for."""
    from streamkl.service.sample import MESSAGE_KEY, Expected

    kinds = {entry.path(field): watched.kind for field, watched in entry.fields.items()}
    key = None if entry.key is None else MESSAGE_KEY if entry.key.message_key else entry.key.field
    time = entry.time.field if entry.time else None
    paths = [path for path in dict.fromkeys((*kinds, key, time)) if path is not None and path != MESSAGE_KEY]
    limits = config.limits
    decoder = record_decoder(config.decoder_of(entry), paths, limits.record_bytes_max)
    ahead_ms = round(limits.time_ahead_seconds_max * 1000)
    return Expected(config.topic_of(entry), config.name_of(entry), decoder, kinds, key, time, limits.oldest_time_ms, ahead_ms)


def security(config: str | None) -> Security:
    """Return the security settings of a configuration, in the words of the client; None: none."""
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
