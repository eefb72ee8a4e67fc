#!/usr/bin/env python3
"""A classifier that is retrained when its input drifts: is it right more often than the one that is left alone?

    river_retrain.py [PLOT.svg]       # the drawing as a file, too; seconds, nothing is downloaded

Real streams: CPU of four servers every 5 minutes (data/README.md). The question, whose answer comes with the next row: will it be higher in five
minutes? A model of river learns the first 600 rows, then it is frozen, as most models in production are. Each row is predicted before its
answer is known (prequential accuracy). Five ways to go on are compared, for three models:

    never      nothing is done
    KL         a streamkl.Detector watches the input alone; its drift event goes to a corrector, which learns a new model of the next 300 rows
    ADWIN      the same with river's ADWIN on the errors: it needs the answers, which the Detector does not
    weekly     a new model of the last 300 rows each week, whatever happens
    each row   nothing is frozen: the model learns from every row

Then the same on streams that are made so that it cannot help: the rule behind the answers changes, the input never does (SEA, five seeds).
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from river import base, drift, linear_model, naive_bayes, preprocessing, tree
from river.datasets import synth

from streamkl import Detector, DriftEvent

DATA = Path(__file__).resolve().parent / "data" / "cloudwatch_cpu.csv.gz"
LEARNT, NEW, WEEK = 600, 300, 7 * 288
MODELS: dict[str, Callable[[], base.Classifier]] = {
    "naive Bayes": naive_bayes.GaussianNB,
    "logistic": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=50),
}
Row = tuple[dict[str, float], bool]


class Run(NamedTuple):
    """Which rows were predicted right, and after which a new model was put in place."""

    right: list[bool]
    retrained: list[int]

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right)


class Retrainer:
    """The corrector: called with a drift event, it learns a new model as soon as NEW rows have come after it."""

    def __init__(self, make: Callable[[], base.Classifier], learnt: Sequence[Row]) -> None:
        self._make, self.model = make, fitted(make, learnt)
        self._rows: list[Row] | None = None
        self.retrained: list[int] = []

    def __call__(self, event: DriftEvent | None) -> None:
        if self._rows is None:                      # else it is on its way already
            self._rows = []

    def take(self, row: Row, index: int) -> None:
        if self._rows is not None:
            self._rows.append(row)
            if len(self._rows) == NEW:
                self.model, self._rows = fitted(self._make, self._rows), None
                self.retrained.append(index)


def fitted(make: Callable[[], base.Classifier], rows: Sequence[Row]) -> base.Classifier:
    model = make()
    for x, y in rows:
        model.learn_one(x, y)
    return model


class Input:
    """Watches what the model is given: a Detector for each feature; events go to the corrector."""

    def __init__(self, learnt: Sequence[Row], corrector: Retrainer) -> None:
        self._corrector = corrector
        self._detectors = {name: Detector(warmup=LEARNT, extend=1, name=str(name)) for name in learnt[0][0]}
        for name, detector in self._detectors.items():
            detector.update_many([x[name] for x, _ in learnt])

    def take(self, x: dict[str, float], index: int, is_wrong: bool) -> None:
        for name, detector in self._detectors.items():
            event = detector.update(x[name])
            if event is not None and event.kind == "drift.raised":
                self._corrector(event)


class Errors:
    """Watches whether the model was wrong, as soon as the answer is known."""

    def __init__(self, corrector: Retrainer) -> None:
        self._adwin, self._corrector = drift.ADWIN(), corrector

    def take(self, x: dict[str, float], index: int, is_wrong: bool) -> None:
        self._adwin.update(is_wrong)
        if self._adwin.drift_detected:
            self._corrector(None)


class Weekly:
    """Watches the calendar: NEW rows before each week is over the corrector is called."""

    def __init__(self, corrector: Retrainer) -> None:
        self._corrector = corrector

    def take(self, x: dict[str, float], index: int, is_wrong: bool) -> None:
        if (index - LEARNT) % WEEK == WEEK - NEW:
            self._corrector(None)


WAYS = ("never", "KL", "ADWIN", "weekly", "each row")


def run(way: str, make: Callable[[], base.Classifier], rows: Sequence[Row]) -> Run:
    """Return what one way to go on makes of a stream."""
    learnt, right = rows[:LEARNT], []
    corrector = Retrainer(make, learnt)
    watches = {"KL": lambda: Input(learnt, corrector), "ADWIN": lambda: Errors(corrector), "weekly": lambda: Weekly(corrector)}
    watch = watches[way]() if way in watches else None
    for index, (x, y) in enumerate(rows[LEARNT:], LEARNT):
        right.append(corrector.model.predict_one(x) == y)
        corrector.take((x, y), index)
        if watch is not None:
            watch.take(x, index, not right[-1])
        elif way == "each row":
            corrector.model.learn_one(x, y)
    return Run(right, corrector.retrained)


# ---------------------------------------------------------------- streams


def servers() -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows of each server: CPU now and five minutes ago, and whether it will be higher in five minutes."""
    values: dict[str, list[float]] = defaultdict(list)
    with gzip.open(DATA, "rt") as file:
        for line in csv.DictReader(file):
            values[line["server"][-6:]].append(float(line["cpu"]))
    for server, cpu in values.items():
        triples = zip(cpu, cpu[1:], cpu[2:], strict=False)
        yield server, [({"now": now, "before": before}, later > now) for before, now, later in triples]


