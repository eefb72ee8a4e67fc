"""Kafka limits: settings of topics that are too small for what the configuration asks for.

Rule: whatever we may not see is not judged; nothing here is a fault, for it may go well for a long time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kafka.admin import ConfigResource, ConfigResourceType

from streamkl.service.finding import Finding, warning

SMALL_BYTES: Final = 1 << 30


def retention(admin: Any, topic: str, replay_seconds: float) -> Iterator[Finding]:
    """Yield what may be gone of an input topic before a restart has read it again."""
    found = _settings(admin, topic, "retention.ms", "retention.bytes")
    kept_ms, kept_bytes = found.get("retention.ms", -1), found.get("retention.bytes", -1)
    if 0 <= kept_ms < replay_seconds * 1000:
        yield warning(
            f"{topic}: keeps records for {kept_ms / 1000:g} s (retention.ms), but a restart may read {replay_seconds:g} s again "
            "(state.replay_seconds_max); raise the one, or lower the other"
        )
    if 0 <= kept_bytes < SMALL_BYTES:
        yield warning(
            f"{topic}: keeps {kept_bytes:,} bytes of a partition (retention.bytes), whatever their age; see that a restart still finds what it "
            f"reads again, {replay_seconds:g} s at most (state.replay_seconds_max)"
        )


def letters(admin: Any, topic: str, record_bytes: int) -> Iterator[Finding]:
    """Yield whether dead letters of records that are not even too long will be cut."""
    most = _settings(admin, topic, "max.message.bytes").get("max.message.bytes")
    if most is not None and most < record_bytes:
        yield warning(
            f"{topic}: takes messages of {most:,} bytes (max.message.bytes), records may have {record_bytes:,} (limits.record_bytes_max): "
            "larger dead letters are cut; raise max.message.bytes"
        )


def _settings(admin: Any, topic: str, *names: str) -> Mapping[str, int]:
    told = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(names))], config_filter="all")
    found = told.get("topic", {}).get(topic, {})
    return {name: int(setting["value"]) for name, setting in found.items() if setting["value"] is not None}
