"""Faults of a configuration: one line each, with its place, its path and the nearest known name.

Rule 1: all faults are told at once, in the order of the file.
Rule 2: a line never holds a value from below `source.security`, nor what somebody wrote where a secret's place belongs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from streamkl.app.label import label
from streamkl.errors import ConfigError

FAULT_LENGTH = 900
PATH_LENGTH = 120
FILE_LENGTH = 250
KNOWN_SHOWN = 30

PRIVATE = ("source", "security")
PRIVATE_KEYS = (
    "protocol", "mechanism", "username", "password", "ca_file", "certificate_file", "key_file", "key_password", "check_hostname", "env", "file",
)  # fmt: skip
"""All that may stand below PRIVATE: a key that resembles none of them may be a secret in the wrong place."""

Path = tuple[str | int, ...]


class Fault(NamedTuple):
    """What is wrong, where in the configuration, and what to write instead. line: in the file, 0: not known."""

    path: Path
    sentence: str


class Faults(ConfigError):
    """A configuration with faults. lines: one for each."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)

    def __reduce__(self) -> tuple[type[Faults], tuple[Sequence[str]]]:
        return Faults, (self.lines,)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a part of the configuration was written: a line of the file, or an environment variable."""

    line: int
    variable: str | None = None


class Origins(dict[Path, Origin]):
    """Path -> where it was written."""

    def of(self, path: Path) -> Origin:
        """Return where a path, or the nearest part around it, was written."""
        for length in range(len(path), -1, -1):
            if (origin := self.get(path[:length])) is not None:
                return origin
        return Origin(0)

    def override(self, path: Path, variable: str) -> None:
        """Note that a variable has set a path, and whatever was missing around it."""
        for stale in [one for one in self if one[: len(path)] == path]:
            del self[stale]
        for length in range(1, len(path) + 1):
            self.setdefault(path[:length], Origin(0, variable))


def dotted(path: Path) -> str:
    """Return a path as people write it.

    >>> dotted(("streams", 0, "fields", "amount"))
    'streams[0].fields.amount'
    """
    text = ""
    for depth, part in enumerate(path):
        if depth >= len(PRIVATE) and path[: len(PRIVATE)] == PRIVATE and not _is_plain_key(part):
            part = "<a key>"
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return label(text, PATH_LENGTH)


def shown(name: str) -> str:
    """Return the name of a file on one line."""
    return label(name, FILE_LENGTH)


def _is_plain_key(part: str | int) -> bool:
    text = str(part)
    return text.replace("_", "").isalpha() and nearest(text, PRIVATE_KEYS) is not None


def refuse(name: str, origins: Origins, faults: Iterable[Fault]) -> Faults:
    """Return the error that tells every fault, those of the file by line, then those of the environment."""

    def order(fault: Fault) -> tuple[str, int]:
        origin = origins.of(fault.path)
        return origin.variable or "", origin.line

    return Faults([_line(name, origins, fault) for fault in sorted(dict.fromkeys(faults), key=order)])


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant.

    >>> nearest("bootstrap_server", ["group", "bootstrap_servers"])
    'bootstrap_servers'
    """
    by_lower = {one.lower(): one for one in known}
    found = get_close_matches(name.lower().replace("-", "_"), by_lower, 1)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return the next step for a name that is not known.

    >>> did_you_mean("x", ["kind", "path"])
    'known here: kind, path'
    """
    if found := nearest(name, known):
        return f"did you mean {found}?"
    more = "" if len(known) <= KNOWN_SHOWN else ", ..."
    return f"known here: {', '.join(known[:KNOWN_SHOWN])}{more}" if known else "nothing may stand here; leave it out"


def _line(name: str, origins: Origins, fault: Fault) -> str:
    origin = origins.of(fault.path)
    place = f"environment variable {origin.variable}" if origin.variable else f"{shown(name)}:{origin.line}" if origin.line else shown(name)
    parts = [place, "" if fault.path == (origin.variable,) else dotted(fault.path), fault.sentence]
    return label(": ".join(part for part in parts if part), FAULT_LENGTH)
