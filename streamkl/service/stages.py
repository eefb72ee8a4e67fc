"""Stages: where the loop spends its time, wall and CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streamkl.service.telemetry import Telemetry

TELL_EVERY_SECONDS = 5.0


class Stages:
    """Sums seconds by stage and tells them now and then. CPU is that of the loop's own thread."""

    def __init__(self, telemetry: Telemetry, clock: Callable[[], float], cpu_clock: Callable[[], float] = time.thread_time) -> None:
        self._telemetry, self._clock, self._cpu_clock = telemetry, clock, cpu_clock
        self._wall: dict[str, float] = {}
        self._cpu: dict[str, float] = {}
        self._told_at = clock()

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count what happens inside as this stage."""
        wall, cpu = self._clock(), self._cpu_clock()
        try:
            yield
        finally:
            self._wall[stage] = self._wall.get(stage, 0.0) + self._clock() - wall
            self._cpu[stage] = self._cpu.get(stage, 0.0) + self._cpu_clock() - cpu

    def tell(self) -> None:
        """Tell what came together, every few seconds."""
        if self._clock() - self._told_at >= TELL_EVERY_SECONDS:
            self._telemetry.stages_timed(self._wall, self._cpu)
            self._wall, self._cpu, self._told_at = {}, {}, self._clock()
