"""Alerts: drift events, readings and dead letters as messages, and the model of their data: what readers may rely on.

Rule 1: the data of a drift event is `DriftEvent.to_dict()`, that of a reading `reading_data`; a number that is not finite is null.
Rule 2: version 1 of the data only grows: a field is added, never renamed, removed or given another type; what breaks this is version 2.
Rule 3: a reader ignores fields that it does not know, and refuses those that it knows and that have another type.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from streamkl.detect.event import BinChange, CriterionReading, DriftEvent, identity
from streamkl.divergence import Estimate
from streamkl.errors import RecordError
from streamkl.service.async_api import document
from streamkl.service.cloud_events import CloudEvent, Message, Mode, source_of
from streamkl.service.work import DeadLetter, Reading

KINDS: Final = (
    "drift.raised", "drift.resolved", "reference.learned", "reference.rebaselined", "stream.silenced", "stream.unsilenced", "stream.forgotten",
)
MEASURED: Final = "divergence.measured"
EVENT_SCHEMA: Final = "urn:streamkl:schema:drift-event:v1"
READING_SCHEMA: Final = "urn:streamkl:schema:reading:v1"
FAULTS_SHOWN: Final = 3
COUNT: Final = Field(ge=0)


class Data(BaseModel):
    """Data on the wire."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class EstimateData(Data):
    """A divergence with its bias taken off and its 95 % interval; null: not known yet, or not bounded."""

    value: float | None
    low: float | None
    high: float | None
    plug_in: float | None = Field(description="Of the smoothed counts, bias included.")
    unit: str = Field(description='"nats", "bits", or "" where it has none.')


class BinData(Data):
    """One bin's part in KL."""

    label: str
    reference_share: float
    window_share: float
    nats: float | None


class CriterionData(Data):
    """One window of the minimum-effect criterion: its divergence, the limit, and the counts from which the divergence follows."""

    window: int = Field(ge=0, description="Observations in the window.")
    kl: float | None = Field(description="Plug-in KL in nats; of a threshold alarm its own measure.")
    limit: float | None
    source: str = Field(description="Where the limit comes from.")
    open: bool = Field(description="The window is full and beyond its limit.")
    window_counts: list[Annotated[int, COUNT]]
    reference_counts: list[Annotated[float, COUNT]]


