"""Traffic: records of 179 bytes with ten watched numbers, made once and sent again and again as batches that stand ready.

Rule 1: a key's records are all in one partition; which key comes next is drawn anew for every record.
Rule 2: sending costs next to nothing, so that who reads has the processor: the bytes of a batch are made once, the broker numbers them.
"""

from __future__ import annotations

import socket
import struct
import time

import numpy as np
from bench_decode import FIELDS, RECORD_BYTES
from kafka.protocol.producer import ProduceRequest, ProduceResponse
from kafka.record.memory_records import MemoryRecordsBuilder

BATCH_BYTES = 100_000           # of one batch of a partition: what a producer with some linger sends
REQUEST_BATCHES = 8
VERSION = 8                     # of the request: the last one before compact encodings
NOT_LEADER = 6
LENGTH = struct.Struct(">i")


class Traffic:
    """So many distinct records over so many keys, in order of sending; values are standard normal in every stream."""

    def __init__(self, keys: int, distinct: int, partitions: int = 4, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.keys, self.partitions = keys, partitions
        self._builders = [_builder() for _ in range(partitions)]
        self._batches: list[tuple[int, int, bytes]] = []        # partition, records, bytes
        now = int(time.time() * 1000)
        for start in range(0, distinct, 10_000):
            count = min(10_000, distinct - start)
            drawn = rng.integers(0, keys, count).tolist()
            for key, row in zip(drawn, rng.standard_normal((count, len(FIELDS))).tolist(), strict=True):
                self._add(key % partitions, value_of(key, row), now)
        for partition in range(partitions):
            self._close(partition)
        self._next = 0

    def send(self, bootstrap: str, topic: str, records: int) -> int:
        """Send on until at least so many records are sent; return how many. The next call goes on behind them, and round and round."""
        sent = 0
        with Connection(bootstrap) as connection:
            while sent < records:
                batches = [self._batches[(self._next + i) % len(self._batches)] for i in range(REQUEST_BATCHES)]
                self._next += REQUEST_BATCHES
                waiting = batches
                while waiting:                                  # one batch of a partition in a request
                    now = {partition: batch for partition, _, batch in reversed(waiting)}
                    connection.produce(topic, now)
                    waiting = [one for one in waiting if now.get(one[0]) is not one[2]]
                sent += sum(count for _, count, _ in batches)
        return sent

    def _add(self, partition: int, value: bytes, at: int) -> None:
        if self._builders[partition].append(at, None, value) is None:
            self._close(partition)
            self._builders[partition].append(at, None, value)

    def _close(self, partition: int) -> None:
        builder, self._builders[partition] = self._builders[partition], _builder()
        if count := builder.next_offset():
            builder.close()
            self._batches.append((partition, count, bytes(builder.buffer())))


class Connection:
    """One connection to the only broker there is."""

    def __init__(self, bootstrap: str) -> None:
        host, port = bootstrap.split(",")[0].rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._number = 0

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def produce(self, topic: str, batches: dict[int, bytes]) -> None:
        """Send one batch to each partition, and wait until the broker has written them; one that does not lead yet is asked again."""
        while faults := self._asked(topic, batches):
            assert set(faults.values()) == {NOT_LEADER}, f"the broker refused a batch, partition -> error code {faults}"
            time.sleep(0.1)
            batches = {partition: batches[partition] for partition in faults}

    def _asked(self, topic: str, batches: dict[int, bytes]) -> dict[int, int]:
        """Return partition -> error code of what was not written."""
        self._number += 1
        partitions = [ProduceRequest.TopicProduceData.PartitionProduceData(index=index, records=batch) for index, batch in batches.items()]
        request = ProduceRequest(
            transactional_id=None, acks=1, timeout_ms=30_000, topic_data=[ProduceRequest.TopicProduceData(name=topic, partition_data=partitions)]
        )
        request.API_VERSION = VERSION
        request.with_header(correlation_id=self._number, client_id="traffic")
        self._socket.sendall(request.encode(header=True, framed=True))
        answer = ProduceResponse.decode(self._received(), version=VERSION, header=True)
        return {one.index: one.error_code for told in answer.responses for one in told.partition_responses if one.error_code}

    def _received(self) -> bytes:
        return self._read(LENGTH.unpack(self._read(LENGTH.size))[0])

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            assert part, "the broker closed the connection"
            parts += part
        return bytes(parts)


def value_of(key: int, row: list[float]) -> bytes:
    """Return one record: a key, ten numbers, and what fills it up to 179 bytes."""
    fields = ",".join(f'"{name}":{x:.6f}' for name, x in zip(FIELDS, row, strict=True))
    text = f'{{"key":"k{key:06}",{fields}'
    padding = RECORD_BYTES - len(text) - len(',"n":""}')
    made = f'{text},"n":"{"x" * max(0, padding)}"}}' if padding >= 0 else text + "}"
    return made.encode()


def _builder() -> MemoryRecordsBuilder:
    return MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=BATCH_BYTES)
