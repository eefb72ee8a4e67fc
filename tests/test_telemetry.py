"""Telemetry: the exact list of log events and metrics that others rely on."""

from __future__ import annotations

import inspect
import re

import published
import pytest
from structlog.testing import capture_logs

from streamkl.adapters.prometheus import PrometheusMeter
from streamkl.service.command import Command
from streamkl.service.gauges import Gauges
from streamkl.service.metrics import METRICS
from streamkl.service.record import Partition
from streamkl.service.telemetry import MOST_REASONS, Telemetry

P, Q = Partition("payments", 3), Partition("payments", 4)
COMMAND = Command("c1", "forget", "a/*", "a move", "ann", 0)
RAISED = next(event for event in published.events() if event.kind == "drift.raised")

OF_SUBSCRIPTIONS = {"streamkl_deliveries_total", "streamkl_delivery_seconds"}          # test_delivery_telemetry.py

# Called in this order: (method, arguments, level, log event, fields that it must have, samples after it)
CALLS = [
    ("started", ("checkout", "1.2"), "info", "service.started", {"application": "checkout", "version": "1.2"}, {}),
    ("partitions_gained", ([P, Q],), "info", "partitions.gained", {"partitions": ["payments[3]", "payments[4]"], "held": 2},
     {"streamkl_rebalances_total": 1, "streamkl_partitions": 2}),
    ("state_restored", (P, 10, 4096, 70, 90, 0.5), "info", "state.restored",
     {"partition": "payments[3]", "streams": 10, "entries_bytes": 4096, "replay_from": 70, "processed": 90, "seconds": 0.5},
     {"streamkl_restore_seconds_count": 1, "streamkl_restore_seconds_sum": 0.5}),
    ("settings_postponed", (P, 90, ["a/x: budget was 5.0, is 6.0"] * 30), "info", "settings.postponed",
     {"partition": "payments[3]", "until": 90, "changes": ["a/x: budget was 5.0, is 6.0"] * 20, "number": 30}, {}),
    ("state_relearned", ("a/x", "window changed"), "warning", "state.relearned", {"stream": "a/x", "why": "window changed"},
     {"streamkl_relearned_streams_total": 1}),
    ("records_taken", (P, 500, 90_000), "debug", "records.taken", {"partition": "payments[3]", "number": 500, "bytes": 90_000},
     {"streamkl_records_total": 500, "streamkl_input_bytes_total": 90_000}),
    ("records_refused", (P, "not JSON", 3, 77), "warning", "records.refused",
     {"partition": "payments[3]", "reason": "not JSON", "number": 3, "so_far": 3, "first_offset": 77},
     {("streamkl_records_refused_total", "reason", "not JSON"): 3}),
    ("values_refused", ("payments.amount", "not a number", 2), "warning", "values.refused",
     {"stream_entry": "payments.amount", "reason": "not a number", "number": 2, "so_far": 2},
     {("streamkl_values_refused_total", "reason", "not a number"): 2}),
    ("streams_evicted", (P, ["old/x", "old/y"], 9000), "warning", "stream.evicted",
     {"partition": "payments[3]", "stream": "old/x", "idle_records": 9000, "number": 2, "so_far": 2}, {"streamkl_evictions_total": 2}),
    ("learning_postponed", (7,), "debug", "learning.postponed", {"streams": 7}, {"streamkl_postponed_streams": 7}),
    ("partition_stalled", (P, 1000, 61.04), "error", "partition.stalled", {"partition": "payments[3]", "lag": 1000, "seconds": 61.0},
     {"streamkl_stalls_total": 1}),
    ("lag_measured", (P, 42), "debug", "lag.measured", {"partition": "payments[3]", "lag": 42},
     {("streamkl_consumer_lag_records", "topic", "payments", "partition", "3"): 42}),
    ("work_committed", ([P], 500, 11, 2048, 1, {"not JSON": 3}, 0.04), "info", "work.committed",
     {"partitions": ["payments[3]"], "records": 500, "streams": 11, "state_bytes": 2048, "events": 1, "dead_letters": 3, "seconds": 0.04},
     {"streamkl_commits_total": 1, "streamkl_commit_seconds_count": 1, ("streamkl_commit_seconds_bucket", "le", "0.05"): 1,
      "streamkl_state_bytes_total": 2048, "streamkl_streams": 11, ("streamkl_dead_letters_total", "reason", "not JSON"): 3}),
    ("memory_measured", (4096,), "debug", "memory.measured", {"tracker_bytes": 4096}, {"streamkl_tracker_bytes": 4096}),
    ("event_published", (RAISED,), "info", "event.published",
     {"id": RAISED.id, "kind": "drift.raised", "stream": RAISED.stream, "episode": RAISED.episode},
     {("streamkl_drift_events_total", "kind", "drift.raised"): 1}),
    ("readings_published", ([published.reading()],), "debug", "readings.published", {"number": 1, "gauges": 2},
     {"streamkl_readings_total": 1, ("streamkl_divergence_nats", "stream", "payments/EU/amount", "measure", "kl"): 0.25}),
    ("stages_timed", ({"poll": 1.5, "decode": 0.25}, {"decode": 0.2}), "debug", "stages.timed", {"wall_seconds": {"poll": 1.5, "decode": 0.25}},
     {("streamkl_stage_seconds_total", "stage", "poll"): 1.5, ("streamkl_stage_cpu_seconds_total", "stage", "decode"): 0.2}),
    ("unavailable", ("broker", "connection refused", 2.0), "warning", "outside.failed",
     {"what": "broker", "reason": "connection refused", "retry_seconds": 2.0}, {("streamkl_unavailable_total", "what", "broker"): 1}),
    ("partitions_lost", ([P], 4), "info", "partitions.lost", {"partitions": ["payments[3]"], "held": 1},
     {"streamkl_rebalances_total": 2, "streamkl_partitions": 1, "streamkl_streams": 4,
      ("streamkl_consumer_lag_records", "topic", "payments", "partition", "3"): None}),
    ("command_carried_out", (COMMAND, P, 70, 12, 11), "info", "command.executed",
     {"id": "c1", "command": "forget", "streams": "a/*", "by": "ann", "reason": "a move", "partition": "payments[3]", "next_offset": 70,
      "matched": 12, "touched": 11}, {("streamkl_commands_total", "command", "forget"): 1}),
    ("command_unmatched", (COMMAND,), "warning", "command.unmatched", {"id": "c1", "streams": "a/*", "by": "ann"},
     {"streamkl_commands_unmatched_total": 1}),
    ("command_repeated", ("c1", P), "debug", "command.repeated", {"id": "c1", "partition": "payments[3]"}, {}),
    ("command_refused", (8, "id is empty"), "warning", "command.refused", {"offset": 8, "reason": "id is empty", "so_far": 1},
     {"streamkl_commands_refused_total": 1}),
    ("control_failed", ("no broker",), "warning", "control.failed", {"reason": "no broker", "so_far": 1},
     {("streamkl_unavailable_total", "what", "control"): 1}),
    ("stopping", ("SIGTERM",), "info", "signal.received", {"signal": "SIGTERM"}, {}),
    ("stopped", ("SIGTERM",), "info", "service.stopped", {"reason": "SIGTERM"}, {}),
    ("failed", ("fenced",), "error", "service.failed", {"reason": "fenced"}, {}),
]  # fmt: skip


