"""Batch: some consecutive records of one source, as columns of the watched fields.

Rule 1: one batch is as good as another: nothing that is decided from it may depend on where it was cut.
Rule 2: fields are as the format gave them (CSV: text; JSON: its own types); their meaning is `values.py` and `times.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple


class Absent:
    """The type of ABSENT: a JSON record that does not have the field at all (null is None)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class Reject(NamedTuple):
    """A fault at one line: of the whole record (which is then left out), or of one value of it."""

    line: int
    reason: str
    example: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records as columns, in the order of the source.

    lines: the line at which each record begins, counted from 1. columns: field name -> one raw field per record.
    rejects: records that could not be read, in line order; they are not in the columns.
    """

    lines: Sequence[int]
    columns: Mapping[str, Sequence[object]]
    rejects: Sequence[Reject] = ()
