"""A detector's state in pieces is its whole state, and what was stored once is not stored again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkl import Detector, Reference, StateError
from streamkl.detect.pieces import CHUNK, Pieces, cut, fingerprint, restored

SHORT = {"warmup": 300, "mature_until": 2500, "false_alarms": 300, "on_drift": "hold"}


def lived(seed: int, length: int, kind: str, **setting) -> Detector:
    rng = np.random.default_rng(seed)
    detector = Detector(kind=kind, **{**SHORT, **setting})
    values = rng.normal(size=length) + np.where(np.arange(length) > 0.7 * length, 2.0, 0.0)
    detector.update_many(values if kind == "numeric" else ["abcdefghijkl"[int(abs(x) * 2) % 12] for x in values])
    return detector


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
@given(seed=st.integers(0, 99), length=st.integers(0, 5000), given_reference=st.booleans())
@settings(max_examples=25)
def test_pieces_put_together_are_the_detector(kind, seed, length, given_reference):
    setting = {"reference": Reference.fit(list(range(500)) if kind == "numeric" else list("abcde" * 100), kind)} if given_reference else {}
    detector = lived(seed, length, kind, **setting)
    again = restored(detector.clone(), cut(detector))
    assert again.to_bytes() == detector.to_bytes()


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_chunks_that_were_stored_stand_while_a_stream_goes_on(kind):
    rng = np.random.default_rng(1)
    detector = Detector(kind=kind, **{**SHORT, "warmup": 10_000, "mature_until": 0})
    stored: dict = {}
    for _ in range(20):
        values = rng.normal(size=450)
        detector.update_many(values if kind == "numeric" else [f"w{int(abs(x) * 3)}" for x in values])
        pieces = cut(detector)
        assert stored.items() <= dict(pieces.chunks).items()
        assert len(pieces.chunks) == detector.n // CHUNK
        stored = dict(pieces.chunks)
    assert len(cut(detector).core) < 8 * CHUNK + 2000


def test_a_chunk_that_differs_is_another_one():
    one, two = Detector(warmup=2000), Detector(warmup=2000)
    one.update_many([1.0] * 600)
    two.update_many([1.0] * 599 + [2.0])
    assert cut(one).chunks.keys() == cut(two).chunks.keys()
    three = Detector(warmup=2000)
    three.update_many([2.0] * 600)
    assert cut(one).chunks.keys().isdisjoint(cut(three).chunks.keys())


@pytest.mark.parametrize("damage", ["chunk", "core", "other chunk", "missing chunk"])
def test_damaged_pieces_are_refused(damage):
    detector = Detector(warmup=2000)
    detector.update_many(np.arange(1100.0))
    core, chunks = cut(detector)
    names = list(chunks)
    if damage == "chunk":
        chunks = {**chunks, names[0]: chunks[names[0]][:-1] + b"x"}
    elif damage == "core":
        core = core[:50] + bytes([core[50] ^ 1]) + core[51:]
    elif damage == "other chunk":
        chunks = {names[0]: chunks[names[1]], names[1]: chunks[names[0]]}
    else:
        chunks = {names[1]: chunks[names[1]]}
    with pytest.raises(StateError):
        restored(Detector(warmup=2000), Pieces(core, chunks))


def test_settings_that_may_change_do_not_bind_a_state():
    plain = fingerprint(Detector())
    assert fingerprint(Detector(false_alarms=10_000, min_effect=None, on_drift="hold", hold_for=9, name="other")) == plain
    bound = {"warmup": 601, "window": 50, "stride": 2, "kind": "categorical", "mature_until": 0, "extend": 1, "alarm": "threshold"}
    for setting in ({name: value} for name, value in bound.items()):
        assert fingerprint(Detector(**setting)) != plain
