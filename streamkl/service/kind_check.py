"""Kind check: is a column of which nobody said the kind really one of numbers?

Rule: the answer rests on the first 100 values that are not missing, so it comes before any reference is learnt
and does not depend on how the rows were cut into batches.
"""

from __future__ import annotations

from collections.abc import Sequence

from streamkl.errors import ConfigError
from streamkl.service.batch import Reject
from streamkl.service.values import is_missing

VALUES_LOOKED_AT = 100
TEXT_SHOWN = 40


class KindCheck:
    """Refuses columns of text; a column with one number among its first values is a column of numbers.

    >>> KindCheck(["x"]).look("x", ["a"] * 100, range(2, 102))
    Traceback (most recent call last):
    streamkl.errors.ConfigError: column 'x' holds text ('a' in line 2); to watch it as categories: --kind categorical
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._texts = dict.fromkeys(columns, 0)
        self._first: dict[str, Reject] = {}

    def look(self, column: str, fields: Sequence[object], lines: Sequence[int]) -> None:
        """Look at the next fields of a column. Raises ConfigError if it holds text."""
        if column not in self._texts:
            return
        for field, line in zip(fields, lines, strict=True):
            if is_missing(field) or isinstance(field, dict | list):
                continue
            if not isinstance(field, str) or _is_number(field):
                del self._texts[column]
                return
            self._first.setdefault(column, Reject(line, "", field))
            self._texts[column] += 1
            if self._texts[column] == VALUES_LOOKED_AT:
                self._refuse(column)

    def finish(self) -> None:
        """Say that there are no more rows. Raises ConfigError if all that came was text."""
        for column, texts in self._texts.items():
            if texts:
                self._refuse(column)

    def _refuse(self, column: str) -> None:
        line, _, text = self._first[column]
        shown = text if len(text) <= TEXT_SHOWN else text[:TEXT_SHOWN] + "..."
        raise ConfigError(f"column {column!r} holds text ({shown!r} in line {line}); to watch it as categories: --kind categorical")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
