"""River state: what a river detector has learnt <-> bytes, without pickle.

Rule 1: bytes hold values alone: no name of a class, function or module. They are filled into a fresh detector of the same settings, whose
attributes decide what may stand where; so nothing is ever imported, made or called that the stored bytes ask for.
Rule 2: numbers, texts, random generators, containers of numbers, objects of river made of these, and ADWIN's native window are known; a detector
that holds anything else is refused before it is used.
Rule 3: settings are not stored: they are those of the fresh detector.
"""

from __future__ import annotations

import copy
import inspect
import math
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from random import Random
from types import MethodType
from typing import Any

import msgspec
import numpy as np

from streamkl.errors import StateError

LARGEST = 1e250                 # what is given to a detector is below 1e100; sums and squares of it are below this
RANDOM = struct.Struct("<625I")     # a Mersenne twister: 624 words and where it stands
RANDOM_VERSION = 3
ADWIN_SETTINGS, ADWIN_SUMS, ADWIN_COUNTS, ROWS_MAX = 36, struct.Struct("<4d"), struct.Struct("<4i"), 60
COUNTERS = ("n", "_n")          # attributes that count, and divide
REHEARSED = (0.0, 1.0, -1.0)
FAILURES = (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)
Node = Any                      # what msgpack holds


class Unknown(TypeError):
    """A detector holds what has no plain form."""


def encoded(detector: object, fresh: object) -> bytes:
    """Return what a detector has learnt. fresh: one of the same settings that has seen nothing. Raises Unknown."""
    return msgspec.msgpack.encode(_attributes(detector, fresh, type(fresh).__name__))


def fill(fresh: Any, state: bytes) -> None:
    """Let a detector that has seen nothing go on from what `encoded` returned. Raises StateError where that does not fit."""
    try:
        _fill(fresh, msgspec.msgpack.decode(state), type(fresh).__name__)
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError, OverflowError, struct.error) as error:
        raise StateError(f"what {type(fresh).__name__} has learnt is damaged: {error}; restore a backup, or discard the stream") from error
    try:
        rehearse(fresh)
    except FAILURES as error:
        raise StateError(f"what {type(fresh).__name__} has learnt is damaged, it fails: {error}; restore a backup, or discard the stream") from error


def rehearse(detector: Any, values: Sequence[float] = REHEARSED) -> None:
    """Let a copy of a detector take a few values; raises what it raises."""
    trial = copy.deepcopy(detector)
    for x in values:
        trial.update(x)
        bool(trial.drift_detected)


# ---------------------------------------------------------------- objects


def _attributes(thing: object, fresh: object, place: str) -> dict[str, Node]:
    if type(thing) is not type(fresh) or vars(thing).keys() != vars(fresh).keys():
        raise Unknown(f"{place} has not the attributes of a fresh one")
    return {name: _node(getattr(thing, name), pattern, f"{place}.{name}") for name, pattern in _learnt(fresh)}


def _learnt(fresh: object) -> Iterator[tuple[str, Any]]:
    """Yield (name, fresh value) of the attributes that are no settings, and do not follow from these."""
    settings = inspect.signature(type(fresh)).parameters
    for name, pattern in sorted(vars(fresh).items()):
        is_setting = name in settings and (pattern is None or isinstance(pattern, (bool, int, float, str)))
        if not is_setting and not isinstance(pattern, MethodType):
            yield name, pattern


def _fill(fresh: object, node: Node, place: str) -> None:
    known = dict(_learnt(fresh))
    if not isinstance(node, dict) or node.keys() != known.keys():
        raise ValueError(f"{place} has not the attributes that it should")
    for name, pattern in known.items():
        value = _value(node[name], pattern, f"{place}.{name}")
        if name in COUNTERS and isinstance(value, (int, float)) and value < 0:
            raise ValueError(f"{place}.{name} is below 0")
        setattr(fresh, name, value)


def _is_of_river(thing: object) -> bool:
    return type(thing).__module__.split(".")[0] == "river" and hasattr(thing, "__dict__")


# ---------------------------------------------------------------- values


def _node(value: Any, pattern: Any, place: str) -> Node:
    """Return the plain form of a value. pattern: what stands there in a fresh detector: `_value` goes by it."""
    if _is_scalar(pattern) and (_is_scalar(value) or isinstance(value, np.generic)):
        return _checked_scalar(value.item() if isinstance(value, np.generic) else value, pattern, place, Unknown)
    for kind, to_plain, _ in FORMS:
        if isinstance(pattern, kind) and type(value) is type(pattern):
            return to_plain(value, place)
    if _is_window(pattern) and _is_window(value):
        return value.__getstate__()
    if _is_of_river(pattern):
        return _attributes(value, pattern, place)
    raise Unknown(f"{place} is a {type(value).__name__}, which has no plain form")


