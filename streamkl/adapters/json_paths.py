"""JSON paths: from a path like `payload.amount` to its names, and from many paths to the class that msgspec fills.

Rule 1: a dot goes one object down, `\\.` is a dot inside a name and `\\\\` a backslash; elements of arrays have no path.
Rule 2: what is not there, or lies below something that is no object, is ABSENT; it is never a fault of the record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec

from streamkl.errors import ConfigError
from streamkl.service.batch import ABSENT

PART = re.compile(r"((?:[^.\\]|\\[.\\])+)(\.|$)", re.DOTALL)
ESCAPED = re.compile(r"\\(.)", re.DOTALL)

Getter = Callable[[object], object]


def names(path: str) -> tuple[str, ...]:
    r"""Return the names along a path. Raises ConfigError for an empty name or another backslash.

    >>> names("payload.amount"), names(r"user\.name")
    (('payload', 'amount'), ('user.name',))
    """
    found, at = [], 0
    while match := PART.match(path, at):
        found.append(ESCAPED.sub(r"\1", match[1]))
        at = match.end()
        if not match[2]:
            return tuple(found)
    raise ConfigError(f"path {path!r} cannot be read at {path[at:]!r}: names joined by dots, a dot inside a name is written \\., a backslash \\\\")


class PathTree:
    """What msgspec fills: an object, of which only what lies on the paths is built.

    paths: each once. A path may end at an object of which another path wants a part; then that object is built whole.
    >>> tree = PathTree([("p", "x"), ("y",)])
    >>> [tree.getter(names)(tree.of({"p": {"x": 1}, "y": [2]})) for names in tree.paths]
    [1, [2]]
    """

    def __init__(self, paths: Sequence[tuple[str, ...]]) -> None:
        self.paths = tuple(paths)
        self._leaves = {path[0] for path in paths if len(path) == 1}
        self._names = list(dict.fromkeys(path[0] for path in paths))
        below = {name: [path[1:] for path in paths if path[0] == name and len(path) > 1] for name in self._names if name not in self._leaves}
        self._below: Mapping[str, PathTree] = {name: PathTree(inner) for name, inner in below.items()}
        self._attributes = {name: f"field_{i}" for i, name in enumerate(self._names)}
        self.is_plain = self._can_be_matched()
        self.record: Any = self._struct()

    def of(self, fields: Mapping[str, object]) -> object:
        """Return an object that was read whole in the form that msgspec would have given."""
        return self.record(**{self._attributes[name]: self._inner(name, fields[name]) for name in self._names if name in fields})

    def getter(self, path: tuple[str, ...]) -> Getter:
        """Return what takes the field at a path out of a record; it may raise AttributeError where something on the way is no object."""
        attributes: list[str] = []
        tree = self
        for i, name in enumerate(path):
            attributes.append(tree._attributes[name])
            if name in tree._leaves:
                found = attrgetter(".".join(attributes))
                return partial(_descend, found, path[i + 1 :]) if path[i + 1 :] else found
            tree = tree._below[name]
        raise KeyError(path)

    def _inner(self, name: str, value: object) -> object:
        return self._below[name].of(value) if name in self._below and isinstance(value, dict) else value

    def _can_be_matched(self) -> bool:
        """Return whether msgspec can have fields of such names: it cannot where JSON has to escape them."""
        own = all(json.dumps(name, ensure_ascii=False) == f'"{name}"' for name in self._names)
        return own and all(tree.is_plain for tree in self._below.values())

    def _struct(self) -> Any:
        fields: list[Any] = [(self._attributes[name], Any, ABSENT) for name in self._names if name not in self._below]
        for name, tree in self._below.items():
            fields.append((self._attributes[name], tree.record | None | bool | int | float | str | list[Any], tree.record()))
        rename = {attribute: name for name, attribute in self._attributes.items()} if self.is_plain else None
        return msgspec.defstruct("Record", fields, rename=rename, frozen=True, gc=False)


def _descend(found: Getter, rest: Sequence[str], record: object) -> object:
    """Return what lies below an object that was built whole."""
    value = found(record)
    for name in rest:
        value = value.get(name, ABSENT) if isinstance(value, dict) else ABSENT
    return value


def column(getter: Getter, records: Sequence[object]) -> list[object]:
    """Return the field of each record; ABSENT where something on the way to it is no object."""
    try:
        return list(map(getter, records))
    except AttributeError:
        return [field(getter, record) for record in records]


def field(getter: Getter, record: object) -> object:
    """Return the field of one record, ABSENT where something on the way to it is no object."""
    try:
        return getter(record)
    except AttributeError:
        return ABSENT
