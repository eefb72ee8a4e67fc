"""Column names: what to say of a watched column that a source does not have.

Rule: names of a file are quoted and shortened; the nearest one is offered.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

NAMES_SHOWN = 30
NAME_LENGTH = 30


def shown(names: Sequence[str]) -> str:
    """Return names for a message.

    >>> shown(["a", "b c"])
    "'a', 'b c'"
    """
    return ", ".join(repr(name[:NAME_LENGTH]) for name in names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def hint(column: str, names: Sequence[str]) -> str:
    """Return what may have been meant, as the end of a message; "" if nobody knows.

    >>> hint("prise", ["price"]), hint("a,b", ["a", "b"])
    ("; did you mean 'price'?", '; several columns: --value a b')
    """
    parts = column.split(",")
    if len(parts) > 1 and set(parts) <= set(names):
        return f"; several columns: --value {' '.join(parts)}"
    near = difflib.get_close_matches(column, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