class SourceData(Data):
    """Where the observation came from: a topic, or a file."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")
    topic: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None
    file: str | None = None
    line: int | None = None


class DriftEventData(Data):
    """A drift event: an episode of a stream was raised or resolved, a reference was learnt or rebaselined, or somebody commanded something."""

    id: str = Field(min_length=1, description="The same when the record is replayed; readers drop repeats by it.")
    kind: str = Field(pattern=r"^[a-z_]+\.[a-z_]+$", json_schema_extra={"enum": list(KINDS)})
    stream: str
    index: int = Field(ge=0, description="Observation of the stream that caused it, counted from 0.")
    position: int | None = Field(description="Its place in the source: index in a batch, line of a file, offset of a record.")
    at: int | None = Field(description="Event time, ms since the epoch, UTC.")
    episode: int = Field(ge=0, description="Number of the stream's newest episode; 0: there was none yet.")
    evidence: float | None = Field(description="At least the budget at every alarm of evidence; null: beyond every number.")
    budget: float | None = Field(description="Observations per false alarm that are accepted.")
    guarantee: str = Field(description='Of the budget: "exact", "approximate" or "void".')
    divergence: dict[str, EstimateData] = Field(description="Measure -> estimate, window against reference.")
    criterion: list[CriterionData]
    bins: list[BinData] = Field(description="Largest contributions to KL of the reporting window.")
    window_n: int = Field(ge=0, description="Observations in the reporting window.")
    reference_n: int = Field(ge=0, description="Observations in the reference.")
    changed: list[BinData] = Field(description="What raised it: the window of the criterion farthest beyond its limit.")
    reason: str = Field(description="Why a reference was learnt anew, or why something was commanded, or empty.")
    change_index: int | None
    source: SourceData | None
    by: str = Field(default="", description="Who commanded it, or empty.")
    group: str = Field(default="", description="What the stream belongs with: the entry of the configuration, or empty.")
    silenced: bool = Field(default=False, description="Somebody asked not to be told of the stream at that time.")


class ReadingData(Data):
    """The divergence of one stream, published between alarms."""

    stream: str
    topic: str
    partition: Annotated[int, COUNT]
    offset: Annotated[int, COUNT]
    at: int | None = Field(description="Event time of the newest observation, ms since the epoch, UTC.")
    state: str = Field(json_schema_extra={"enum": ["learning", "watching", "drifting"]})
    observations: Annotated[int, COUNT]
    kl: EstimateData
    js: EstimateData
    evidence: float | None
    budget: float | None
    window_n: Annotated[int, COUNT]


class Alerts:
    """Makes messages of what one application publishes.

    >>> alerts = Alerts("payments", "binary")
    >>> alerts.source
    '/streamkl/payments'
    """

    def __init__(self, application: str, mode: Mode = "binary") -> None:
        self.source = source_of(application)
        self._application = application
        self._mode: Mode = mode

    def drift_event(self, event: DriftEvent) -> Message:
        """Return the message of a drift event, keyed by its stream."""
        kind = f"io.streamkl.{event.kind}.v1"
        sent = CloudEvent(kind, self.source, event.id, event.stream, event.at, EVENT_SCHEMA, event.episode, event.to_dict())
        return sent.message(self._mode)

    def reading(self, reading: Reading) -> Message:
        """Return the message of a reading; its id follows from application, stream, topic, partition and offset."""
        topic, partition = reading.partition
        id = identity(reading.stream, reading.offset, MEASURED, self._application, topic, partition)
        kind, data = f"io.streamkl.{MEASURED}.v1", reading_data(reading)
        return CloudEvent(kind, self.source, id, reading.stream, reading.at, READING_SCHEMA, None, data).message(self._mode)


def reading_data(reading: Reading) -> dict[str, object]:
    """Return a reading as plain JSON values; a number that is not finite is None."""
    topic, number = reading.partition
    estimates = {"kl": _finite(reading.kl._asdict()), "js": _finite(reading.js._asdict())}
    return _finite({**reading._asdict(), "topic": topic, "partition": number, **estimates})


def dead_letter(letter: DeadLetter, application: str) -> Message:
    """Return a record as it came - key, value, headers in order -, and behind its own headers those that say why and from where.

    It may be larger than its topic takes: whoever sends it cuts it then, and says so: `streamkl_value_bytes`, `streamkl_key_bytes` are the true
    lengths of a value or key that was cut, `streamkl_headers_left_out` how many of the record's own headers are missing.
    """
    record = letter.record
    told = {
        "reason": letter.reason,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": None if record.timestamp is None or record.timestamp < 0 else str(record.timestamp),
        "application": application,
    }
    headers = [(f"streamkl_{name}", text.encode("utf-8", "backslashreplace")) for name, text in told.items() if text is not None]
    return Message(record.key, record.value, [*record.headers, *headers])


def drift_event(data: Mapping[str, object]) -> DriftEvent:
    """Return the event of which `data` is the `to_dict()`. Raises RecordError naming the fields that are wrong."""
    try:
        read = DriftEventData.model_validate(dict(data))
    except ValidationError as error:
        raise RecordError(f"this is no drift event of version 1: {_said(error)}; another program, or another version of ours, wrote it") from error
    plain: dict[str, Any] = {name: getattr(read, name) for name in DriftEventData.model_fields}
    plain["divergence"] = {measure: _estimate(estimate) for measure, estimate in read.divergence.items()}
    plain["criterion"] = tuple(_criterion(window) for window in read.criterion)
    plain["bins"], plain["changed"] = tuple(map(_bin, read.bins)), tuple(map(_bin, read.changed))
    plain["source"] = None if read.source is None else read.source.model_dump(exclude_unset=True)
    return DriftEvent(**{**plain, "evidence": _number(read.evidence, math.inf), "budget": _number(read.budget, math.inf)})


def json_schema(model: type[BaseModel] = DriftEventData) -> dict[str, object]:
    """Return the JSON Schema (2020-12) of the data of a drift event, or of a reading."""
    name = READING_SCHEMA if model is ReadingData else EVENT_SCHEMA
    return {"$schema": GenerateJsonSchema.schema_dialect, "$id": name, **model.model_json_schema(mode="serialization")}


def async_api(application: str | None = None) -> dict[str, object]:
    """Return the AsyncAPI 3 document of what an application publishes; None: of any application, which is then a parameter of each address."""
    models: list[tuple[type[BaseModel], Any]] = [(DriftEventData, "serialization"), (ReadingData, "serialization")]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")
    return document(application, KINDS, schemas["$defs"])


def _estimate(data: EstimateData) -> Estimate:
    return Estimate(_number(data.value), _number(data.low), _number(data.high, math.inf), _number(data.plug_in), data.unit)


def _criterion(data: CriterionData) -> CriterionReading:
    counts = tuple(data.window_counts), tuple(data.reference_counts)
    return CriterionReading(data.window, _number(data.kl), _number(data.limit), data.source, data.open, *counts)


def _bin(data: BinData) -> BinChange:
    return BinChange(data.label, data.reference_share, data.window_share, _number(data.nats))


def _number(value: float | None, instead: float = math.nan) -> float:
    return instead if value is None else value


def _finite(values: Mapping[str, object]) -> dict[str, object]:
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}


def _said(error: ValidationError) -> str:
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}" for fault in error.errors(include_url=False, include_input=False)]
    more = len(faults) - FAULTS_SHOWN
    return ", ".join(faults[:FAULTS_SHOWN]) + (f" and {more} more" if more > 0 else "")
