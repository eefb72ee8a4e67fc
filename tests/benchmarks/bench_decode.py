"""What does it cost to decode a record of 179 bytes, of which 10 numbers are watched? Above 1.5 times msgspec alone: revisit the columns.

msgspec alone fills one class with the same 10 fields and builds no columns; json.loads builds everything. Distinct records; runs in turns, medians.
    python tests/benchmarks/bench_decode.py [--records 100000] [--runs 5]
"""

import argparse
import json
import statistics
import time

import msgspec
import numpy as np

from streamkl.adapters.json_record_decoder import JsonRecordDecoder
from streamkl.service.record import PlainRecord
from streamkl.service.values import numbers

FIELDS = [f"f{i}" for i in range(10)]
RECORD_BYTES = 179
BATCH = 500


def records(number, padding=0):
    rows = np.random.default_rng(1).uniform(1, 9, (number, len(FIELDS)))
    found = []
    for i, row in enumerate(rows.tolist()):
        text = json.dumps({"key": f"stream-{i % 1000:04}", **dict(zip(FIELDS, (round(x, 5) for x in row), strict=True))}, separators=(",", ":"))
        text = text[:-1] + ',"n":"' + "x" * (RECORD_BYTES + padding - len(text) - 7) + '"}'
        found.append(PlainRecord("t", 0, i, None, None, text.encode()))
    assert {len(record.value) for record in found} == {RECORD_BYTES + padding}
    return found


def nested(flat):
    """The same numbers, one object further down."""
    return [record._replace(value=b'{"payload":' + record.value + b"}") for record in flat]


def ours(paths, found):
    decoder = JsonRecordDecoder(paths)
    batches = [found[start : start + BATCH] for start in range(0, len(found), BATCH)]
    return lambda: [decoder.decode(batch) for batch in batches]


def alone(found):
    decode = msgspec.json.Decoder(msgspec.defstruct("Record", [(name, float) for name in FIELDS])).decode
    return lambda: [decode(record.value) for record in found]


def with_values(found):
    decoder = JsonRecordDecoder(FIELDS)
    batches = [found[start : start + BATCH] for start in range(0, len(found), BATCH)]

    def run():
        for batch in batches:
            decoded = decoder.decode(batch)
            for name in FIELDS:
                numbers(name, decoded.columns[name], decoded.rows, is_typed=True)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    found = records(options.records)
    jobs = {
        "msgspec alone": alone(found),
        "json.loads": lambda: [json.loads(record.value) for record in found],
        "JsonRecordDecoder": ours(FIELDS, found),
        "JsonRecordDecoder, payload.f0 ...": ours([f"payload.{name}" for name in FIELDS], nested(found)),
        "JsonRecordDecoder, records of 400 bytes": ours(FIELDS, records(options.records, padding=221)),
        "JsonRecordDecoder and numbers": with_values(found),
    }
    taken = {name: [] for name in jobs}
    for _ in range(options.runs):
        for name, job in jobs.items():
            begin = time.process_time()
            job()
            taken[name].append(time.process_time() - begin)
    first = statistics.median(taken["msgspec alone"])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:44}{1e6 * median / options.records:8.2f} us a record{median / first:8.2f} times msgspec alone")


if __name__ == "__main__":
    main()
