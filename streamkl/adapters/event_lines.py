"""Event lines: drift events as lines of JSON, as `DriftEvent.to_json` writes them.

Rule: what is no drift event is no fault here: others may write lines too; it is the caller who counts.
"""

from __future__ import annotations

import json

from streamkl.detect.event import DriftEvent
from streamkl.errors import RecordError
from streamkl.service.alerts import drift_event


def event_of_line(line: str | bytes) -> DriftEvent | None:
    """Return the event of a line, None if it holds none.

    >>> event_of_line(b'{"kind": "order"}') is None
    True
    """
    try:
        read = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(read, dict):
        return None
    try:
        return drift_event(read)
    except RecordError:
        return None
