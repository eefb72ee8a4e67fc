"""Event times: the time of each observation, from a field of the record or, where that fails, from the record itself.

Rule 1: a field that is missing is no fault; one that is not understood (a leap second, `17/May/2015:10:05:03`) is one. Both have the record's time.
Rule 2: a time farther ahead of the record's than allowed is a fault, and the record's time is taken: one clock set to the year 9999
would else end every window in time. Nothing is compared where the record has no time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamkl.detect.event_time import NO_TIME
from streamkl.service.batch import Reject
from streamkl.service.times import milliseconds

TOO_OLD = "before the oldest time allowed"
AHEAD = "too far ahead of the record's own time"


def stamps(timestamps: Sequence[int | None]) -> NDArray[np.int64]:
    """Return the times of records as they came, NO_TIME for None and what is negative.

    >>> stamps([5, -1, None]).tolist() == [5, NO_TIME, NO_TIME]
    True
    """
    return np.fromiter((NO_TIME if stamp is None or stamp < 0 else stamp for stamp in timestamps), np.int64, len(timestamps))


def event_times(
    column: str, fields: Sequence[object], stamps_ms: NDArray[np.int64], lines: Sequence[int], ahead_ms: int,
    oldest_ms: int = NO_TIME,
) -> tuple[NDArray[np.int64], list[Reject]]:
    """Return one time per field, in ms since the epoch in UTC (NO_TIME: none at all), and the faults in line order.

    stamps_ms: of the records, see `stamps`. ahead_ms: how far a field may lie ahead of its record. oldest_ms: the least time that is taken.
    >>> event_times("t", ["1970-01-01T00:00:02Z", "9999-12-31T23:59:59Z", "soon"], stamps([1000, 1000, 1000]), [7, 8, 9], 5000)[0]
    array([2000, 1000, 1000])
    """
    times, rejects = milliseconds(column, fields, lines)
    has_both = (stamps_ms != NO_TIME) & (times != NO_TIME)
    is_ahead = np.zeros(len(times), np.bool_)
    is_ahead[has_both] = times[has_both] - ahead_ms > stamps_ms[has_both]
    faults = [Reject(lines[i], f"column {column}: {AHEAD}", str(fields[i])) for i in np.flatnonzero(is_ahead).tolist()]
    is_old = (times != NO_TIME) & (times < oldest_ms)
    faults += [Reject(lines[i], f"column {column}: {TOO_OLD}", str(fields[i])) for i in np.flatnonzero(is_old).tolist()]
    if faults:
        rejects = sorted([*rejects, *faults], key=lambda reject: reject.line)
    return np.where(is_ahead | is_old | (times == NO_TIME), stamps_ms, times), rejects
