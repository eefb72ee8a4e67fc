"""Log: each drift event as one line of the log, for who gathers logs and nothing else.

Rule: it says which stream, how far and since when; the event itself, with its bins, is in its topic.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

from streamkl.detect.event import DriftEvent
from streamkl.service.cloud_events import rfc3339


class Log:
    """Logs each event as `drift.told`: a raised one as a warning, others for information.

    >>> Log()
    Log()
    """

    def __init__(self) -> None:
        self._log: Any = _logger()

    def __call__(self, event: DriftEvent) -> None:
        """Log one event."""
        far = event.farthest
        told: dict[str, object] = {"id": event.id, "kind": event.kind, "stream": event.stream, "group": event.group, "episode": event.episode}
        told |= {"at": rfc3339(event.at)}
        told |= {"kl": round(far.kl, 4), "limit": round(far.limit, 4), "window": far.window} if far else {}
        told |= {name: text for name, text in (("by", event.by), ("reason", event.reason)) if text}
        (self._log.warning if event.kind == "drift.raised" else self._log.info)("drift.told", **told)

    def __repr__(self) -> str:
        return "Log()"


def _logger() -> Any:
    """Return the log that is configured; where none is, the logger "streamkl" of the standard library."""
    if structlog.is_configured():
        return structlog.get_logger("streamkl")
    before: list[Any] = [structlog.stdlib.filter_by_level, structlog.processors.KeyValueRenderer(key_order=["event"])]
    return structlog.wrap_logger(logging.getLogger("streamkl"), processors=before, wrapper_class=structlog.stdlib.BoundLogger)
