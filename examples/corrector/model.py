"""The model: will CPU be higher in five minutes? A logistic regression of river on CPU now and five minutes ago; learnt once, then frozen.

Each model is a file of plain numbers, named by the last line that it learnt and the drift event that asked for it. The newest one answers.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from river import linear_model, preprocessing

LOG, MODELS = Path("served.jsonl"), Path("models")         # what the model server was asked, line by line; the models so far


class Model(NamedTuple):
    """weights of CPU now and before; lines: first and last of the log that it learnt; event: id of the one that asked for it, or ""."""

    now: float
    before: float
    intercept: float
    lines: tuple[int, int]
    event: str

    def answer(self, before: float, now: float) -> bool:
        """Return whether CPU will be higher in five minutes."""
        return self.now * now + self.before * before + self.intercept > 0


def learnt(first: int, event: str = "") -> Model:
    """Return a model of the log from this line on; the last line is only the answer of the one before."""
    cpu = [json.loads(line)["cpu"] for line in LOG.read_text().splitlines()]
    first = max(1, first)
    scaler, regression = preprocessing.StandardScaler(), linear_model.LogisticRegression()
    pipeline = scaler | regression
    for (before, now), later in zip(pairwise(cpu[first - 1:]), cpu[first + 1:], strict=False):
        pipeline.learn_one({"now": now, "before": before}, later > now)
    weights = {name: regression.weights[name] / scaler.vars[name] ** 0.5 for name in ("now", "before")}
    intercept = regression.intercept - sum(weights[name] * scaler.means[name] for name in weights)
    return Model(weights["now"], weights["before"], float(intercept), (first, len(cpu) - 1), event)


def put_in_place(model: Model) -> None:
    """Add a model to those that there are: who looks meanwhile finds it whole, or not at all."""
    MODELS.mkdir(exist_ok=True)
    new = MODELS / "new"
    new.write_text(json.dumps(model._asdict()))
    new.replace(MODELS / f"{model.lines[1]:08}-{model.event or 'first'}.json")


def in_place() -> Model | None:
    """Return the model that answers now, that of the newest lines; None: there is none yet."""
    found = sorted(MODELS.glob("*.json"))
    return _read(found[-1]) if found else None


def learnt_for(event: str) -> Model | None:
    """Return the model that was learnt for this drift event, if one was."""
    return next(map(_read, MODELS.glob(f"*-{event}.json")), None)


def _read(path: Path) -> Model:
    found = json.loads(path.read_text())
    return Model(**{**found, "lines": tuple(found["lines"])})
