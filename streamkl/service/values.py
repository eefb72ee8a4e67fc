"""Values: from raw fields of one column to observations.

Rule 1: empty, NA, N/A, NaN, nan, null, None and - (any case) mean "missing" in a numeric column and are no fault.
Rule 2: what cannot be read is a fault and is observed as missing, so that a change of unit ("12" -> "12ms") shows as drift of `missing`.
Rule 3: a number is written in the digits 0 to 9, a point and an exponent: 1_000 and digits of other scripts are faults, true is 1.
Rule 4: a number too large for a float (1e400, 5,000 digits) is an infinity: it falls into the outermost bin.
Rule 5: where fields are typed, a boolean and what is not finite (NaN, Infinity, "1e400") is no number: a fault, observed as missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamkl.service.batch import ABSENT, Reject

NOT_A_NUMBER = "not a number"
NOT_A_VALUE = "an object or a list, not a value"
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})


def is_missing(field: object) -> bool:
    """Return whether a raw field of a numeric column means that there is no value.

    >>> [is_missing(field) for field in ("", " NA ", None, "0", 0)]
    [True, True, True, False, False]
    """
    if isinstance(field, str):
        return field.strip().lower() in MISSING_WORDS
    return field is None or field is ABSENT or (isinstance(field, float) and math.isnan(field))


def numbers(
    column: str, fields: Sequence[object], lines: Sequence[int], is_typed: bool = False
) -> tuple[NDArray[np.float64], list[Reject]]:
    """Return one float per field (NaN: missing) and the faults, in line order.

    fields: text, numbers, booleans (0 and 1), None; anything else is a fault. column: named in the faults. is_typed: see rule 5.
    >>> numbers("x", ["1.5", "", "12ms", "1e400"], [2, 3, 4, 5])
    (array([1.5, nan, nan, inf]), [Reject(line=4, reason='column x: not a number', example='12ms')])
    >>> numbers("x", [1.5, True], [2, 3], is_typed=True)
    (array([1.5, nan]), [Reject(line=3, reason='column x: not a number', example='True')])
    """
    kinds = set(map(type, fields))
    try:
        if kinds <= {float, int}:
            values = np.fromiter(fields, np.float64, len(fields))
        elif not (is_typed and bool in kinds) and _are_plain(fields):
            values = np.fromiter(map(float, fields), np.float64, len(fields))  # type: ignore[arg-type]
        else:
            return _one_by_one(column, fields, lines, is_typed)
        if not is_typed or np.isfinite(values).all():
            return values, []
    except (TypeError, ValueError, OverflowError):
        pass
    return _one_by_one(column, fields, lines, is_typed)


def _one_by_one(column: str, fields: Sequence[object], lines: Sequence[int], is_typed: bool) -> tuple[NDArray[np.float64], list[Reject]]:
    values = np.full(len(fields), math.nan)
    rejects: list[Reject] = []
    read = _typed_number if is_typed else number
    for i, field in enumerate(fields):
        try:
            if not is_missing(field) or (is_typed and isinstance(field, float)):
                values[i] = read(field)
        except OverflowError:
            values[i] = math.inf if field > 0 else -math.inf  # type: ignore[operator]
        except TypeError:
            rejects.append(Reject(lines[i], f"column {column}: {NOT_A_VALUE}"))
        except ValueError:
            rejects.append(Reject(lines[i], f"column {column}: {NOT_A_NUMBER}", str(field)))
    return values, rejects


def is_number(text: str) -> bool:
    """Return whether text is a number.

    >>> is_number(" 1e-3"), is_number("1_000")
    (True, False)
    """
    try:
        number(text)
    except ValueError:
        return False
    return True


def number(field: object) -> float:
    """Return a field as a float. Raises ValueError for text that is no number, TypeError for an object, OverflowError beyond floats."""
    if isinstance(field, str) and not _are_plain([field.strip()]):
        raise ValueError(NOT_A_NUMBER)
    return float(field)  # type: ignore[arg-type]


def _typed_number(field: object) -> float:
    """Return a field as a finite float. Raises ValueError for a boolean and for what is not finite, else as `number` does."""
    try:
        found = math.nan if isinstance(field, bool) else number(field)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(NOT_A_NUMBER)
    return found


def _are_plain(fields: Sequence[object]) -> bool:
    """Return whether no text among the fields holds what float() takes and people do not mean."""
    try:
        text = "".join(fields)  # type: ignore[arg-type]
    except TypeError:
        text = "".join(field for field in fields if isinstance(field, str))
    return text.isascii() and "_" not in text


def categories(column: str, fields: Sequence[object], lines: Sequence[int]) -> tuple[list[object], list[Reject]]:
    """Return one category per field (None: missing) and the faults, in line order.

    Text is taken as it is, apart from the empty text, which is missing: "NA" may well be a country.
    >>> categories("x", ["login", "", 1, [2]], [2, 3, 4, 5])
    (['login', None, 1, None], [Reject(line=5, reason='column x: an object or a list, not a value', example='')])
    """
    kinds = set(map(type, fields))
    values: list[object] = [None if field == "" or field is ABSENT else field for field in fields]
    rejects: list[Reject] = []
    if not kinds & {dict, list}:
        return values, rejects
    for i, value in enumerate(values):
        if isinstance(value, dict | list):
            values[i] = None
            rejects.append(Reject(lines[i], f"column {column}: {NOT_A_VALUE}"))
    return values, rejects