def sample(meter, name):
    """The value of a sample, named by (name, label, value, label, value ...) or by its name alone."""
    name, *labels = (name,) if isinstance(name, str) else name
    return meter.value(name, **dict(zip(labels[::2], labels[1::2], strict=True)))


@pytest.fixture
def told():
    with capture_logs() as logs:
        meter = PrometheusMeter()
        yield Telemetry(meter), meter, logs


def test_each_method_logs_one_event_with_its_fields_and_counts_its_metrics(told):
    telemetry, meter, logs = told
    for method, arguments, level, event, fields, samples in CALLS:
        getattr(telemetry, method)(*arguments)
        (line,) = logs
        logs.clear()
        assert (line["log_level"], line["event"]) == (level, event)
        assert fields.items() <= line.items()
        assert {name: sample(meter, name) for name in samples} == samples


def test_the_list_above_has_every_method():
    assert {name for name, _ in inspect.getmembers(Telemetry, inspect.isfunction) if not name.startswith("_")} == {call[0] for call in CALLS}


def test_every_log_event_is_a_noun_and_a_verb_in_the_past():
    for *_, event, _, _ in CALLS:
        noun, verb = event.split(".")
        assert re.fullmatch("[a-z]+", noun)
        assert re.fullmatch("([a-z]+(ed|en)|lost)", verb)


def test_every_metric_is_counted_by_some_method(told):
    telemetry, meter, _ = told
    before = {(found.name, *found.labels.values()): found.value for family in meter.registry.collect() for found in family.samples}
    changed = set()
    for method, arguments, *_ in CALLS:
        getattr(telemetry, method)(*arguments)
        now = {(found.name, *found.labels.values()): found.value for family in meter.registry.collect() for found in family.samples}
        changed |= {re.sub("_(bucket|count|sum)$", "", key[0]) for key in now if now[key] != before.get(key)}
    assert changed == {metric.name for metric in METRICS} - OF_SUBSCRIPTIONS


def test_the_metrics_that_dashboards_rely_on_are_there():
    promised = {
        "streamkl_records_total": (), "streamkl_drift_events_total": ("kind",), "streamkl_dead_letters_total": ("reason",),
        "streamkl_consumer_lag_records": ("topic", "partition"), "streamkl_restore_seconds": (), "streamkl_rebalances_total": (),
        "streamkl_streams": (), "streamkl_commits_total": (), "streamkl_commit_seconds": (), "streamkl_state_bytes_total": (),
        "streamkl_input_bytes_total": (), "streamkl_stage_seconds_total": ("stage",), "streamkl_evictions_total": (),
        "streamkl_divergence_nats": ("stream", "measure"),
    }  # fmt: skip
    assert promised.items() <= {metric.name: metric.labels for metric in METRICS}.items()


