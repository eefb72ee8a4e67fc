"""CSV grid: the fields of plain lines, many at a time.

Rule: exactly what `csv_records.py` would read, or None - quotes, uneven rows and blank lines among fields are for that one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

COMMA, LINE_FEED = ord(","), ord("\n")
FIELDS_WORTH_SLICING = 3  # splitting a line costs as much as slicing a third of its fields


def grid(lines: bytes, width: int, wanted: Sequence[int]) -> list[list[str]] | None:
    """Return one list per wanted column of lines that all have `width` fields and no quote, else None.

    lines: at least one, each ended by a line feed.
    >>> grid(b"1,a\\n2,b\\n", 2, [1]), grid(b"1,a\\n2\\n", 2, [1])
    ([['a', 'b']], None)
    """
    if b'"' in lines:
        return None
    if b"\r" in lines:
        if lines.count(b"\r") != lines.count(b"\r\n"):
            return None
        lines = lines.replace(b"\r\n", b"\n")
    codes = np.frombuffer(lines, np.uint8)
    is_line_feed = codes == LINE_FEED
    ends = np.flatnonzero(is_line_feed | (codes == COMMA))
    if len(ends) % width:
        return None
    is_last_of_line = is_line_feed[ends].reshape(-1, width)
    if is_last_of_line[:, :-1].any() or not is_last_of_line[:, -1].all():
        return None
    try:
        text = lines.decode()
    except UnicodeDecodeError:
        return None
    if len(text) == len(lines) and width > FIELDS_WORTH_SLICING * len(wanted):
        return _sliced(text, ends.reshape(-1, width), wanted)
    fields = text[:-1].replace("\n", ",").split(",")
    return [fields[column::width] for column in wanted]


def _sliced(text: str, ends: np.ndarray[tuple[int, int], np.dtype[np.intp]], wanted: Sequence[int]) -> list[list[str]]:
    starts = np.concatenate(([0], ends.ravel()[:-1] + 1)).reshape(ends.shape)
    return [
        [text[start:end] for start, end in zip(starts[:, column].tolist(), ends[:, column].tolist(), strict=True)] for column in wanted
    ]
