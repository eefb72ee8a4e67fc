"""Learnt state: the stored state of many streams that have learnt, written at once: one stream learns, all others begin as it is.

Rule: it is written through the service's own checkpoint, as if the service had committed it; nothing of a topic or file was read yet.
"""

from __future__ import annotations

import os

import numpy as np

from streamkl.app import build_service
from streamkl.app.config import Config, load
from streamkl.detect.pieces import cut, fingerprint
from streamkl.service.entries import PROGRESS_KEY, VERSION, Progress, StoredField, StoredRow, encoded, row_key, sketch_key
from streamkl.service.ports import RecordSource
from streamkl.service.record import Partition
from streamkl.service.work import UnitOfWork

KEYS_A_UNIT = 200


def write(path: str, keys: int, partitions: int, offset: int = 0) -> int:
    """Write the state of a configuration's streams: keys as in `traffic`, all before `offset`; return its bytes."""
    config = load(path, os.environ)
    (feed,) = build_service.feeds(config)
    core = _core(config)
    chunks = [StoredField(field.name, fingerprint(field.fresh), offset, []) for field in feed.fields]
    source, store = (build_service.kafka if config.is_kafka else build_service.embedded)(config, None)
    size = 0
    try:
        member = _membership(source) if config.is_kafka else None
        for number in range(partitions):
            partition = Partition(feed.topic, number)
            store.restore(partition)
            mine = [f"k{key:06}" for key in range(number, keys, partitions)]
            for start in range(0, len(mine), KEYS_A_UNIT):
                changes = {PROGRESS_KEY: encoded(PROGRESS_KEY, Progress(VERSION, offset, offset, config.application))}
                for key in mine[start:start + KEYS_A_UNIT]:
                    row = row_key(feed.name, key)
                    changes[row] = encoded(row, StoredRow(VERSION, offset, chunks))
                    changes.update({sketch_key(feed.name, key, field.name): core for field in feed.fields})
                store.commit(UnitOfWork({partition: offset}, {partition: changes}, membership=member))
                size += sum(map(len, changes.values()))
    finally:
        source.close()
        store.close()
    return size


def _membership(source: RecordSource) -> object:
    """Return what the group says of us once we are in it."""
    while True:
        arrivals = source.poll(1.0)
        if arrivals.gained:
            return arrivals.membership


def _core(config: Config) -> bytes:
    """Return the stored sketch of a stream that has learnt all it will."""
    (feed,) = build_service.feeds(config)
    detector = feed.fields[0].fresh.clone()
    detector.update_many(np.random.default_rng(7).standard_normal(30_000))
    pieces = cut(detector)
    assert detector.state == "watching", f"{detector!r} does not watch"
    assert not pieces.chunks, f"{detector!r} still keeps values"
    return pieces.core
