"""examples/model_monitoring: each command is run as its README says, and finds what the README says it finds."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from streamkl.app.config import load

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "model_monitoring"
README = (FOLDER / "README.md").read_text()
CHANGES = {"5f5533": ("2014-02-19 00:22", "2014-02-24 18:37"), "e47b3b": ("2014-04-13 06:52",)}       # as the data's authors labelled them
SOON = timedelta(hours=12)


def ran(name: str, *arguments: str) -> str:
    assert f".venv/bin/python examples/model_monitoring/{name}" in README
    done = subprocess.run([sys.executable, "-W", "error", FOLDER / name, *arguments], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def model() -> str:
    return ran("model.py")


@pytest.fixture(scope="module")
def agent() -> str:
    return ran("agent.py")


def scores(out: str) -> dict[tuple[str, str], tuple[list[float], float]]:
    rows = re.findall(r"^(\w{6}) (corrected|left alone) +([\d. ]+?)   all: ([\d.]+)$", out, re.M)
    return {(server, way): ([float(day) for day in days.split()], float(mean)) for server, way, days, mean in rows}


def test_every_labelled_change_of_a_model_is_raised_and_corrected_and_nothing_else_is_touched(model):
    found = [(datetime.fromisoformat(time), server) for time, server in re.findall(r"^(\S+ \S+)  DRIFT      (\w{6})/", model, re.M)]
    assert {server for _, server in found} == set(CHANGES)
    for server, labels in CHANGES.items():
        for label in map(datetime.fromisoformat, labels):
            assert any(name == server and label <= time <= label + SOON for time, name in found), (server, label)
    assert model.count("nothing was raised") == 2
    assert len(re.findall(r"CORRECTED  (?:5f5533|e47b3b): model", model)) == model.count("CORRECTED") >= 3


def test_the_corrector_halves_the_brier_score_where_something_changed(model):
    found = scores(model)
    assert len(found) == 8
    for server in ("5f5533", "e47b3b", "24ae8d", "c6585a"):
        (before, corrected), (alone_before, alone) = found[server, "corrected"], found[server, "left alone"]
        assert before[:2] == alone_before[:2]
        assert corrected < 0.6 * alone if server in CHANGES else corrected == alone
        told = re.findall(r"\.\d\d", f"{corrected:.2f} {alone:.2f}")
        assert all(figure in README for figure in (told if server in CHANGES else told[:1] if server == "c6585a" else []))


def test_all_three_kinds_of_a_models_streams_raise(model):
    assert {stream for _, stream in re.findall(r"DRIFT      (\w{6})/(\w+):", model)} == {"label", "score", "brier"}


def test_an_agents_bad_release_is_rolled_back_and_its_episode_ends(agent):
    steps = re.findall(r"^call +([\d,]+)  (RELEASE|DRIFT|CORRECTED|RESOLVED)", agent, re.M)
    assert [kind for _, kind in steps] == ["RELEASE", "DRIFT", "CORRECTED", "RESOLVED"]
    release, drift, corrected, resolved = (int(call.replace(",", "")) for call, _ in steps)
    assert release == 3000 < drift == corrected < release + 1000 < resolved + 1000
    with_corrector, without = (int(number.replace(",", "")) for number in re.search(r"bad release: ([\d,]+) .*?, ([\d,]+) without", agent).groups())
    assert with_corrector == drift + 1 - release
    assert without == 8000 - release
    assert "without a release: 0 events" in agent


def test_other_seeds_tell_the_same(agent):
    slowest, half = (int(number) for number in re.search(r"to (\d+) calls, half of them within (\d+)$", agent, re.M).groups())
    assert slowest <= 800
    assert half <= 250
    assert re.search(r"before their release, 57,000 calls: 0$", agent, re.M)
    assert "half within 250 calls, the slowest after 800, and without one false alarm in 57,000" in README


def test_the_configuration_in_its_readme_is_valid(tmp_path):
    (text,) = re.findall(r"^```yaml\n(.*?)^```", README, re.S | re.M)
    (tmp_path / "config.yaml").write_text(text)
    assert [entry.topic for entry in load(str(tmp_path / "config.yaml"), {}).streams] == ["predictions", "outcomes", "agent-calls"]
