"""What does an observation cost as things grow? If a line climbs by more than memory's latency: something is O(streams), O(window) or O(bins).

Streams of a pool are hit at random, 5,000 in a batch; each has a window, evidence and edges of its own (1,000 distinct references). Windows and
bins are those of one stream. Fields are those of a JSON message that goes through decoding, look-up and detection, all but the broker.
    python tests/benchmarks/bench_growth.py [--most 100000] [--out FOLDER]      # --out: growth.json and growth.svg; --most 1000000: 6 GB, minutes
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
from machine import machine, told

from streamkl import Detector
from streamkl.adapters.json_record_decoder import JsonRecordDecoder
from streamkl.detect.event_time import NO_TIME
from streamkl.detect.kernel.tracker import held_bytes
from streamkl.detect.slots import Slots
from streamkl.service.feed import Feed, Field
from streamkl.service.record import Partition, PlainRecord
from streamkl.service.shard import Shard

BATCH = 5_000
VALUES = 200_000
REFERENCES = 1_000
NEVER = 1e15
ASKED = {100_000: 6, 1_000_000: 8}          # times the cost with 1,000 streams


def best_of(rounds, run, events):
    """Return the least nanoseconds an event of some rounds."""
    best = math.inf
    for i in range(rounds):
        begin = time.perf_counter()
        run(i)
        best = min(best, time.perf_counter() - begin)
    return best / events * 1e9


def of_streams(most):
    """Yield (streams, ns an observation, bytes a stream that the kernel holds)."""
    rng = np.random.default_rng(1)
    patterns = [Detector(rng.standard_normal(1000), false_alarms=NEVER) for _ in range(REFERENCES)]
    slots, held, count = Slots(), held_bytes(), 0
    for wanted in (n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= most):
        while count < wanted:
            slots.add([patterns[count % REFERENCES].clone()])
            count += 1
        times, positions = np.full(BATCH, NO_TIME), np.arange(BATCH)
        batches = [(rng.integers(0, count, BATCH), rng.standard_normal(BATCH)) for _ in range(200)]
        for where, values in batches[:20]:
            slots.take(where, values, times, positions)

        def run(i, batches=batches, times=times, positions=positions):
            slots.take(*batches[i % len(batches)], times, positions)

        yield count, best_of(400, run, BATCH), (held_bytes() - held) / count


def of_windows():
    """Yield (window, ns an observation) of one stream, one by one and in batches."""
    rng = np.random.default_rng(2)
    reference, values = rng.standard_normal(100_000), rng.standard_normal(VALUES)
    for window in (100, 1_000, 5_000, 25_000):
        detector, numbers = Detector(reference, window=window, false_alarms=NEVER), values.tolist()

        def one_by_one(_, update=detector.update, numbers=numbers):
            for x in numbers:
                update(x)

        yield window, best_of(7, one_by_one, VALUES), best_of(7, lambda _, d=detector: d.update_many(values), VALUES)


def of_bins():
    """Yield (bins, ns an observation) of one stream of whole numbers, of categories beyond what numbers have."""
    rng = np.random.default_rng(3)
    for bins in (8, 16, 32, 40):
        values = rng.integers(0, bins, VALUES).astype(float)
        detector = Detector(values[:20_000] + 0.0, false_alarms=NEVER)
        yield len(detector.histogram().labels), best_of(7, lambda _, d=detector, v=values: d.update_many(v), VALUES)
    for bins in (16, 32, 64):
        texts = [f"c{i}" for i in rng.integers(0, bins, VALUES)]
        detector = Detector(texts[:20_000], kind="categorical", false_alarms=NEVER)
        yield -len(detector.histogram().labels), best_of(3, lambda _, d=detector, t=texts: d.update_many(t), VALUES)


def of_fields():
    """Yield (fields, us a message, ns a field)."""
    rng = np.random.default_rng(4)
    for fields in (1, 5, 10, 25, 50):
        count = 40_000
        names = [f"f{i}" for i in range(fields)]
        rows = np.round(rng.normal(100, 15, (count, fields)), 3).tolist()
        values = [json.dumps({"id": f"k{i % 100}", **dict(zip(names, row, strict=True))}).encode() for i, row in enumerate(rows)]
        records = [PlainRecord("t", 0, i, 1_700_000_000_000 + i, None, value) for i, value in enumerate(values)]
        fresh = Detector(rng.normal(100, 15, 1000), false_alarms=NEVER)
        feed = Feed("t", "t", tuple(Field(name, name, fresh) for name in names), JsonRecordDecoder(["id", *names]), key_path="id")
        shard = Shard("bench", Partition("t", 0), [feed], Slots())
        shard.begin(0)

        def run(turn, shard=shard, records=records, count=count):
            later = [record._replace(offset=record.offset + turn * count) for record in records]
            begin = time.perf_counter()
            for start in range(0, count, 2_000):
                shard.take(later[start:start + 2_000], lambda *_: None)
            return time.perf_counter() - begin

        best = min(run(turn) for turn in range(3)) / count
        yield fields, best * 1e6, best / fields * 1e9


def drawing(tables):
    """Return one small chart for each table: both axes logarithmic."""
    charts = []
    for i, (name, rows) in enumerate(tables.items()):
        points = [(math.log10(abs(row[0])), math.log10(row[1])) for row in rows]
        (left, right), (low, high) = ((min(v), max(max(v), min(v) + 0.3)) for v in zip(*points, strict=True))
        low, high = low - 0.2, max(high + 0.2, low + 1)
        spots = [(40 + 200 * (x - left) / (right - left), 190 - 150 * (y - low) / (high - low)) for x, y in points]
        dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="#1668b8"/>'
                       f'<text x="{x:.0f}" y="{y - 8:.0f}" text-anchor="middle">{row[1]:.3g}</text>'
                       f'<text x="{x:.0f}" y="208" text-anchor="middle">{abs(row[0]):,}</text>' for (x, y), row in zip(spots, rows, strict=True))
        charts.append(f'<g transform="translate({280 * i},0)"><text x="140" y="18" text-anchor="middle">{name}</text>{dots}</g>')
    width = 280 * len(tables)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="220" font-family="sans-serif" font-size="11">'
            f'<rect width="{width}" height="220" fill="white"/>{"".join(charts)}</svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--most", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    of_what = machine()
    print(told(of_what))
    tables = {}
    print(f"{'streams':>10}{'ns an observation':>20}{'times 1,000':>14}{'asked':>8}{'bytes a stream':>17}", flush=True)
    tables["streams: ns"] = streams = []
    for row in of_streams(options.most):
        streams.append(row)
        print(f"{row[0]:10,}{row[1]:20.1f}{row[1] / streams[0][1]:14.1f}{ASKED.get(row[0], ''):>8}{row[2]:17,.0f}", flush=True)
    print(f"{'window':>10}{'ns, one by one':>20}{'in batches':>14}")
    tables["window: ns"] = list(of_windows())
    for row in tables["window: ns"]:
        print(f"{row[0]:10,}{row[1]:20.1f}{row[2]:14.1f}", flush=True)
    print(f"{'bins':>10}{'ns, in batches':>20}")
    tables["bins: ns"] = list(of_bins())
    for row in tables["bins: ns"]:
        print(f"{abs(row[0]):10,}{row[1]:20.1f}{'' if row[0] > 0 else '  categories'}", flush=True)
    print(f"{'fields':>10}{'us a message':>20}{'ns a field':>14}")
    tables["fields: us a message"] = list(of_fields())
    for row in tables["fields: us a message"]:
        print(f"{row[0]:10,}{row[1]:20.2f}{row[2]:14.0f}", flush=True)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "growth.json").write_text(json.dumps({"machine": of_what, "tables": tables}, indent=1))
        (options.out / "growth.svg").write_text(drawing({name: rows for name, rows in tables.items() if name != "bins: ns"}))


if __name__ == "__main__":
    main()
