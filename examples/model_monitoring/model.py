#!/usr/bin/env python3
"""What a model says is watched beside what it said while all was well: its labels, its scores, and how far these were from what came true.

    model.py        # seconds; real CPU figures of four servers (../data/README.md)

The model: will CPU be higher in five minutes? Naive Bayes of river, learnt from a server's first 300 rows, then frozen. Its next 600 answers are
normal operation. Three streams of each server are watched:

    label      the share of each predicted label: needs nothing but the model's answers
    score      the probability that it gives: moves before labels do
    brier      (score - outcome)^2, the Brier score of each answer: needs outcomes, and tells when the model is wrong, or too sure

A drift event goes to the corrector. It lets 300 rows come after the change, learns a new model of them, and puts it in place: a new model has
answers of its own, so what watches these begins anew.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from river import base, naive_bayes

from streamkl import Detector, DriftEvent

DATA = Path(__file__).resolve().parent.parent / "data" / "cloudwatch_cpu.csv.gz"
LEARNT, NORMAL, NEW, DAY = 300, 600, 300, 288
KINDS = {"label": "categorical", "score": "numeric", "brier": "numeric"}


class Row(NamedTuple):
    """What the model is asked, when, and the answer that five minutes later turns out to be right."""

    time: str
    x: dict[str, float]
    is_higher: bool


def servers() -> Iterator[tuple[str, list[Row]]]:
    samples: dict[str, list[tuple[str, float]]] = defaultdict(list)
    with gzip.open(DATA, "rt") as file:
        for line in csv.DictReader(file):
            samples[line["server"][-6:]].append((line["timestamp"], float(line["cpu"])))
    for server, taken in samples.items():
        triples = zip(taken, taken[1:], taken[2:], strict=False)
        yield server, [Row(time, {"now": now, "before": before}, later > now) for (_, before), (time, now), (_, later) in triples]


def fitted(rows: list[Row]) -> base.Classifier:
    model = naive_bayes.GaussianNB()
    for row in rows:
        model.learn_one(row.x, row.is_higher)
    return model


class Monitored:
    """A model, what watches it, and the corrector of both."""

    def __init__(self, server: str, learnt: list[Row], is_corrected: bool) -> None:
        self._server, self._model, self._is_corrected = server, fitted(learnt), is_corrected
        self._watching = self._watches()
        self._since_change: list[Row] | None = None
        self.briers: list[float] = []
        self.models = 1

    def _watches(self) -> dict[str, Detector]:
        return {name: Detector(kind=kind, warmup=NORMAL, extend=1, on_drift="hold", name=f"{self._server}/{name}") for name, kind in KINDS.items()}

    def answer(self, row: Row) -> None:
        """Answer, be told what came true, and let what watches see both."""
        score = self._model.predict_proba_one(row.x).get(True, 0.0)
        brier = (score - row.is_higher) ** 2
        self.briers.append(brier)
        for name, value in (("label", "higher" if score > 0.5 else "not higher"), ("score", score), ("brier", brier)):
            event = self._watching[name].update(value)
            if event is not None and event.kind == "drift.raised" and self._is_corrected:
                print(f"{row.time}  DRIFT      {event.stream}: KL {event.farthest.kl:.2f} nats, limit {event.farthest.limit:.2f}; {change(event)}")
                self.correct(event)
        self._learn(row)

    def correct(self, event: DriftEvent) -> None:
        """The corrector: a new model is due. Called again before it is there, it is the same change."""
        if self._since_change is None:
            self._since_change = []

    def _learn(self, row: Row) -> None:
        if self._since_change is None:
            return
        self._since_change.append(row)
        if len(self._since_change) == NEW:
            self._model, self._since_change, self._watching = fitted(self._since_change), None, self._watches()
            self.models += 1
            print(f"{row.time}  CORRECTED  {self._server}: model {self.models} learnt from the {NEW} rows since the alarm; it is watched anew")


def change(event: DriftEvent) -> str:
    largest = event.changed[0]
    return f"{largest.label}: {100 * largest.reference_share:.0f} % -> {100 * largest.window_share:.0f} %"


def main() -> None:
    table = []
    for server, rows in servers():
        print(f"\n{server}: model 1 learnt from {LEARNT} rows, its {NORMAL} answers from {rows[LEARNT].time} on are normal operation")
        runs = []
        for is_corrected in (True, False):
            monitored = Monitored(server, rows[:LEARNT], is_corrected)
            for row in rows[LEARNT:]:
                monitored.answer(row)
            runs.append(monitored)
        if runs[0].models == 1:
            print("nothing was raised")
        table.append((server, *runs))
    print(f"\nBrier score per day, the first {NORMAL // DAY} days normal operation; 0 is best, 0.25 what saying 50 % always earns")
    for server, with_corrector, without in table:
        for name, run in (("corrected", with_corrector), ("left alone", without)):
            days = [sum(run.briers[i:i + DAY]) / DAY for i in range(0, len(run.briers) - DAY + 1, DAY)]
            print(f"{server} {name:10} {' '.join(f'{day:.2f}' for day in days)}   all: {sum(run.briers) / len(run.briers):.3f}")


if __name__ == "__main__":
    main()