def same_input_other_rule(seed: int) -> list[Row]:
    """Return 4,000 rows of SEA whose rule changes in the middle; the input is uniform throughout."""
    first, second = (synth.SEA(variant=variant, noise=0.05, seed=seed + variant) for variant in (2, 3))
    return [*islice(first, 2000), *((x, not y) for x, y in islice(second, 2000))]


# ---------------------------------------------------------------- what is shown


def main(drawing: Path | None) -> None:
    print(f"accuracy from row {LEARNT} on; (n): new models put in place\n")
    print(f"{'stream':9}{'model':13}{'always one':>11}" + "".join(f"{way:>13}" for way in WAYS))
    curves, table = {}, []
    for server, rows in servers():
        for name, make in MODELS.items():
            runs = show(server, name, make, rows)
            table.append({way: runs[way].accuracy for way in WAYS})
            if name == "naive Bayes":
                curves[server] = {"never": blocks(runs["never"].right), "KL": blocks(runs["KL"].right)}
    for other in ("never", "ADWIN", "weekly", "each row"):
        print(f"KL beside {other + ':':10}{compared([line['KL'] - line[other] for line in table])}")
    print("\nthe rule changes, the input does not: what watches the input alone cannot help, and must not raise")
    for seed in range(5):
        show(f"SEA {seed}", "naive Bayes", naive_bayes.GaussianNB, same_input_other_rule(seed))
    for server, curve in curves.items():
        print(f"\n{server}, naive Bayes: accuracy per day, o never retrained, # retrained when the input drifts")
        print(text_plot(curve["never"], curve["KL"]))
    if drawing is not None:
        drawing.write_text(svg(curves), encoding="utf-8")
        print(f"\ndrawn in {drawing}")


def show(stream: str, name: str, make: Callable[[], base.Classifier], rows: Sequence[Row]) -> dict[str, Run]:
    """Print a line of the table; return the runs."""
    runs = {way: run(way, make, rows) for way in WAYS}
    share = sum(y for _, y in rows[LEARNT:]) / len(rows[LEARNT:])
    cells = (f"{runs[way].accuracy:.3f}" + (f" ({len(runs[way].retrained)})" if way in WAYS[1:4] else "") for way in WAYS)
    print(f"{stream:9}{name:13}{max(share, 1 - share):11.3f}" + "".join(f"{cell:>13}" for cell in cells), flush=True)
    return runs


def compared(differences: Sequence[float], even: float = 0.005) -> str:
    """Return how often one way is right more often than another, by more than half a point, and by how much on average."""
    better, worse = (sum(sign * difference > even for difference in differences) for sign in (1, -1))
    mean = 100 * sum(differences) / len(differences)
    same = len(differences) - better - worse
    return f"better on {better}, worse on {worse}, the same on {same} of {len(differences)}; on average {mean:+.1f} points"


def blocks(right: Sequence[bool], size: int = 288) -> list[float]:
    """Return the accuracy of each day."""
    return [sum(right[i:i + size]) / size for i in range(0, len(right) - size + 1, size)]


def text_plot(never: Sequence[float], retrained: Sequence[float], height: int = 8) -> str:
    """Return both curves as lines of text, one column of five characters per day, 30 to 100 per cent."""
    lines = []
    for level in range(height, -1, -1):
        low = 0.3 + 0.7 * level / height
        cells = (("o" if at(a, height) == level else " ") + ("#" if at(b, height) == level else " ") for a, b in zip(never, retrained, strict=True))
        lines.append(f"{100 * low:4.0f} % |" + "  ".join(cells).rstrip())
    return "\n".join(lines)


def at(accuracy: float, height: int) -> int:
    return max(0, min(height, round((accuracy - 0.3) / 0.7 * height)))


def svg(curves: dict[str, dict[str, list[float]]], width: int = 640, height: int = 150) -> str:
    """Return the curves of all servers as one drawing, one below the other."""
    size = f'width="{width}" height="{(height + 30) * len(curves)}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">']
    for number, (server, curve) in enumerate(curves.items()):
        top = number * (height + 30) + 20
        parts.append(f'<text x="4" y="{top - 6}">{server}: accuracy per day, grey never retrained, blue when the input drifts</text>')
        for name, colour in (("never", "#999"), ("KL", "#06c")):
            days = curve[name]
            points = " ".join(f"{10 + i * (width - 20) / (len(days) - 1):.1f},{top + height * (1 - y):.1f}" for i, y in enumerate(days))
            parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    if len(sys.argv) > 2 or "-h" in sys.argv or "--help" in sys.argv:
        sys.exit(__doc__)
    main(Path(sys.argv[1]) if len(sys.argv) == 2 else None)
