"""Build state: a configuration -> what reads its stored state, beside a service that runs.

Rule: nothing of it writes, locks, joins or fences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from streamkl.service.record import Partition
from streamkl.service.work import Restored

if TYPE_CHECKING:
    from streamkl.app.config import Config


class StoredState(NamedTuple):
    """Of each partition: what is stored. reached: (partition, offset from which a restart reads) -> where that lies; raises StateError if gone."""

    partitions: Sequence[Partition]
    restore: Callable[[Partition], Restored]
    reached: Callable[[Partition, int | None], str]


@contextmanager
def stored_state(config: Config) -> Iterator[StoredState]:
    """Yield the stored state of a configuration. Raises StateError where it is of no use at all, ConfigError, Unavailable."""
    with _in_kafka(config) if config.is_kafka else _in_sqlite(config) as found:
        yield found


@contextmanager
def _in_kafka(config: Config) -> Iterator[StoredState]:
    from streamkl.adapters.kafka_client import client_settings
    from streamkl.adapters.kafka_state_reader import KafkaStateReader
    from streamkl.app.build import security_of
    from streamkl.app.config_source import KafkaSource

    source = config.source
    assert isinstance(source, KafkaSource)
    settings = client_settings(
        source.bootstrap_servers, security_of(source), f"streamkl-{config.application}-check", source.request_timeout_seconds)
    with closing(KafkaStateReader(settings, config.topics, config.state_topic, config.group)) as reader:
        yield StoredState(reader.partitions(), reader.restore, reader.reached)


@contextmanager
def _in_sqlite(config: Config) -> Iterator[StoredState]:
    from streamkl.adapters.file_records import FileRecords
    from streamkl.adapters.sqlite_state import SqliteState
    from streamkl.app.config_source import FileSource

    given = config.source
    assert isinstance(given, FileSource)

    def reached(partition: Partition, offset: int | None) -> str:
        with closing(FileRecords(given.path, partition.topic, given.format, config.limits.record_bytes_max)) as records:
            if not records.is_replayable:
                return "a pipe cannot be read again: its lines are counted on"
            records.start(partition, offset)
            return "the file reaches there"

    with closing(SqliteState(config.state_path, config.application)) as state:
        yield StoredState([Partition(topic, 0) for topic in config.topics], state.restore, reached)
