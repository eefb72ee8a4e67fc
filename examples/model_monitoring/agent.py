#!/usr/bin/env python3
"""An automated agent is watched by what it does: which tools it calls, and what they answer. Normal operation is the reference.

    agent.py [SEED]        # seconds

The agent is simulated: its calls are drawn, with a seed, from the shares that stand below; no real agent's log is here. At call 3,000 a release
goes out (version 2) whose edits are refused: the agent reads and retries more, and an answer appears that was never seen before. Nothing crashes,
and each single call could have come from the good version: only the shares have changed.

A drift event goes to the corrector, which rolls the release back; the episode ends by itself once a window of calls is normal again. The same
agent without a release is watched beside it, and one that nobody corrects.
"""

from __future__ import annotations

import random
import sys
from typing import NamedTuple

from streamkl import Detector, DriftEvent

TOOLS = {1: {"search": 45, "read": 30, "edit": 15, "run": 10}, 2: {"search": 38, "read": 37, "edit": 19, "run": 6}}
ANSWERS = {1: {"ok": 940, "not found": 35, "timeout": 25}, 2: {"ok": 915, "not found": 35, "timeout": 25, "permission denied": 25}}
CALLS, RELEASE, WARMUP = 8000, 3000, 1000


class Call(NamedTuple):
    tool: str
    answer: str


class Agent:
    """version: which release of it runs."""

    def __init__(self, seed: int) -> None:
        self._random, self.version = random.Random(seed), 1

    def call(self) -> Call:
        tools, answers = TOOLS[self.version], ANSWERS[self.version]
        return Call(*(self._random.choices(list(shares), list(shares.values()))[0] for shares in (tools, answers)))


class RollBack:
    """The corrector: puts the release before in place. The same event twice, or one of another stream, changes nothing more."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.done: list[str] = []

    def __call__(self, event: DriftEvent) -> None:
        if event.kind == "drift.raised" and self._agent.version == 2:
            self._agent.version = 1
            self.done.append(event.id)


class Watched(NamedTuple):
    """What a run came to: calls made by the bad release, events in order."""

    bad_calls: int
    events: list[DriftEvent]


def watch(seed: int, has_release: bool, is_corrected: bool, is_told: bool = False) -> Watched:
    """Run an agent, its behaviour watched."""
    agent = Agent(seed)
    corrector = RollBack(agent)
    watching = {name: Detector(kind="categorical", warmup=WARMUP, on_drift="hold", min_effect=0.01, name=f"agent/{name}") for name in Call._fields}
    bad_calls, events = 0, []
    for number in range(CALLS):
        if has_release and number == RELEASE:
            agent.version = 2
            told(is_told, number, "RELEASE    version 2 goes out")
        bad_calls += agent.version == 2
        for name, value in agent.call()._asdict().items():
            event = watching[name].update(value)
            if event is None or event.kind == "reference.learned":
                continue
            events.append(event)
            told(is_told, number, line(event))
            was = agent.version
            if is_corrected:
                corrector(event)
            if agent.version != was:
                told(is_told, number, "CORRECTED  rolled back to version 1")
    return Watched(bad_calls, events)


def line(event: DriftEvent) -> str:
    if event.kind == "drift.resolved":
        return f"RESOLVED   {event.stream}: normal again, episode {event.episode} is over"
    changes = ", ".join(f"{one.label} {100 * one.reference_share:.1f} % -> {100 * one.window_share:.1f} %" for one in event.changed[:2])
    return f"DRIFT      {event.stream}: {changes}; evidence {event.evidence:,.0f} of {event.budget:,.0f}"


def told(is_told: bool, number: int, text: str) -> None:
    if is_told:
        print(f"call {number:5,}  {text}")


def main(seed: int) -> None:
    print(f"{CALLS:,} calls, the first {WARMUP:,} are the reference (it grows while nothing drifts)\n")
    corrected = watch(seed, True, True, is_told=True)
    alone, calm = watch(seed, True, False), watch(seed, False, False)
    print(f"\ncalls by the bad release: {corrected.bad_calls:,} with the corrector, {alone.bad_calls:,} without")
    print(f"the same agent without a release: {len(calm.events)} events")
    others = [watch(other, True, True) for other in range(seed + 1, seed + 20)]
    found = sorted(run.bad_calls for run in others)
    false = sum(event.kind == "drift.raised" and event.index < RELEASE for run in others for event in run.events)
    print(f"19 more agents, other seeds: rolled back after {found[0]:,} to {found[-1]:,} calls, half of them within {found[9]:,}")
    print(f"false alarms of all 19 before their release, {19 * RELEASE:,} calls: {false}")


if __name__ == "__main__":
    if len(sys.argv) > 2 or (len(sys.argv) == 2 and not sys.argv[1].isdigit()):
        sys.exit(__doc__)
    main(int(sys.argv[1]) if len(sys.argv) == 2 else 1)
