"""Streams settings: which fields of which topics are watched, under which names, by what detector."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from streamkl.app.config_fault import Fault, did_you_mean
from streamkl.app.config_model import CountOrText, Model, NumberOrText, Segment, Text, Topic

BUILT_IN_DECODER = "streamkl.adapters.{}_record_decoder"
DECODERS = ("json", "csv")
KEYWORDS = {"min_effect_nats": "min_effect", "hold_for_events": "hold_for", "raise_at_nats": "raise_at", "resolve_at_nats": "resolve_at"}


class DetectorSettings(Model):
    """How a stream is watched. In an entry or a field only what differs is written; the rest is as under `detector`, or the default."""

    false_alarms: NumberOrText = Field("1 per 1000000 events", description="False alarms that are accepted per stream, or the number of events.")
    warmup: int = Field(600, description="Observations learnt as the reference, at least 100.")
    window: CountOrText | None = Field(None, description="Observations in the sliding window. Default: a quarter of the reference, 100 to 1,000.")
    extend: int = Field(4, description="Warm-ups at most, where values follow each other; 1: never more than one.")
    mature_until: int = Field(10_000, description="The reference grows to so many observations while nothing drifts; 0: never.")
    stride: CountOrText = Field("auto", description="Bet on every so many-th observation only; auto: learnt from the reference.")
    min_effect_nats: float | None = Field(0.05, description="Divergence that a change must have to matter; null: the budget alone decides.")
    on_drift: Literal["hold", "rebaseline"] = Field(
        "hold", description="hold: an episode stays open until the stream is back, or somebody rebaselines; rebaseline: the new normal is learnt."
    )
    hold_for_events: int | None = Field(None, description="With rebaseline: so many observations after the alarm. Default: the reference's size.")
    alarm: Literal["evidence", "threshold"] | Mapping[str, Any] = Field(
        "evidence", description="evidence keeps the budget; threshold: the divergence has a limit; {river: NAME, SETTING: VALUE}: river's detector."
    )
    measure: Literal["js", "kl"] = Field("js", description="With threshold: the divergence that is compared.")
    raise_at_nats: float = Field(0.1, description="With threshold: drift above this.")
    resolve_at_nats: float = Field(0.05, description="With threshold: over below this.")

    def chosen(self) -> dict[str, object]:
        """Return what was written here, as keyword arguments of Detector."""
        return {keyword(name): getattr(self, name) for name in self.model_fields_set}

    def all(self) -> dict[str, object]:
        """Return everything, defaults too, as keyword arguments of Detector."""
        return {keyword(name): getattr(self, name) for name in type(self).model_fields}


def keyword(setting: str) -> str:
    """Return the name that Detector has for a setting.

    >>> keyword("hold_for_events"), keyword("warmup")
    ('hold_for', 'warmup')
    """
    return KEYWORDS.get(setting, setting)


class StreamKey(Model):
    """What parts the records of a topic into streams: one stream for each value."""

    field: Text | None = Field(None, description="Path of a field, e.g. customer.region.")
    message_key: bool = Field(False, description="The key of the Kafka message itself.")

    def faults(self) -> Iterator[Fault]:
        """Yield a key that is none, or two."""
        if (self.field is None) == (not self.message_key):
            yield Fault((), "must be either {field: PATH} or {message_key: true}; leave key out for one stream per field")


class EventTime(Model):
    """When something happened."""

    field: Text = Field(description="Path of a field: ISO 8601 (UTC unless it says otherwise), or a number since the epoch.")


class WatchedField(Model):
    """One watched field of the records."""

    path: Text | None = Field(None, description="Path within the record, e.g. payload.amount. Default: the field's name.")
    kind: Literal["numeric", "categorical"] = Field("numeric", description="What its values are.")
    detector: DetectorSettings = Field(default_factory=DetectorSettings, description="What differs from the entry's detector.")


def _written_out(value: object) -> object:
    """Return the long form of `amount: numeric`."""
    return {"kind": value} if isinstance(value, str) else {} if value is None else value


ShortOrLong = WatchedField | Literal["numeric", "categorical"] | None
FieldSetting = Annotated[WatchedField, BeforeValidator(_written_out, json_schema_input_type=ShortOrLong)]


class StreamEntry(Model):
    """The streams of one topic: named name/field, or name/key/field."""

    topic: Topic | None = Field(None, description="The topic; of a file source it is the file's name and may be left out.")
    name: Segment | None = Field(None, description="First part of the names of its streams. Default: topic.")
    key: StreamKey | None = Field(None, description="One stream per value of this and field. Default: one stream per field.")
    time: EventTime | None = Field(None, description="Event time. Default: the record's own timestamp.")
    decoder: Text | None = Field(
        None, description="What reads the records: json, csv of a file, or the dotted name of your module. Default: as source.format."
    )
    fields: Mapping[Segment, FieldSetting] = Field(
        min_length=1, description="Fields to watch by name; `amount: categorical` is short for `amount: {kind: categorical}`."
    )
    detector: DetectorSettings = Field(default_factory=DetectorSettings, description="What differs from the detector of all streams.")

    def faults(self) -> Iterator[Fault]:
        """Yield a decoder that does not exist, and a key that is none."""
        if self.key is not None:
            yield from (Fault(("key", *path), sentence) for path, sentence in self.key.faults())
        if self.decoder is None:
            return
        if "." not in self.decoder and not _exists(BUILT_IN_DECODER.format(self.decoder)):
            yield Fault(("decoder",), f"{self.decoder!r} is unknown; {did_you_mean(self.decoder, DECODERS)}; a module of your own has a dotted name")
        elif "." in self.decoder and not _exists(self.decoder):
            yield Fault(("decoder",), f"there is no module {self.decoder!r}; correct it, or install what brings it")

    def path(self, field: str) -> str:
        """Return where a watched field stands in the records."""
        return self.fields[field].path or field


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
