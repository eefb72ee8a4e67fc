"""examples/river_retrain.py: one command, and the figures that it prints are what its text and the README say of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "river_retrain.py"
README = " ".join((EXAMPLE.parent.parent / "README.md").read_text().split())
CHANGES, STAYS = ("5f5533", "e47b3b"), ("24ae8d", "c6585a")       # as the data's authors labelled them
ROW = re.compile(r"^(\w+(?: \d)?) +(naive Bayes|logistic|tree) +(\.?\d\S*)" + r" +(\d\.\d+)(?: \((\d+)\))?" * 5 + "$", re.M)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    drawing = tmp_path_factory.mktemp("drawing") / "plot.svg"
    done = subprocess.run([sys.executable, "-W", "error", EXAMPLE, drawing], capture_output=True, text=True, timeout=150)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, drawing


def table(out):
    """Stream -> for each model: accuracy never, by KL, by ADWIN, weekly, each row, and how many models KL and ADWIN put in place."""
    found = {}
    for match in ROW.findall(out):
        stream, _, always, *cells = match
        found.setdefault(stream, []).append((float(always), [float(one) for one in cells[::2]], int(cells[3]), int(cells[5])))
    return found


def test_retraining_when_the_input_drifts_helps_where_it_drifts_and_costs_nothing_elsewhere(told):
    found = table(told[0])
    assert set(found) == {*CHANGES, *STAYS, *(f"SEA {seed}" for seed in range(5))}
    for server in CHANGES:
        assert len(found[server]) == 3
        for _, (never, kl, adwin, _, _), retrained, _ in found[server]:
            assert kl > never + 0.08
            assert kl > adwin - 0.03
            assert 1 <= retrained <= 4
    gained = sorted(round(100 * (kl - never)) for server in CHANGES for _, (never, kl, *_), _, _ in found[server])
    assert f"rises by {gained[0]} to {gained[-1]} points" in README
    for server in STAYS:
        for _, (never, kl, *_), retrained, _ in found[server]:
            assert (kl, retrained) == (never, 0)


def test_it_says_where_it_cannot_help(told):
    found = table(told[0])
    for seed in range(5):
        ((_, (never, kl, adwin, _, _), retrained, by_adwin),) = found[f"SEA {seed}"]
        assert (kl, retrained) == (never, 0)
        assert by_adwin >= 1
        assert adwin > kl + 0.2
    assert "what watches the input alone cannot help" in told[0]


def test_its_plots_show_every_server(told):
    out, drawing = told
    assert re.findall(r"^(\w{6}), naive Bayes: accuracy per day", out, re.M) == ["5f5533", "24ae8d", "c6585a", "e47b3b"]
    lines = ElementTree.parse(drawing).getroot().findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 8
    assert all(len(line.get("points").split()) == 11 for line in lines)
