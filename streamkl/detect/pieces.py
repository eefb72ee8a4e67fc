"""Pieces: a detector's state, cut so that what was stored already need not be stored again.

Rule 1: raw values - of a stream that learns, matures or drifts - are cut into chunks of CHUNK values from their beginning. Values come at
the end, so a chunk that was stored stands; one that differs has another name, see `Chunk`. A former reference is a chunk of its own.
Rule 2: `join(cut(detector))` is the detector's own blob, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from streamkl.detect.detector import Detector
from streamkl.detect.settings import Settings
from streamkl.detect.state import VERSION, DetectorState, EpisodeState, LearningState, MaturingState, ValuesState
from streamkl.errors import StateError
from streamkl.sketch import blob

CHUNK = 512
NUMBER_BYTES = 8
DIGEST_BYTES = 8
VALUES_VERSION = 1
KEPT = ("budget", "min_effect", "on_drift", "hold_for", "raise_at", "resolve_at", "name")      # settings that may change under a stored state
FORMER = "former"
Part = LearningState | MaturingState | EpisodeState
Value = str | int | float | None


class Chunk(NamedTuple):
    """Where a chunk stands: which part's values, which chunk of these; or which former reference; digest: of what it holds."""

    part: str
    ordinal: int
    digest: bytes


@dataclass(frozen=True)
class Core:
    """What the core holds. chunks: a digest of the names of all chunks that belong to it."""

    state: DetectorState
    chunks: bytes


class Pieces(NamedTuple):
    """core: the state without whole chunks. chunks: these, in order."""

    core: bytes
    chunks: Mapping[Chunk, bytes]


def cut(detector: Detector) -> Pieces:
    """Return the pieces of a detector's state.

    >>> [(chunk.part, chunk.ordinal) for chunk in cut(_learning(1500)).chunks]
    [('learning', 0), ('learning', 1)]
    """
    state = detector.to_state()
    chunks: dict[Chunk, bytes] = {}
    parts: dict[str, Part] = {}
    for name, part in _parts(state):
        whole, rest = _cut(part.values)
        for ordinal, values in enumerate(whole):
            stored = blob.seal("values", VALUES_VERSION, values)
            chunks[Chunk(name, ordinal, _digest_of(stored))] = stored
        parts[name] = replace(part, values=rest)
    formers, end = state.life.formers, state.life.formers_end
    chunks.update((Chunk(FORMER, number, _digest_of(stored)), stored) for number, stored in enumerate(formers, end - len(formers)))
    core = Core(replace(state, life=replace(state.life, formers=[], **parts)), _digest(chunks))      # type: ignore[arg-type]
    return Pieces(blob.seal("pieces", VERSION, core), chunks)


def join(pieces: Pieces) -> DetectorState:
    """Return the whole state; raises StateError where a chunk is damaged or missing, or not the one that belongs to the core."""
    core = blob.unseal("pieces", VERSION, pieces.core, Core)
    chunks = dict(sorted(pieces.chunks.items()))
    if core.chunks != _digest(chunks) or any(_digest_of(stored) != chunk.digest for chunk, stored in chunks.items()):
        raise StateError("the stored values are not those that belong to their sketch; restore a backup, or discard the stream")
    parts: dict[str, Part] = {}
    for name, part in _parts(core.state):
        whole = [blob.unseal("values", VALUES_VERSION, stored, ValuesState) for chunk, stored in chunks.items() if chunk.part == name]
        rest = part.values
        numbers, categories = b"".join(v.numbers for v in whole), [c for v in whole for c in v.categories]
        parts[name] = replace(part, values=ValuesState(numbers + rest.numbers, categories + rest.categories))
    formers = [stored for chunk, stored in chunks.items() if chunk.part == FORMER]
    return replace(core.state, life=replace(core.state.life, formers=formers, **parts)) if parts or formers else core.state  # type: ignore[arg-type]


def fingerprint(detector: Detector) -> bytes:
    """Return a digest of the settings that a stored state is bound to: with others it cannot go on."""
    bound = {name: value for name, value in vars(detector.settings).items() if name not in KEPT}
    return _digest_of(repr(sorted(bound.items())).encode())


def restored(fresh: Detector, pieces: Pieces) -> Detector:
    """Return the stored detector, with those of the settings of `fresh` that may change. Raises StateError."""
    state, settings = join(pieces), fresh.settings
    if differing(settings, state.settings):             # else those of `fresh` are what would come of it
        kept: dict[str, object] = {name: getattr(settings, name) for name in KEPT}
        settings = replace(state.settings, **kept)      # type: ignore[arg-type]
    return Detector.of_state(replace(state, settings=settings), fresh.alarm)


def kept(settings: Settings) -> dict[str, Value]:
    """Return the settings that may change under a stored state, but for the name."""
    return {name: getattr(settings, name) for name in KEPT if name != "name"}


def under(fresh: Detector, values: Mapping[str, Value]) -> Detector:
    """Return a detector that has seen nothing with other values of some of the settings that may change."""
    known: dict[str, object] = {name: value for name, value in values.items() if name in kept(fresh.settings)}
    return Detector.of_state(replace(fresh.to_state(), settings=replace(fresh.settings, **known)), fresh.alarm)      # type: ignore[arg-type]


def stored_settings(pieces: Pieces) -> Settings:
    """Return the settings of a stored state; raises StateError where it is damaged."""
    return blob.unseal("pieces", VERSION, pieces.core, Core).state.settings


def differing(fresh: Settings, stored: Settings) -> list[str]:
    """Return the settings that a stored state is bound to and that are other ones now, each with both values."""
    return _differences(fresh, stored, [name for name in vars(fresh) if name not in KEPT])


def changed(fresh: Settings, stored: Settings) -> list[str]:
    """The same for the settings that may change under a stored state."""
    return _differences(fresh, stored, [name for name in KEPT if name != "name"])


def _differences(fresh: Settings, stored: Settings, names: Sequence[str]) -> list[str]:
    pairs = ((name, getattr(stored, name), getattr(fresh, name)) for name in names)
    return [f"{name} was {before!r}, is {now!r}" for name, before, now in pairs if before != now]


def _digest(chunks: Mapping[Chunk, bytes]) -> bytes:
    return _digest_of(repr(sorted(chunks)).encode())


def _digest_of(stored: bytes) -> bytes:
    return hashlib.blake2b(stored, digest_size=DIGEST_BYTES).digest()


def _parts(state: DetectorState) -> list[tuple[str, Part]]:
    life = state.life
    return [(name, part) for name, part in (("learning", life.learning), ("maturing", life.maturing), ("episode", life.episode)) if part]


def _cut(values: ValuesState) -> tuple[list[ValuesState], ValuesState]:
    """Return the whole chunks of values, and the rest."""
    size, numbers, categories = CHUNK * NUMBER_BYTES, values.numbers, values.categories
    cuts, places = range(0, len(numbers) - size + 1, size), range(0, len(categories) - CHUNK + 1, CHUNK)
    whole = [ValuesState(numbers[i:i + size], []) for i in cuts] + [ValuesState(b"", categories[i:i + CHUNK]) for i in places]
    return whole, ValuesState(numbers[len(cuts) * size:], categories[len(places) * CHUNK:])


def _learning(observations: int) -> Detector:
    detector = Detector(warmup=observations + 1)
    detector.update_many(range(observations))
    return detector
