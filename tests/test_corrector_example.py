"""examples/corrector: one command, in which drift is raised, a model retrained and the new normal accepted; figures are computed here anew."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from program import streamkl
from river import linear_model, preprocessing

from streamkl.app.config import load

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples" / "corrector"
README = (FOLDER / "README.md").read_text()
LABELS = ("2014-02-19 00:22", "2014-02-24 18:37")       # as the data's authors labelled this server
LATEST = timedelta(hours=28)
DAY = 288
STEP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d) +([\d,]+) +(\d+ %|-)  (\w+) +(.+)$", re.M)


class Step(NamedTuple):
    time: datetime
    offset: int
    kind: str
    why: str


class Ran(NamedTuple):
    folder: Path
    out: str

    @property
    def steps(self) -> list[Step]:
        return [Step(datetime.fromisoformat(time), int(offset.replace(",", "")), kind, why) for time, offset, _, kind, why in STEP.findall(self.out)]

    @property
    def models(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in sorted((self.folder / "models").iterdir())]


def command(folder: Path) -> list[str]:
    assert ".venv/bin/python examples/corrector/run.py\n" in README
    return [sys.executable, "-W", "error", str(FOLDER / "run.py"), str(folder)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("corrector")
    done = subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return Ran(folder, done.stdout)


def again(folder: Path) -> str:
    done = subprocess.run([sys.executable, FOLDER / "corrector.py", "--once"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def cpu() -> list[float]:
    with gzip.open(ROOT / "examples" / "data" / "cloudwatch_cpu.csv.gz", "rt") as file:
        return [float(row["cpu"]) for row in csv.DictReader(file) if row["server"].endswith("5f5533")]


def wrong(model: dict, values: list[float], first: int, end: int) -> float:
    """Share of wrong answers of a stored model to the rows from first to end."""
    answers = [model["now"] * values[at] + model["before"] * values[at - 1] + model["intercept"] > 0 for at in range(first, end)]
    return sum(answer != (values[at + 1] > values[at]) for at, answer in enumerate(answers, first)) / (end - first)


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes that work in a folder; [] where there is no /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(path / "cwd") == str(folder):
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_each_labelled_change_is_raised_then_retrained_then_rebaselined(ran):
    steps = [step for step in ran.steps if step.kind != "LEARNED"]
    assert [step.kind for step in steps] == ["RAISED", "RETRAINED", "REBASELINED"] * 2
    assert [step.offset for step in steps] == sorted({step.offset for step in steps})
    for label, raised in zip(map(datetime.fromisoformat, LABELS), steps[::3], strict=True):
        assert label <= raised.time <= label + LATEST
    assert all("by retrainer: a model of lines" in step.why for step in steps[2::3])


def test_the_models_error_falls_after_each_retraining(ran):
    values, (first, *retrained) = cpu(), ran.models
    assert [model["lines"][1] for model in retrained] == [step.offset for step in ran.steps if step.kind == "RETRAINED"]
    before = first
    for model in retrained:
        start = model["lines"][1] + 1
        after = wrong(model, values, start, start + DAY)
        assert after < 0.75 * wrong(before, values, start - DAY, start)
        assert after < 0.5 * wrong(first, values, start, start + DAY)
        before = model


def test_the_error_that_is_told_is_that_of_the_models_in_place(ran):
    values, models = cpu(), ran.models
    told = {name: [int(share) for share in re.findall(r"(\d+) %", line)] for name, line in re.findall(r"^(with the|the first) (.*)$", ran.out, re.M)}
    for name, chosen in (("with the", models), ("the first", models[:1])):
        shares = []
        for day in range(2 * DAY, len(values), DAY):
            rows = range(day, min(day + DAY, len(values) - 1))
            answering = [max((model for model in chosen if model["lines"][1] < at), key=lambda model: model["lines"][1]) for at in rows]
            shares.append(sum(wrong(model, values, at, at + 1) for at, model in zip(rows, answering, strict=True)) / len(rows))
        assert told[name] == [round(100 * share) for share in shares]


def test_a_model_answers_as_the_one_of_river_that_was_learnt(ran):
    values = cpu()
    for model in ran.models:
        river = preprocessing.StandardScaler() | linear_model.LogisticRegression()
        first, last = model["lines"]
        for at in range(first, last):
            river.learn_one({"now": values[at], "before": values[at - 1]}, values[at + 1] > values[at])
        for at in range(1, len(values), 7):
            answer = model["now"] * values[at] + model["before"] * values[at - 1] + model["intercept"] > 0
            assert answer == river.predict_one({"now": values[at], "before": values[at - 1]})


def test_the_events_tell_who_ended_each_episode_and_why(ran):
    events = [event for event in streamkl("events", f"sqlite://{ran.folder}/state.db", "--json").events if event["kind"] != "reference.learned"]
    assert [event["kind"] for event in events] == ["drift.raised", "reference.rebaselined"] * 2
    for raised, rebaselined, model in zip(events[::2], events[1::2], ran.models[1:], strict=True):
        assert model["event"] == raised["id"]
        assert rebaselined["by"] == "retrainer"
        assert rebaselined["reason"] == "a model of lines {} to {} is in place".format(*model["lines"])
        assert rebaselined["position"] == raised["position"] + 600          # all of the new reference came after the alarm
    with closing(sqlite3.connect(ran.folder / "state.db")) as connection:
        sent = connection.execute("SELECT id, json ->> '$.command' FROM commands ORDER BY sequence").fetchall()
    assert sent == [(raised["id"], "rebaseline") for raised in events[::2]]


def test_a_second_run_of_the_corrector_acts_on_nothing(ran):
    assert "is started once more:  $ corrector.py --once\n0 events dealt with\n" in ran.out
    before = ran.models
    assert again(ran.folder) == "0 events dealt with\n"
    assert ran.models == before


def test_events_that_come_again_act_once(ran, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(ran.folder, folder)
    (folder / "state.db.retrainer.subscription").unlink()                   # its position is lost
    assert again(folder) == "2 events dealt with\n"                         # and tells of no retraining
    assert Ran(folder, "").models == ran.models
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT id) FROM commands").fetchone() == (4, 2)
    monkeypatch.chdir(folder)
    service = streamkl("run", "config.yaml")
    assert service.code == 0, service.err
    assert "command.executed" not in service.err
    assert '"event": "work.committed"' in service.err


def test_another_run_tells_the_same(ran, tmp_path):
    done = subprocess.run(command(tmp_path / "other"), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.replace(str(tmp_path / "other"), str(ran.folder)) == ran.out


def test_its_readme_shows_what_it_prints(ran):
    (shown,) = re.findall(r"^```\n(event time .*?)^```", README, re.S | re.M)
    assert shown.count("RAISED") == 2
    assert [line for line in shown.splitlines() if line not in ran.out.splitlines()] == []


def test_nothing_is_left_running_at_its_end_nor_when_it_is_stopped(ran, tmp_path):
    assert not processes_in(ran.folder)
    with subprocess.Popen(command(tmp_path / "stopped"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert any("RAISED" in line for line in process.stdout)
            others = processes_in(tmp_path / "stopped")
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 143
    assert len(others) == 3
    assert not processes_in(tmp_path / "stopped")


def test_files_of_an_earlier_run_are_left_alone(ran):
    before = (ran.folder / "state.db").read_bytes()
    done = subprocess.run(command(ran.folder), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "give another directory" in done.stderr
    assert (ran.folder / "state.db").read_bytes() == before


def test_its_configuration_is_valid_and_leaves_the_way_back_to_the_corrector():
    config = load(str(FOLDER / "config.yaml"), {})
    assert (config.application, config.detector.on_drift) == ("servers", "hold")