def test_what_repeats_with_every_batch_is_logged_at_powers_of_two_and_always_counted(told):
    telemetry, meter, logs = told
    for i in range(1000):
        telemetry.records_refused(P, "not JSON", 1, i)
        telemetry.values_refused("payments.amount", "not a number", 1)
        telemetry.streams_evicted(P, ["x"], 10)
    for event in ("records.refused", "values.refused", "stream.evicted"):
        assert [line["so_far"] for line in logs if line["event"] == event] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert sample(meter, ("streamkl_records_refused_total", "reason", "not JSON")) == 1000
    telemetry.records_refused(Q, "not JSON", 1, 0)
    assert logs[-1]["partition"] == "payments[4]"


def test_reasons_are_labels_of_bounded_number(told):
    telemetry, meter, _ = told
    for i in range(2 * MOST_REASONS):
        telemetry.records_refused(P, f"reason {i}", 1, i)
        telemetry.work_committed([P], 1, 1, 1, 0, {f"reason {i}": 1}, 0.1)
    for name in ("streamkl_records_refused", "streamkl_dead_letters"):
        (family,) = (family for family in meter.registry.collect() if family.name == name)
        assert len(family.samples) == MOST_REASONS + 1
        assert sum(found.value for found in family.samples) == 2 * MOST_REASONS


# ---------------------------------------------------------------- divergences as gauges


def shown(meter):
    (family,) = (family for family in meter.registry.collect() if family.name == "streamkl_divergence_nats")
    return {(found.labels["stream"], found.labels["measure"]): found.value for found in family.samples}


def test_listed_streams_and_the_farthest_are_gauges_and_those_that_fell_out_are_gone():
    meter = PrometheusMeter()
    telemetry = Telemetry(meter, Gauges(["listed/*"], top=2))
    telemetry.readings_published([published.reading(name, kl) for name, kl in [("listed/a", 0.1), ("b", 0.2)]])
    telemetry.readings_published([published.reading(name, kl) for name, kl in [("c", 0.3), ("d", 0.4)]])
    assert shown(meter) == {
        ("listed/a", "kl"): 0.1, ("listed/a", "js"): 0.05, ("c", "kl"): 0.3, ("c", "js"): 0.15, ("d", "kl"): 0.4, ("d", "js"): 0.2,
    }  # fmt: skip
    telemetry.readings_published([published.reading("c", 0.05)])
    assert {stream for stream, _ in shown(meter)} == {"listed/a", "b", "d"}
    telemetry.readings_published([])
    assert {stream for stream, _ in shown(meter)} == {"listed/a", "b", "d"}


def test_a_stream_of_a_lost_partition_or_an_evicted_one_is_no_gauge_any_longer():
    meter = PrometheusMeter()
    telemetry = Telemetry(meter, Gauges(["a"], top=5))
    telemetry.readings_published([published.reading(name, 0.1, partition=number) for name, number in [("a", 3), ("b", 3), ("c", 4), ("d", 4)]])
    telemetry.partitions_lost([P])
    assert {stream for stream, _ in shown(meter)} == {"c", "d"}
    telemetry.readings_published([published.reading("f", 0.1, partition=4)])
    telemetry.streams_evicted(Q, ["c", "f"], 100)
    telemetry.readings_published([published.reading("e", 0.2, partition=4)])
    assert {stream for stream, _ in shown(meter)} == {"d", "e"}


def taken(gauges, *readings):
    gauges.take(readings)
    return gauges.shown()


def test_a_stream_that_is_learning_has_no_gauge_and_never_ranks():
    gauges = Gauges(["*"], top=1)
    found = taken(gauges, published.unknown_reading("new"), published.reading("old", 0.1))
    assert found == {("old", "kl"): 0.1, ("old", "js"): 0.05}
    assert taken(gauges, published.unknown_reading("old")._replace(partition=published.reading().partition)) == {}


def test_a_name_on_two_partitions_shows_the_farther_one():
    found = taken(Gauges(top=5), published.reading("a", 0.1, partition=0), published.reading("a", 0.4, partition=1))
    assert found[("a", "kl")] == 0.4


def test_the_number_of_gauges_and_what_is_kept_for_them_are_bounded():
    gauges = Gauges(["listed*"], top=2, most=10)
    for i in range(1000):
        gauges.take([published.reading(f"listed{i}", i / 1000), published.reading(f"other{i}", i / 1e6)])
    assert {stream for stream, _ in gauges.shown()} == {f"listed{i}" for i in range(990, 1000)}
    assert len(gauges._listed) + len(gauges._others) == 10 + 20


def test_only_a_star_stands_for_anything_in_a_listed_name():
    gauges = Gauges(["a?[b]/*", "plain"])
    assert [gauges.is_listed(name) for name in ("a?[b]/x\ny", "axb/x", "plain", "plain/x")] == [True, False, True, False]
