"""Stored state: what was damaged is refused with StateError or restores the right state; nothing crashes the interpreter."""

from __future__ import annotations

import functools
import json
import math
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from streamkl import Detector, Reference
from streamkl.detect.state import VERSION, DetectorState
from streamkl.errors import StateError
from streamkl.sketch.blob import seal, unseal

HEADER = struct.Struct("<8s9sHI")      # magic, kind, version, CRC-32 of kind (unpadded), version and payload
MASKS = (0x01, 0x20, 0x80, 0xFF)


def _numeric(**setting):
    return Detector(**{"warmup": 100, "window": 30, "false_alarms": 500, "on_drift": "hold", "name": "s", **setting})


@functools.cache
def samples() -> dict[str, bytes]:
    """One blob per state and kind, small enough to damage every byte."""
    x = np.random.default_rng(1).standard_normal(400)
    y = np.random.default_rng(2).choice(list("abcd"), 400).tolist()
    blobs = {"fresh": _numeric().to_bytes()}
    for name, setting, values in (("numeric", {}, x), ("categorical", {"kind": "categorical"}, y), ("strided", {"stride": 3}, x)):
        det = _numeric(**setting)
        det.update_many(values[:60])
        blobs[f"{name} learning"] = det.to_bytes()
        det.update_many(values[60:250])
        assert det.state == "watching"
        blobs[f"{name} watching"] = det.to_bytes()
        det.update_many([99.0] * 60 if name != "categorical" else ["d"] * 60)
        assert det.state == "drifting"
        blobs[f"{name} drifting"] = det.to_bytes()
        assert det.rebaseline("wanted") is None
        blobs[f"{name} pending"] = det.to_bytes()
    threshold = _numeric(alarm="threshold", measure="js", raise_at=0.1, resolve_at=0.05)
    threshold.update_many(x)
    blobs["threshold"] = threshold.to_bytes()
    given = Detector(x[:120], window=30)
    given.update_many(x[120:140])
    blobs["given reference"] = given.to_bytes()
    return blobs


NAMES = ["fresh", *(f"{k} {s}" for k in ("numeric", "categorical", "strided") for s in ("learning", "watching", "drifting", "pending")),
         "threshold", "given reference"]


def refused_or_right(blob: bytes, damaged: bytes, restore=Detector.from_bytes) -> bool:
    """True if refused; a restored one must be equal, or this fails."""
    try:
        restored = restore(damaged)
    except StateError:
        return True
    assert restored.to_bytes() == blob
    return False


@pytest.mark.parametrize("name", NAMES)
def test_a_blob_restores_what_it_was_made_of(name):
    blob = samples()[name]
    assert isinstance(blob, bytes)
    assert Detector.from_bytes(blob).to_bytes() == blob


@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_byte_is_refused_or_harmless(name):
    blob = samples()[name]
    damaged = bytearray(blob)
    for position in range(len(blob)):
        for mask in MASKS:
            damaged[position] ^= mask
            refused_or_right(blob, bytes(damaged))
            damaged[position] ^= mask


@pytest.mark.parametrize("name", ["numeric learning", "categorical watching"])
def test_every_value_of_the_first_bytes_is_refused_or_harmless(name):
    blob = samples()[name]
    for position in range(min(32, len(blob))):
        for value in range(256):
            refused_or_right(blob, blob[:position] + bytes([value]) + blob[position + 1 :])


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_and_every_extension_is_refused(name):
    blob = samples()[name]
    for length in range(len(blob)):
        with pytest.raises(StateError):
            Detector.from_bytes(blob[:length])
        if length % 16 == 0:
            with pytest.raises(StateError):
                Detector.from_bytes(blob[length + 1 :])
    for extra in (b"\x00", b"\xff" * 8, blob):
        with pytest.raises(StateError):
            Detector.from_bytes(blob + extra)


def test_damage_that_moves_bytes_is_refused():
    rng = np.random.default_rng(7)
    for blob in samples().values():
        for _ in range(200):
            i, j = sorted(rng.integers(0, len(blob), 2).tolist())
            for damaged in (blob[:i] + blob[j:], blob[:i] + blob[i:j][::-1] + blob[j:], blob[:j] + blob[i:], blob[:i] + bytes(j - i) + blob[j:]):
                if damaged != blob:
                    refused_or_right(blob, damaged)


@pytest.mark.parametrize("garbage", [b"", b"\x00", b"garbage", b"\xff" * 1000, b"\x93\x01\x02\x03", b"{}", b"\x80", bytes(range(256)) * 40])
def test_garbage_is_refused_by_detector_and_reference(garbage):
    for restore in (Detector.from_bytes, Reference.from_bytes):
        with pytest.raises(StateError):
            restore(garbage)


