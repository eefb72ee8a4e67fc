"""Outputs settings: drift events, dead letters, readings of the divergence, and the state."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streamkl.app.config_model import Model, Text, Topic


class DriftEvents(Model):
    """Where drift events go."""

    topic: Topic | None = Field(None, description="Default: application.drift. With a SQLite state they stand in its file.")
    mode: Literal["binary", "structured"] = Field("binary", description="CloudEvents: attributes as headers, or all in one JSON document.")


class DeadLetters(Model):
    """What happens with records that cannot be used."""

    topic: Topic | None = Field(None, description="Default: application.dead-letters. With a SQLite state they stand in its file.")
    on_bad_record: Literal["dead_letter", "skip", "stop"] = Field(
        "dead_letter", description="dead_letter: keep it with the reason and go on; skip: count it and go on; stop: end the process."
    )


class DivergenceReadings(Model):
    """The divergence itself, between alarms."""

    topic: Topic | None = Field(None, description="Default: application.divergence. With a SQLite state they stand in its file.")
    every_seconds: float = Field(60, ge=1, le=86_400, description="One reading per stream that changed, each time.")
    gauges: list[Text] = Field(default_factory=list, max_length=100, description="Streams that are metrics too, by name; * stands for anything.")
    top: int = Field(20, ge=0, le=100, description="So many streams with the largest divergence are metrics as well.")


class ControlTopic(Model):
    """Where commands come from: streamkl rebaseline, silence, unsilence, forget, and those of correctors."""

    topic: Topic | None = Field(None, description="Default: application.control; one partition. With a SQLite state they stand in its file.")
    enabled: bool = Field(True, description="false: commands are not read.")


class State(Model):
    """Where all that is needed to go on after a restart is kept."""

    kind: Literal["kafka", "sqlite"] | None = Field(None, description="Default: kafka with a Kafka source, sqlite with a file.")
    topic: Topic | None = Field(None, description="With kafka: a compacted topic. Default: application.state.")
    path: Text | None = Field(None, description="With sqlite: the file. Default: state.db.")
    replay_records_max: int = Field(
        1_000_000, ge=1000, le=1_000_000_000, description="Records of a partition that a restart reads again at most, beyond the last commit."
    )
    replay_seconds_max: float = Field(
        43_200, ge=60, le=31_536_000, description="A restart needs no older records (by their own time); far less than the topic retains."
    )
    state_share_max: float = Field(0.5, gt=0, le=100, description="Bytes of state that are written per byte read, at most on average.")
    on_incompatible: Literal["refuse", "relearn"] = Field(
        "refuse", description="A stream whose state does not fit changed settings: refuse to start, or learn that stream anew."
    )
