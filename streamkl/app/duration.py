"""Duration: a length of time as people type it."""

from __future__ import annotations

import re
from typing import Final

from streamkl.errors import ConfigError

UNITS: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
FORM: Final = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?")


def duration(text: str) -> int:
    """Return seconds. Raises ConfigError for what is no length of time.

    >>> duration("2h"), duration("1d12h"), duration("90s")
    (7200, 129600, 90)
    """
    found = FORM.fullmatch(text.strip().replace(" ", ""))
    seconds = sum(int(number or 0) * unit for number, unit in zip(found.groups(), UNITS.values(), strict=True)) if found else 0
    if not seconds:
        raise ConfigError(f"--for {text[:40]!r} is no length of time; write e.g. 90s, 30m, 2h, 1d12h")
    return seconds


def in_words(seconds: float) -> str:
    """Return a length of time as it is typed.

    >>> in_words(5400), in_words(0.5)
    ('1h30m', '0.5s')
    """
    left, parts = int(seconds), []
    for unit, size in UNITS.items():
        number, left = divmod(left, size)
        parts += [f"{number}{unit}"] if number else []
    return "".join(parts) if seconds == int(seconds) and parts else f"{seconds:g}s"