@pytest.mark.parametrize("other", [None, "text", 5, 1.5, [], {}, object()])
def test_what_is_not_bytes_is_refused(other):
    for restore in (Detector.from_bytes, Reference.from_bytes):
        with pytest.raises((StateError, TypeError)):
            restore(other)


def test_any_buffer_of_the_same_bytes_restores():
    blob = samples()["numeric watching"]
    for form in (bytearray(blob), memoryview(blob)):
        assert Detector.from_bytes(form).to_bytes() == blob


def test_a_refusal_says_what_to_do():
    with pytest.raises(StateError) as caught:
        Detector.from_bytes(samples()["numeric watching"][:-1])
    assert len(str(caught.value)) > 30


@pytest.mark.parametrize(("values", "kind"), [(np.random.default_rng(3).standard_normal(150).tolist(), "numeric"),
                                              ([1, "1", True, 2.5, None, "x"] * 40, "categorical")])
def test_a_damaged_reference_is_refused_or_right(values, kind):
    blob = Reference.fit(values, kind=kind).to_bytes()
    assert Reference.from_bytes(blob).to_bytes() == blob
    damaged = bytearray(blob)
    for position in range(len(blob)):
        for mask in MASKS:
            damaged[position] ^= mask
            refused_or_right(blob, bytes(damaged), Reference.from_bytes)
            damaged[position] ^= mask
        with pytest.raises(StateError):
            Reference.from_bytes(blob[:position])


def test_a_reference_is_no_detector_and_a_detector_no_reference():
    reference = Reference.fit(np.random.default_rng(3).standard_normal(150)).to_bytes()
    with pytest.raises(StateError):
        Detector.from_bytes(reference)
    for blob in samples().values():
        with pytest.raises(StateError):
            Reference.from_bytes(blob)


def test_a_blob_of_another_process_is_the_same_blob():
    code = (
        "import numpy as np, sys\nfrom streamkl import Detector\n"
        "det = Detector(warmup=100, window=30, false_alarms=500, on_drift='hold', name='s', kind='categorical')\n"
        "det.update_many(np.random.default_rng(2).choice(list('abcd'), 400).tolist()[:60])\n"
        "det.update_many(np.random.default_rng(2).choice(list('abcd'), 400).tolist()[60:250])\n"
        "sys.stdout.buffer.write(det.to_bytes())"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True)
    assert done.stdout == samples()["categorical watching"]


# ---------------------------------------------------------------- whole blobs of wrong content


def sealed(blob: bytes, payload: bytes, *, version: int | None = None) -> bytes:
    """`blob` with another payload or version and the checksum made right again."""
    magic, kind, found, _ = HEADER.unpack_from(blob)
    version = found if version is None else version
    return HEADER.pack(magic, kind, version, zlib.crc32(payload, zlib.crc32(kind.rstrip(b"\0") + struct.pack("<H", version)))) + payload


def opened(blob: bytes):
    return msgspec.msgpack.decode(blob[HEADER.size :])


