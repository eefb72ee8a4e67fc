"""Service settings: limits, when to commit, and how the process is watched itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from streamkl.app.config_model import Model, Text
from streamkl.service.times import millisecond


def _time(text: str) -> str:
    if millisecond(text) is None:
        raise ValueError("is not a time; write ISO 8601, e.g. 2000-01-01T00:00:00Z")
    return text


class Limits(Model):
    """What a record, a stream or a pause may come to."""

    streams_per_partition_max: int = Field(100_000, ge=1, le=10_000_000, description="Of one entry: beyond it the longest idle one is dropped.")
    key_characters_max: int = Field(1000, ge=1, le=100_000, description="A record with a longer key is a bad record.")
    record_bytes_max: int = Field(1_048_576, ge=1, le=100_000_000, description="A longer record is a bad record.")
    oldest_time: Annotated[str, AfterValidator(_time)] = Field("2000-01-01T00:00:00Z", description="An event time before this is a bad one.")
    time_ahead_seconds_max: float = Field(3600, ge=0, le=1e9, description="An event time so far ahead of the record's own is a bad one.")
    shutdown_seconds: float = Field(30, gt=0, le=3600, description="A stop finishes its unit of work within this, else the process ends without.")
    stall_seconds: float = Field(60, ge=1, le=86_400, description="A partition with records waiting that stood still so long is reported.")
    learning_seconds_per_poll: float = Field(0.2, ge=0.001, le=60, description="Time for learning references between two polls; the rest waits.")

    @property
    def oldest_time_ms(self) -> int:
        """The oldest time that is taken, in ms since the epoch, UTC."""
        return millisecond(self.oldest_time) or 0


class Commit(Model):
    """When a unit of work is committed: whichever comes first."""

    every_seconds: float = Field(5, gt=0, le=3600, description="Seconds between two units of work.")
    every_records: int = Field(50_000, ge=1, le=10_000_000, description="Records in a unit of work.")


class Monitoring(Model):
    """Metrics, /live and /ready over HTTP, and the log."""

    host: Text = Field("127.0.0.1", description="Address to listen on; 0.0.0.0: every one.")
    port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(9464, description="Port; 0: any free one, null: do not listen.")
    correctors_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(9465, description="The same, of streamkl correct.")
    log_format: Literal["json", "console"] = Field("json", description="json: one object a line; console: for people.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level that is logged.")
