"""Pace: how often what is done, and how much of it at once. Nothing that is found depends on it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple


class Pace(NamedTuple):
    """What the operator allows.

    commit_every_seconds, commit_every_records, commit_every_state_bytes, commit_every_output_bytes (of dead letters), commit_every_events
    (the more there is to write, the longer the pause): whichever comes first. learning_seconds: of one turn of the loop, at most, one learning more.
    state_share: sketch bytes saved per byte of input, at most, unless replay_records (how far a restart goes back in a partition) or replay_seconds
    (how long ago that was taken) asks for more. save_after_records: a sketch that needs no older record is not saved yet.
    shutdown_seconds: to finish the unit of work. stall_seconds: without a record though there are some, until a partition counts as stalled.
    readings_every_seconds: 0: never. lag_every_seconds: how often it is asked for. on_bad_record: "stop" ends the run at the first one.
    """

    commit_every_seconds: float = 5.0
    commit_every_records: int = 50_000
    commit_every_state_bytes: int = 2 << 20
    commit_every_output_bytes: int = 4 << 20
    commit_every_events: int = 200
    poll_seconds: float = 0.2
    learning_seconds: float = 0.2
    state_share: float = 0.4
    replay_records: int = 1_000_000
    replay_seconds: float = math.inf
    save_after_records: int = 0
    shutdown_seconds: float = 30.0
    stall_seconds: float = 60.0
    readings_every_seconds: float = 60.0
    lag_every_seconds: float = 5.0
    longest_retry_seconds: float = 30.0
    on_bad_record: Literal["dead_letter", "skip", "stop"] = "dead_letter"