def instead_of(value) -> Iterator:
    """Values that a writer of this format would never have written there."""
    yield from (None, True, -1, 0, 2, 255, 2**31, 2**63 - 1, 2**64 - 1, 0.5, -1.0, math.nan, math.inf, 1e308)
    yield from ("", "text", b"", b"\xff", [], {}, [1], {"a": 1})
    if isinstance(value, str):
        yield from ("numeric", "categorical", "threshold", "hold", "kl", "x" * 100_000)
    if isinstance(value, bytes):
        yield from (value[:-1], value[:-8], value + bytes(8), value + value, value[::-1])
        yield from (bytes(len(value)), b"\xff" * len(value), b"\x7f" * len(value))
        if len(value) % 8 == 0:
            for number in (math.nan, math.inf, -1.0, 1e308, 5e-324):
                yield np.full(len(value) // 8, number).tobytes()
                yield value[: len(value) // 16 * 8] + np.array([number]).tobytes() + value[len(value) // 16 * 8 + 8 :]
        if value:
            yield bytes([255]) + value[1:]
            yield value[:-1] + bytes([255])
    if isinstance(value, int) and not isinstance(value, bool):
        yield from (value + 1, value - 1, 10 * value + 7)
    if isinstance(value, list) and value:
        yield from (value[:-1], value + value, [None] * len(value), [math.nan] * len(value), [2**64 - 1] * len(value))
    if isinstance(value, dict):
        for key in value:
            yield {k: v for k, v in value.items() if k != key}


def wrong_contents(state, path: tuple = ()) -> Iterator[tuple[str, object]]:
    """Every state that differs from `state` in one place, with the name of the place."""
    for other in instead_of(state):
        yield f"{'/'.join(map(str, path))} = {str(other)[:60]}", other
    places = state.items() if isinstance(state, dict) else list(enumerate(state))[:3] if isinstance(state, list) else []
    for key, value in places:
        for name, other in wrong_contents(value, (*path, key)):
            if isinstance(state, dict):
                yield name, {**state, key: other}
            else:
                yield name, [*state[:key], other, *state[key + 1 :]]


def fault_of(blob: bytes) -> str | None:
    """None if `blob` is refused with StateError, or restores a detector that works and stays sound."""
    try:
        det = Detector.from_bytes(blob)
    except StateError:
        return None
    except Exception as error:
        return f"from_bytes: {error!r:.150}"
    categorical = opened(blob)["settings"]["kind"] == "categorical"
    try:
        for _ in range(3):
            det.update_many(["a", "b", "new", None, "c"] * 30 if categorical else [0.1, -2.0, 99.0, None, 0.3] * 30)
            det.update("d" if categorical else 0.5)
            if not (math.isfinite(det.evidence) and det.evidence >= 0):
                return f"evidence {det.evidence}"
            if det.state != "learning":
                h = det.histogram()
                if not (np.isfinite(h.window).all() and np.isfinite(h.reference).all() and (h.window >= 0).all() and (h.reference >= 0).all()):
                    return "histogram is not counts"
                if not math.isfinite(det.divergence("kl").plug_in):
                    return f"divergence {det.divergence('kl')}"
                det.contributions("kl")
        Detector.from_bytes(det.to_bytes())
    except Exception as error:
        return f"afterwards: {error!r:.150}"
    return None


def faults_of_sample(name: str) -> list[str]:
    blob = samples()[name]
    state = opened(blob)
    assert fault_of(sealed(blob, msgspec.msgpack.encode(state))) is None
    found = []
    for place, other in wrong_contents(state):
        print(place.encode("ascii", "replace").decode(), file=sys.stderr, flush=True)      # the last line, should the interpreter die
        try:
            payload = msgspec.msgpack.encode(other)
        except (OverflowError, TypeError):
            continue
        fault = fault_of(sealed(blob, payload))
        if fault:
            found.append(f"{place}: {fault}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_blob_of_inconsistent_content_is_refused_or_works(name):
    done = subprocess.run([sys.executable, "-W", "ignore", __file__, name], capture_output=True, text=True)
    assert done.returncode == 0, f"the interpreter died ({done.returncode}) after {done.stderr[-300:]}"
    assert json.loads(done.stdout) == []


def test_state_of_a_later_version_is_refused_with_both_versions():
    for blob in samples().values():
        later = sealed(blob, blob[HEADER.size :], version=7)
        with pytest.raises(StateError, match="version 7"):
            Detector.from_bytes(later)
    reference = Reference.fit(np.random.default_rng(3).standard_normal(150)).to_bytes()
    with pytest.raises(StateError, match="version 7"):
        Reference.from_bytes(sealed(reference, reference[HEADER.size :], version=7))


if __name__ == "__main__":
    print(json.dumps(faults_of_sample(sys.argv[1])))


def test_a_given_reference_of_another_kind_or_half_of_one_is_refused():
    learning = Detector(warmup=200)
    learning.update_many(range(50))
    texts = Detector(["a", "b"] * 100, kind="categorical")
    mine, theirs = (unseal("detector", VERSION, det.to_bytes(), DetectorState) for det in (learning, texts))
    for given in ({"given": theirs.given, "given_study": theirs.given_study}, {"given": theirs.given}, {"given_study": theirs.given_study}):
        with pytest.raises(StateError, match="given reference"):
            Detector.from_bytes(seal("detector", VERSION, replace(mine, **given)))


def test_a_matured_detector_that_forgot_a_change_takes_its_own_blob():
    rng = np.random.default_rng(13)
    values = rng.standard_normal(21_000)
    values[1300:] += 0.2
    values[20_000:] += 1
    whole, pieces = Detector(), Detector()
    whole.update_many(values[:20_100])
    for start in range(0, 20_100, 300):
        pieces.update_many(values[start:start + 300])
        pieces = Detector.from_bytes(pieces.to_bytes())
    assert pieces.to_bytes() == whole.to_bytes()
