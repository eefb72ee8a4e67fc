"""Config: all settings of one application, checked, with what follows from them."""

from __future__ import annotations

import os
import re
import socket
from urllib.parse import quote

from pydantic import Field

from streamkl.app.config_correctors import Corrector, CorrectorEntry
from streamkl.app.config_model import Model, PlainName
from streamkl.app.config_outputs import ControlTopic, DeadLetters, DivergenceReadings, DriftEvents, State
from streamkl.app.config_service import Commit, Limits, Monitoring
from streamkl.app.config_source import FileSource, KafkaSource, Source
from streamkl.app.config_streams import DetectorSettings, StreamEntry

DEFAULT_STATE_PATH = "state.db"


class Config(Model):
    """All settings of one application."""

    application: PlainName = Field(description="Names the group, the transactional id and the topics that are written.")
    source: Source = Field(description="Where records come from.")
    streams: list[StreamEntry] = Field(min_length=1, max_length=1000, description="What is watched in which topic.")
    detector: DetectorSettings = Field(default_factory=DetectorSettings, description="How streams are watched, unless an entry or a field differs.")
    drift_events: DriftEvents = Field(default_factory=DriftEvents, description="Where drift events go.")
    dead_letters: DeadLetters = Field(default_factory=DeadLetters, description="What happens with records that cannot be used.")
    divergence: DivergenceReadings = Field(default_factory=DivergenceReadings, description="The divergence itself, between alarms.")
    control: ControlTopic = Field(default_factory=ControlTopic, description="Where commands come from.")
    state: State = Field(default_factory=State, description="Where all that is needed to go on after a restart is kept.")
    correctors: list[CorrectorEntry] = Field(default_factory=list, max_length=100, description="Who is told of drift events: streamkl correct.")
    limits: Limits = Field(default_factory=Limits, description="What a record, a stream or a pause may come to.")
    commit: Commit = Field(default_factory=Commit, description="When a unit of work is committed.")
    monitoring: Monitoring = Field(default_factory=Monitoring, description="Metrics, health and the log.")

    @property
    def is_kafka(self) -> bool:
        """Whether records come from Kafka."""
        return isinstance(self.source, KafkaSource)

    @property
    def group(self) -> str:
        """The consumer group."""
        return (self.source.group if isinstance(self.source, KafkaSource) else None) or self.application

    @property
    def instance(self) -> str:
        """The name of this process within the application."""
        given = self.source.instance if isinstance(self.source, KafkaSource) else None
        return given or re.sub(r"[^a-zA-Z0-9._-]", "-", socket.gethostname()) or "host"

    @property
    def transactional_id(self) -> str:
        """What the broker knows our transactions by; a second process of the same id takes our place."""
        return f"{self.application}.{self.instance}"

    @property
    def state_kind(self) -> str:
        """"kafka" or "sqlite"."""
        return self.state.kind or ("kafka" if self.is_kafka else "sqlite")

    @property
    def state_topic(self) -> str:
        """The compacted topic of the state."""
        return self.state.topic or f"{self.application}.state"

    @property
    def state_path(self) -> str:
        """The file of a SQLite state."""
        return self.state.path or DEFAULT_STATE_PATH

    @property
    def drift_topic(self) -> str:
        """The topic of drift events."""
        return self.drift_events.topic or f"{self.application}.drift"

    @property
    def dead_letter_topic(self) -> str:
        """The topic of records that could not be used."""
        return self.dead_letters.topic or f"{self.application}.dead-letters"

    @property
    def divergence_topic(self) -> str:
        """The topic of readings."""
        return self.divergence.topic or f"{self.application}.divergence"

    @property
    def control_topic(self) -> str:
        """The topic of commands."""
        return self.control.topic or f"{self.application}.control"

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are read, each once."""
        return tuple(dict.fromkeys(self.topic_of(entry) for entry in self.streams))

    @property
    def events_url(self) -> str:
        """Where drift events are, as `streamkl events` takes it."""
        if isinstance(self.source, KafkaSource):
            return f"kafka://{','.join(self.source.bootstrap_servers)}/{self.drift_topic}"
        return f"sqlite://{quote(os.path.abspath(self.state_path))}"

    def group_of(self, corrector: Corrector) -> str:
        """Return the group of a corrector."""
        return f"{self.application}.{corrector.name}"

    def topic_of(self, entry: StreamEntry) -> str:
        """Return the topic of an entry; of a file source the one that the file stands for, unless it is named."""
        if entry.topic is None and isinstance(self.source, FileSource):
            return next((one.topic for one in self.streams if one.topic is not None), self.source.topic)
        return entry.topic or ""

    def decoder_of(self, entry: StreamEntry) -> str:
        """Return what reads the records of an entry."""
        return entry.decoder or (self.source.decoder if isinstance(self.source, FileSource) else "json")

    def name_of(self, entry: StreamEntry) -> str:
        """Return the first part of the names of an entry's streams."""
        return entry.name or self.topic_of(entry)

    def detector_settings(self, entry: StreamEntry, field: str) -> dict[str, object]:
        """Return the keyword arguments of `Detector` for a field of an entry; name is left to the caller."""
        watched = entry.fields[field]
        return {**self.detector.all(), **entry.detector.chosen(), **watched.detector.chosen(), "kind": watched.kind}
