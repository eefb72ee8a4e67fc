"""JSON scanner: one JSON object with all its fields, by the json module, for what msgspec refuses or cannot have.

Rule 1: bytes that are not UTF-8 become lone surrogates (`surrogateescape`); whoever uses a text asks `is_unicode`.
Rule 2: no number is an error: what each kind becomes that no double can hold is the caller's choice.
Rule 3: of a key that is there twice the last one counts, as msgspec and nearly every other reader have it.
"""

from __future__ import annotations

import json
import math

INVALID_JSON = "not JSON"
NOT_AN_OBJECT = "JSON, but not an object"
FLOAT_DIGITS = 308  # more digits than any finite float has, and than int() should be asked to read


class JsonScanner:
    """Reads JSON objects. nan: what the literal NaN becomes. beyond: what a number beyond doubles becomes; None: an infinity.

    >>> JsonScanner(nan=None).fields_of(b'{"x": 1e400, "y": NaN}')
    {'x': inf, 'y': None}
    >>> JsonScanner(nan=None).fields_of(b'[1]')
    'JSON, but not an object'
    """

    def __init__(self, nan: object, beyond: object = None) -> None:
        self._nan = nan
        self._beyond = beyond
        self._decoder = json.JSONDecoder(parse_int=self._integer, parse_float=self._float, parse_constant=self._constant)

    def fields_of(self, record: bytes) -> dict[str, object] | str:
        """Return the fields of one record, or the reason why it has none."""
        try:
            fields = self._decoder.decode(record.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError):
            return INVALID_JSON
        return fields if isinstance(fields, dict) else NOT_AN_OBJECT

    def _integer(self, digits: str) -> object:
        return int(digits) if len(digits) <= FLOAT_DIGITS else self._float(digits)

    def _float(self, digits: str) -> object:
        number = float(digits)
        return number if self._beyond is None or math.isfinite(number) else self._beyond

    def _constant(self, name: str) -> object:
        return self._nan if name == "NaN" else math.copysign(math.inf, -1 if name.startswith("-") else 1)