def _value(node: Node, pattern: Any, place: str) -> Any:
    """Return the value of a plain form; raises ValueError for what cannot stand where `pattern` stands in a fresh detector."""
    if _is_scalar(pattern):
        return _checked_scalar(node, pattern, place, ValueError)
    for kind, _, of_plain in FORMS:
        if isinstance(pattern, kind):
            return of_plain(node, pattern, place)
    if _is_window(pattern):
        return _window(node, pattern, place)
    _fill(pattern, node, place)
    return pattern


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _checked_scalar(value: Any, pattern: Any, place: str, error: type[Exception]) -> Any:
    if isinstance(pattern, (str, bool)):
        is_fitting = type(value) is type(pattern)
    elif pattern is None and (value is None or isinstance(value, bool)):
        is_fitting = True
    else:
        is_fitting = _is_number(value) or (isinstance(pattern, float) and math.isinf(pattern) and value == pattern)
    if not is_fitting:
        raise error(f"{place} cannot be {value!r:.40}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST < value < LARGEST and abs(value) == abs(value)


def _plain_numbers(values: Any, place: str) -> list[Node]:
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if wrong := [value for value in plain if not _is_number(value)]:
        raise Unknown(f"{place} holds a {type(wrong[0]).__name__}, which has no plain form")
    return plain


def _numbers(node: Node, place: str) -> list[Node]:
    if not isinstance(node, list) or not all(map(_is_number, node)):
        raise ValueError(f"{place} must be a list of numbers")
    return node


def _queue(node: Node, pattern: deque[Any], place: str) -> deque[Any]:
    values = _numbers(node, place)
    if pattern.maxlen is not None and len(values) > pattern.maxlen:
        raise ValueError(f"{place} has {len(values)} values, and room for {pattern.maxlen}")
    return deque(values, pattern.maxlen)


def _plain_random(value: Random, place: str) -> Node:
    version, words, gauss = value.getstate()
    if type(value) is not Random or version != RANDOM_VERSION:
        raise Unknown(f"{place} is a random generator of a kind that is not known")
    return [RANDOM.pack(*words), gauss]


def _random(node: Node, _: Random, place: str) -> Random:
    if not isinstance(node, list) or len(node) != 2 or not isinstance(node[0], bytes) or not (node[1] is None or _is_number(node[1])):
        raise ValueError(f"{place} is no state of a random generator")
    words = RANDOM.unpack(node[0])
    if not any(words[:-1]) or words[-1] > len(words) - 1:
        raise ValueError(f"{place} is a random generator that stands nowhere")
    made = Random()
    made.setstate((RANDOM_VERSION, words, node[1]))
    return made


def _plain_array(value: np.ndarray[Any, Any], place: str) -> Node:
    if value.dtype.kind not in "biuf":
        raise Unknown(f"{place} is an array of {value.dtype}, which has no plain form")
    return value.tobytes()


def _array(node: Node, pattern: np.ndarray[Any, Any], place: str) -> np.ndarray[Any, Any]:
    if not isinstance(node, bytes) or len(node) != pattern.nbytes:
        raise ValueError(f"{place} must be an array of {pattern.nbytes} bytes")
    found: np.ndarray[Any, Any] = np.frombuffer(node, pattern.dtype).reshape(pattern.shape).copy()
    if not np.isfinite(found).all():
        raise ValueError(f"{place} has a number that is not finite")
    return found


FORMS: tuple[tuple[type, Callable[..., Node], Callable[..., Any]], ...] = (
    (list, _plain_numbers, lambda node, _, place: _numbers(node, place)),
    (tuple, _plain_numbers, lambda node, _, place: tuple(_numbers(node, place))),
    (deque, _plain_numbers, _queue),
    (Random, _plain_random, _random),
    (np.ndarray, _plain_array, _array),
)


# ---------------------------------------------------------------- ADWIN's native window


def _is_window(value: object) -> bool:
    return type(value).__name__ == "AdaptiveWindowing"


def _window(node: Node, pattern: Any, place: str) -> Any:
    """Return ADWIN's window of its own bytes, each part of which is looked at first: its native code takes them unchecked."""
    fresh: bytes = pattern.__getstate__()
    buckets_max = int.from_bytes(fresh[12:20], "little")
    row = struct.Struct(f"<QQQ{buckets_max + 1}dQ{buckets_max + 1}d")
    begin = ADWIN_SETTINGS + ADWIN_SUMS.size + ADWIN_COUNTS.size + 8
    end = fresh[begin + row.size:]              # a fresh one has one row; behind the rows are the settings again
    if not isinstance(node, bytes) or node[:ADWIN_SETTINGS] != fresh[:ADWIN_SETTINGS] or not node.endswith(end):
        raise ValueError(f"{place} was written with other settings, or is none")
    sums = ADWIN_SUMS.unpack_from(node, ADWIN_SETTINGS)
    counts = ADWIN_COUNTS.unpack_from(node, ADWIN_SETTINGS + ADWIN_SUMS.size)
    (rows,) = struct.unpack_from("<Q", node, begin - 8)
    if not 1 <= rows <= ROWS_MAX or len(node) != begin + rows * row.size + len(end) or min(counts) < 0 or not all(map(_is_number, sums)):
        raise ValueError(f"{place} is not as long as it says, or its sums and counts are out of range")
    width = 0
    for number in range(rows):
        most, used, *rest = row.unpack_from(node, begin + number * row.size)
        numbers = [*rest[1:buckets_max + 2], *rest[buckets_max + 3:]]
        is_last = number == rows - 1
        least = (0 if rows == 1 else 1) if is_last else buckets_max - 1
        if (most, rest[0], rest[buckets_max + 2]) != (buckets_max, buckets_max + 1, buckets_max + 1) or not all(map(_is_number, numbers)):
            raise ValueError(f"{place} has a row that is none")
        if not least <= used <= buckets_max:
            raise ValueError(f"{place} has a row of {used} buckets, at least {least} and at most {buckets_max} fit")
        width += used << number
    if sums[2] != width:
        raise ValueError(f"{place} holds {width} values and says {sums[2]}")
    pattern.__setstate__(node)
    return pattern
