"""DetectorPool: many streams with the same settings, each with a detector of its own.

Rule: an event is what the stream's own `Detector` would have returned; streams do not see each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from streamkl.detect.detector import Detector
from streamkl.detect.event import DriftEvent
from streamkl.detect.event_time import NO_TIME, checked_times
from streamkl.detect.recent import cleaned
from streamkl.detect.slots import Slots
from streamkl.errors import ConfigError

READINGS = frozenset((
    "autocorrelation", "budget", "clone", "contributions", "criterion", "diagnosis", "divergence", "drift_detected", "evidence", "guarantee",
    "histogram", "n", "name", "reference", "state", "stride", "to_bytes",
))


class StreamView:
    """One stream of a pool, to be read: the reading methods of `Detector`, always of now. It is updated through the pool."""

    __slots__ = ("_name", "_pool")

    def __init__(self, pool: DetectorPool, name: str) -> None:
        self._pool, self._name = pool, name

    def __getattr__(self, reading: str) -> Any:
        if reading not in READINGS:
            raise AttributeError(f"a stream of a pool has no {reading!r}; it can be read ({', '.join(sorted(READINGS))}), and is updated by the pool")
        return getattr(self._pool.detector(self._name), reading)

    def __dir__(self) -> Iterable[str]:
        return sorted(READINGS)

    def __repr__(self) -> str:
        return repr(self._pool.detector(self._name))


@final
class DetectorPool:
    """Watch many streams for drift, each with its own detector; a new name is a new stream. For one thread at a time.

    settings: those of `Detector`, for every stream; `reference` too, then all begin with it. Raises ConfigError for a wrong one.

    >>> pool = DetectorPool(reference=[i % 10 for i in range(1000)], false_alarms=10_000)
    >>> [(event.stream, event.kind) for event in pool.update_many(["a", "b"] * 200, [5.0, 3.0] * 200)]
    [('a', 'drift.raised'), ('b', 'drift.raised')]
    >>> len(pool), pool["a"].state
    (2, 'drifting')
    """

    __slots__ = ("__weakref__", "_fresh", "_names", "_slots")

    def __init__(self, **settings: Any) -> None:
        if "name" in settings:
            raise ConfigError(f"name={settings['name']!r} has no meaning for a pool, whose streams have names of their own; leave it out")
        self._fresh = Detector(**settings)
        self._slots = Slots()
        self._names: dict[str, int] = {}

    def update_many(
        self, streams: Sequence[str] | npt.NDArray[np.integer], values: Iterable[object] | npt.NDArray[np.generic],
        at: Sequence[int] | npt.NDArray[np.int64] | None = None,
    ) -> list[DriftEvent]:
        """Take observations, streams[i] being the name (or the slot, see `slot`) of the stream of values[i]; return the events in order.

        Each is what the stream's own `Detector.update` would have returned, `position` being the index i. at: shape (n,) event times in ms,
        or None. All or nothing: raises TypeError or ValueError before any observation is taken, IndexError for a slot that is not there.
        """
        xs = list(values) if self._fresh.kind == "categorical" else values
        clean = cleaned(self._fresh.kind, xs)
        times = checked_times(at, len(clean))
        slots = self._slots_of(streams, len(clean))
        count = len(clean)
        taken = xs if isinstance(xs, list) and isinstance(clean, list) else clean
        hits = self._slots.take(slots, taken, _no_times(count) if times is None else times, np.arange(count))      # type: ignore[arg-type]
        return [hit.event for hit in hits]

    def slot(self, name: str) -> int:
        """Return the slot of a stream, a new one for a new name; it is the stream's until `discard`."""
        slot = self._names.get(name)
        if slot is None:
            if not isinstance(name, str):
                raise TypeError(f"a stream's name is text, not {name!r}; name it with a str")
            slot = self._names[name] = self._slots.add([self._fresh.clone(name)])
        return slot

    def rebaseline(self, name: str, reason: str = "") -> DriftEvent | None:
        """See `Detector.rebaseline`. Raises KeyError for an unknown stream."""
        return self._slots.rebaseline(self._names[name], reason)

    def undo_rebaseline(self, name: str, reason: str = "") -> DriftEvent | None:
        """See `Detector.undo_rebaseline`. Raises KeyError for an unknown stream."""
        return self._slots.undo_rebaseline(self._names[name], reason)

    def discard(self, name: str) -> None:
        """Forget a stream and all it knows; its slot is given to another one. Raises KeyError for an unknown stream."""
        self._slots.discard(self._names.pop(name), 1)

    def to_bytes(self, name: str) -> bytes:
        """Return all of one stream, see `Detector.to_bytes`. Raises KeyError for an unknown stream."""
        return self.detector(name).to_bytes()

    def restore(self, stored: bytes) -> str:
        """Take over a stream that was stored, in place of the one of its name; return the name. Raises StateError."""
        detector = Detector.from_bytes(stored, self._fresh.alarm)
        if detector.name in self._names:
            self.discard(detector.name)
        self._names[detector.name] = self._slots.add([detector])
        return detector.name

    def detector(self, name: str) -> Detector:
        """Return the detector of a stream, as of now, for reading only. Raises KeyError for an unknown stream."""
        return self._slots.detector(self._names[name])

    def __getitem__(self, name: str) -> StreamView:
        if name not in self._names:
            raise KeyError(name)
        return StreamView(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<DetectorPool: {len(self)} streams>"

    def _slots_of(self, streams: Sequence[str] | npt.NDArray[np.integer], count: int) -> npt.NDArray[np.int64]:
        if isinstance(streams, str):
            raise TypeError("streams must be a sequence of names, one for each value, not one text; repeat it")
        if len(streams) != count:
            raise ValueError(f"{len(streams)} streams for {count} values; give one for each")
        if isinstance(streams, np.ndarray) and streams.dtype.kind in "iu":
            return np.ascontiguousarray(streams, np.int64)
        names = list(streams)
        if set(map(type, names)) <= {str}:
            try:
                return np.fromiter(map(self._names.__getitem__, names), np.int64, count)
            except KeyError:
                return np.fromiter(map(self.slot, names), np.int64, count)
        if all(isinstance(name, (int, np.integer)) and not isinstance(name, bool) for name in names):
            return np.array(names, np.int64)
        if wrong := [name for name in names if not isinstance(name, str)]:
            raise TypeError(f"a stream is a name or a slot, not {wrong[0]!r}; name every stream with a str")
        return np.fromiter(map(self.slot, names), np.int64, count)


def _no_times(count: int) -> npt.NDArray[np.int64]:
    return np.full(count, NO_TIME)
