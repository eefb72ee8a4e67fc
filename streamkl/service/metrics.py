"""Metric: what is counted, declared once: name, kind, help and labels; and the meter that counts it.

Rule 1: labels are of bounded number; a stream is one only where the configuration lists it, or for the few that are farthest.
Rule 2: these names are an interface: dashboards and alert rules rely on them.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Protocol


class Metric(NamedTuple):
    """One metric. buckets: upper bounds, of a histogram alone."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


class Meter(Protocol):
    """Called by `Telemetry`, from one thread, per batch or less often; read by others at the same time. A name or label not in METRICS is a KeyError
    or ValueError: our bug."""

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter; amount is never negative."""
        ...

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        ...

    def forget(self, name: str, **labels: str) -> None:
        """Show this gauge no longer; fine if it never was."""
        ...


METRICS: Final = (
    Metric("streamkl_records_total", "counter", "Records taken."),
    Metric("streamkl_input_bytes_total", "counter", "Bytes of the values of the records taken."),
    Metric("streamkl_records_refused_total", "counter", "Records that could not be used, by reason.", ("reason",)),
    Metric("streamkl_values_refused_total", "counter", "Values that were no value of their field and count as missing, by reason.", ("reason",)),
    Metric("streamkl_dead_letters_total", "counter", "Dead letters committed, by reason.", ("reason",)),
    Metric("streamkl_drift_events_total", "counter", "Drift events committed, by kind.", ("kind",)),
    Metric("streamkl_readings_total", "counter", "Readings of divergences published."),
    Metric("streamkl_consumer_lag_records", "gauge", "Offsets between what is processed and the end of the partition.", ("topic", "partition")),
    Metric("streamkl_restore_seconds", "histogram", "Seconds to restore a partition's state.", (), (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)),
    Metric("streamkl_rebalances_total", "counter", "Times that partitions were gained or lost."),
    Metric("streamkl_partitions", "gauge", "Partitions held."),
    Metric("streamkl_streams", "gauge", "Streams held."),
    Metric("streamkl_tracker_bytes", "gauge", "Bytes of native memory that the streams hold."),
    Metric("streamkl_evictions_total", "counter", "Streams forgotten, longest idle first, to keep the limit."),
    Metric("streamkl_relearned_streams_total", "counter", "Streams that learn anew, as what was stored of them could not be kept."),
    Metric("streamkl_postponed_streams", "gauge", "Streams whose learning waits for its turn."),
    Metric("streamkl_stalls_total", "counter", "Times that a partition with records to read did not move."),
    Metric("streamkl_unavailable_total", "counter", "Times that something outside was away.", ("what",)),
    Metric("streamkl_commands_total", "counter", "Commands carried out, once for each partition.", ("command",)),
    Metric("streamkl_commands_refused_total", "counter", "Messages of the control topic that are no command."),
    Metric("streamkl_commands_unmatched_total", "counter", "Commands that named no stream of our partitions."),
    Metric("streamkl_commits_total", "counter", "Units of work committed."),
    Metric("streamkl_commit_seconds", "histogram", "Seconds that the loop stood still to commit.", (),
           (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)),
    Metric("streamkl_state_bytes_total", "counter", "Bytes of state committed."),
    Metric("streamkl_stage_seconds_total", "counter", "Seconds spent in a stage of the loop.", ("stage",)),
    Metric("streamkl_stage_cpu_seconds_total", "counter", "Processor seconds of the loop's own thread spent in a stage.", ("stage",)),
    Metric("streamkl_deliveries_total", "counter",
           "Events of a subscription, by outcome: delivered, retried, dead_lettered, repeated, filtered, foreign.", ("subscription", "outcome")),
    Metric("streamkl_delivery_seconds", "histogram", "Seconds from the first attempt to deliver an event to the last.", ("subscription",),
           (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)),
    Metric("streamkl_divergence_nats", "gauge", "Divergence of a stream that is listed, or among the farthest, in nats.", ("stream", "measure")),
)  # fmt: skip
