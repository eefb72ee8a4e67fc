"""`alarm: {river: ADWIN, delta: 0.002}`: what it means for a stream, what is wrong with it, and that a run goes on with it where it ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from configured import FILE, KAFKA, changed, faults, loaded
from program import shifted, streamkl

from streamkl.adapters.river_drift import RiverAlarm
from streamkl.app import build_service

ADWIN = {"river": "ADWIN", "delta": 0.01}


def alarms(config) -> dict[str, object]:
    return {field.name: field.fresh.alarm for feed in build_service.feeds(config) for field in feed.fields}


def test_it_holds_for_all_streams_or_for_one(tmp_path):
    tree = changed(FILE, {"streams.0.fields": {
        "a": "numeric", "b": {"detector": {"alarm": "evidence"}}, "c": {"detector": {"alarm": {"river": "KSWIN", "seed": 3}}},
        "d": {"kind": "categorical", "detector": {"alarm": "threshold"}},
    }, "detector": {"alarm": ADWIN, "min_effect_nats": None}})
    assert faults(tmp_path, tree) == []
    found = alarms(loaded(tmp_path, tree))
    assert isinstance(found["a"], RiverAlarm)
    assert "delta=0.01" in found["a"].name
    assert "ADWIN" in found["a"].name
    assert found["b"] == "evidence"
    assert "KSWIN" in found["c"].name
    assert found["d"] == "threshold"


def test_the_environment_may_give_it_whole_or_change_a_part(tmp_path):
    whole = loaded(tmp_path, FILE, {"STREAMKL__DETECTOR__ALARM": "{river: ADWIN, delta: 0.03}"})
    part = loaded(tmp_path, changed(FILE, {"detector": {"alarm": ADWIN}}), {"STREAMKL__DETECTOR__ALARM__DELTA": "0.03"})
    assert alarms(whole)["amount"].name == alarms(part)["amount"].name
    assert "delta=0.03" in alarms(whole)["amount"].name


@pytest.mark.parametrize(("alarm", "fault"), [
    ({"river": "ADWINN"}, ".river: 'ADWINN' is no drift detector of river; did you mean ADWIN?"),
    ({"river": "adwin"}, ".river: 'adwin' is no drift detector of river; did you mean ADWIN?"),
    ({"river": "zzz"}, ".river: 'zzz' is no drift detector of river; known here: ADWIN, "),
    ({"river": "DDM"}, ".river: DDM takes truth values (whether a model erred), and a stream has numbers; use one of ADWIN"),
    ({"river": "DriftRetrainingClassifier"}, ".river: DriftRetrainingClassifier of river.drift is no drift detector"),
    ({"river": "ADWIN", "detla": 0.1}, ".detla: unknown key; did you mean delta?"),
    ({"river": "ADWIN", "delta": "small"}, ".delta: cannot be text; give a number"),
    ({"river": "ADWIN", "delta": True}, ".delta: cannot be true or false; give a number"),
    ({"river": "ADWIN", "delta": [1]}, ".delta: cannot be a list; give a number"),
    ({"river": "ADWIN", "delta": 2}, ".delta: must lie between"),
    ({"river": "ADWIN", "clock": 1.5}, ".clock: cannot be a number; give a whole number"),
    ({"river": "ADWIN", "max_buckets": 1}, ".max_buckets: must lie between 2 and 1000"),
    ({"river": "KSWIN"}, ".river: seed is missing: without one KSWIN draws other lots after a restart"),
    ({"river": "KSWIN", "seed": 1, "window": [1]}, ".window: cannot be a list; leave it out"),
    ({"river": "KSWIN", "seed": 1, "stat_size": 90}, ".river: window_size=100 must be at least twice stat_size"),
    ({"river": "PageHinkley", "mode": "sideways"}, ".river: PageHinkley refuses its settings: Invalid 'mode'"),
    ({"river": ["ADWIN"]}, ".river: names no detector of river; write evidence, threshold, or e.g. {river: ADWIN, delta: 0.002}"),
    ({"delta": 0.1}, ": names no detector of river; write"),
    ({"flink": "x"}, ": names no detector of river; write"),
    ("ADWIN", ": 'ADWIN' is unknown; use 'evidence' or 'threshold'"),
], ids=str)
def test_a_wrong_one_is_one_fault_with_its_place_and_what_to_write(tmp_path, alarm, fault):
    for place in ("detector", "streams.0.detector", "streams.0.fields.amount.detector"):
        (found,) = faults(tmp_path, changed(KAFKA, {f"{place}.alarm": alarm, "streams.0.fields.method": ...}))
        assert found.startswith(f"{place.replace('streams.0', 'streams[0]')}.alarm{fault}")


def test_texts_cannot_be_watched_with_it_and_other_faults_are_told_beside(tmp_path):
    found = faults(tmp_path, changed(KAFKA, {"streams.0.fields.method": {"kind": "categorical", "detector": {"alarm": ADWIN, "warmup": 3}}}))
    place = "streams[0].fields.method.detector"
    assert sorted(line.split(": ")[0] for line in found) == [f"{place}.alarm", f"{place}.warmup"]
    assert any("'river ADWIN' takes numbers, and kind='categorical'" in line for line in found)


def config_of(folder: Path, alarm: object) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump({
        "application": "demo", "source": {"kind": "file", "path": str(folder / "in.csv"), "format": "csv"},
        "state": {"path": str(folder / "state.db")},
        "streams": [{"name": "s", "fields": {"x": "numeric"}}],
        "detector": {"alarm": alarm, "warmup": 200, "extend": 1, "on_drift": "rebaseline"}, "monitoring": {"port": None},
    }))
    return folder / "config.yaml"


def told(folder: Path) -> list[tuple]:
    return [(event["kind"], event["id"]) for event in streamkl("events", f"sqlite:///{folder}/state.db", "--json").events]


def test_a_run_goes_on_where_the_last_one_ended_and_refuses_another_alarm(tmp_path):
    rows = [*shifted(), *shifted(seed=2)]
    for name, cuts in (("once", [len(rows)]), ("often", [150, 400, 615, 640, 1100, len(rows)])):
        folder = tmp_path / name
        folder.mkdir()
        config = config_of(folder, ADWIN)
        for cut in cuts:
            (folder / "in.csv").write_text("x\n" + "".join(f"{x}\n" for x in rows[:cut]))
            done = streamkl("run", config)
            assert done.code == 0, done.err
    once, often = told(tmp_path / "once"), told(tmp_path / "often")
    assert once == often
    assert [kind.split(".")[-1] for kind, _ in once].count("raised") >= 2, json.dumps(once)
    other = streamkl("run", config_of(tmp_path / "often", {"river": "ADWIN", "delta": 0.02}))
    assert other.code == 3
    assert "delta=0.01" in other.err
    assert "delta=0.02" in other.err
    assert "delta=0.02" in streamkl("check", tmp_path / "often" / "config.yaml", "--state").out
