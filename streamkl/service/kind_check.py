"""Kind check: is a column of which nobody said the kind really one of numbers?

Rule: the answer rests on the first 100 values that are not missing, so it comes before any reference is learnt
and does not depend on how the rows were cut into batches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from streamkl.errors import ConfigError
from streamkl.service.batch import Reject
from streamkl.service.times import millisecond
from streamkl.service.values import is_missing, is_number

VALUES_LOOKED_AT = 100
TEXT_SHOWN = 40
WITH_COMMAS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?|[-+]?\d+,\d+")


class KindCheck:
    """Refuses columns of text; a column with one number among its first values is a column of numbers.

    >>> KindCheck(["x"], "a.csv").look("x", ["a"] * 100, range(2, 102))
    Traceback (most recent call last):
    streamkl.errors.ConfigError: a.csv: column 'x' holds text ('a' in line 2); to watch it as categories: --kind categorical
    """

    def __init__(self, columns: Sequence[str], name: str) -> None:
        self._name = name
        self._texts = dict.fromkeys(columns, 0)
        self._first: dict[str, Reject] = {}

    def look(self, column: str, fields: Sequence[object], lines: Sequence[int]) -> None:
        """Look at the next fields of a column. Raises ConfigError if it holds text."""
        if column not in self._texts:
            return
        for field, line in zip(fields, lines, strict=True):
            if is_missing(field) or isinstance(field, dict | list):
                continue
            if not isinstance(field, str) or is_number(field):
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
        what, remedy = _understood(text, column)
        raise ConfigError(f"{self._name}: column {column!r} holds {what} ({shown!r} in line {line}); {remedy}")


def _understood(text: str, column: str) -> tuple[str, str]:
    """Return what a column of such texts holds, and what to do with it."""
    if WITH_COMMAS.fullmatch(text.strip()):
        return "numbers with commas", "write them without, and decimals with a point"
    if millisecond(text) is not None:
        return "times", f"watch another column, and this one says when: --time {column}"
    return "text", "to watch it as categories: --kind categorical"
