"""Watch: a source, read to its end, through the streams.

Rule: one batch in, its drift events out; the caller decides when to stop.
"""

from __future__ import annotations

from collections.abc import Iterator

from streamkl.detect.event import DriftEvent
from streamkl.errors import RecordError
from streamkl.service.ports import Source
from streamkl.service.streams import Streams
from streamkl.service.values import NOT_A_NUMBER


def watch(source: Source, streams: Streams, is_strict: bool = False) -> Iterator[list[DriftEvent]]:
    """Yield the drift events of each batch, an empty list mostly.

    Raises Unavailable where the source does, after the events before that place; ConfigError for a column that cannot be
    watched; with is_strict RecordError at the first bad row, after the events before it.
    """
    for batch in source.batches():
        yield streams.take(batch)
        if is_strict:
            for fault in streams.faults:
                example = f": {fault.example!r}" if fault.example else ""
                remedy = "without --strict it is counted, and the run goes on"
                if fault.reason.endswith(NOT_A_NUMBER):
                    remedy = f"if its column holds text: --kind categorical; {remedy}"
                raise RecordError(f"{source.name}, line {fault.first_line}: {fault.reason}{example}; {remedy}")
    streams.finish()
