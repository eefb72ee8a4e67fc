"""Acceptance: on real streams with known changes, drift is raised where it must be, and nowhere before.

The sets whose licence forbids shipping are read from the folder that STREAMKL_DATA names.
"""

import csv
import gzip
from pathlib import Path

import numpy as np
import open_data
import pytest

from streamkl import Detector

SHIPPED = Path(__file__).parents[1] / "examples/data/cloudwatch_cpu.csv.gz"
needs_data = pytest.mark.skipif(open_data.why_absent() is not None, reason=str(open_data.why_absent()))

# set/stream, warm-up, window, alarms (None: any number), which of them lies within, first and last row; None: any row
CASES = [
    ("nab_cloudwatch_a/rds_cpu_utilization_e47b3b", 600, 144, None, 0, (946, 1060)),
    ("nab_cloudwatch_a/ec2_cpu_utilization_c6585a", 600, 144, 0, None, None),
    ("nab_cloudwatch_a/ec2_cpu_utilization_5f5533", 600, 144, 2, 1, (2930, 3030)),
    ("nab_artificial_a/art_noisy", 600, 144, 0, None, None),
    ("nab_artificial_a/art_daily_small_noise", 1152, 288, 0, None, None),
    ("nab_artificial_a/art_daily_no_noise", 1152, 288, 0, None, None),
    ("nab_artificial_a/art_load_balancer_spikes", 1152, 288, 1, 0, (2890, 2960)),
    ("elec2/vicprice", 1344, 336, None, 0, (17424, 17500)),
    ("elec2/vicdemand", 1344, 336, None, 0, (17424, 17500)),
    ("elec2/transfer", 1344, 336, None, 0, (17424, 17500)),
    ("nsl_kdd_flows/service", 2000, 500, None, 0, (25192, 25800)),
    ("synth_mixed_a/latency_ms", 1000, 250, 2, 0, (6000, 6300)),
    ("synth_mixed_a/endpoint", 1000, 250, 2, 0, (12000, 12400)),
    ("synth_sea/x0", 1000, 250, 0, None, None),
    ("synth_sea/x1", 1000, 250, 0, None, None),
    ("synth_sea/x2", 1000, 250, 0, None, None),
]
NAMES = [case[0] for case in CASES]


def raised(kind, values, **settings):
    return [event.index for event in Detector(kind=kind, **settings).update_many(values) if event.kind == "drift.raised"]


def check(rows, count, which, within):
    assert count is None or len(rows) == count, rows
    if which is not None:
        assert within[0] <= rows[which] <= within[1], rows


@pytest.fixture(scope="module")
def streams():
    return {stream.name: stream for stream in open_data.streams()}


@needs_data
@pytest.mark.parametrize("budget", [1e4, 1e5, 1e6])
@pytest.mark.parametrize(("name", "warmup", "window", "count", "which", "within"), CASES, ids=NAMES)
def test_each_stream_is_raised_where_its_note_says(streams, name, warmup, window, count, which, within, budget):
    stream = streams[name]
    check(raised(stream.kind, stream.values, warmup=warmup, window=window, false_alarms=budget), count, which, within)


@needs_data
@pytest.mark.parametrize("scale", [0.75, 1.25])
@pytest.mark.parametrize(("name", "warmup", "window", "count", "which", "within"), CASES, ids=NAMES)
def test_a_quarter_more_or_less_of_reference_and_window_changes_nothing(streams, name, warmup, window, count, which, within, scale):
    stream = streams[name]
    rows = raised(stream.kind, stream.values, warmup=round(warmup * scale), window=round(window * scale), false_alarms=1e5)
    check(rows, count, which, within)


def shipped(server):
    with gzip.open(SHIPPED, "rt") as lines:
        return np.array([float(row["cpu"]) for row in csv.DictReader(lines) if row["server"].endswith(server)])


@pytest.mark.parametrize("settings", [{}, {"warmup": 600, "window": 144, "false_alarms": 1e5}])
def test_the_shipped_servers_are_raised_where_their_labels_are_with_no_tuning_at_all(settings):
    assert 946 <= raised("numeric", shipped("e47b3b"), **settings)[0] <= 1060
    assert raised("numeric", shipped("c6585a"), **settings) == []
    first, second = raised("numeric", shipped("5f5533"), **settings)
    assert first < 2930 <= second <= 3030
