"""The examples do what their READMEs say: each command is run as a newcomer runs it, and finds the changes that the data's authors labelled."""

from __future__ import annotations

import gzip
import os
import re
import shlex
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from broker import refuse
from kafka_jars import LocalKafkaError, jars, java
from program import streamkl

from streamkl.app.config import load

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PROGRAM = Path(sys.executable).with_name("streamkl")
LABELS = {"5f5533": ("2014-02-19 00:22", "2014-02-24 18:37"), "e47b3b": ("2014-04-13 06:52", "2014-04-18 23:27")}
LATEST = timedelta(hours=28)                    # README: the slowest of the four is raised 27 hours later


def command_of(example: str) -> list[str]:
    """The first command of the example's README, with the interpreter of these tests."""
    command = re.search(r"^```sh\n(.*?)\n```", (EXAMPLES / example / "README.md").read_text(), re.S | re.M)
    assert command
    python, *rest = shlex.split(command[1].split(" && ")[-1])
    assert python == ".venv/bin/python"
    return [sys.executable, *rest]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def ran(example: str, folder: Path) -> Ran:
    """Run an example; its output goes to files, so that a process that it leaves behind is not waited for."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMKL__")}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        done = subprocess.run([*command_of(example), str(folder)], cwd=ROOT, env=environment, stdout=out, stderr=err, timeout=150)
        out.seek(0)
        err.seek(0)
        return Ran(done.returncode, out.read(), err.read())


def raised(told: str) -> dict[str, list[datetime]]:
    """Server -> when drift was raised, from the lines that are told."""
    found: dict[str, list[datetime]] = {}
    for time, server in re.findall(r" at (\S+ \S+)Z  DRIFT +servers/\w+_(\w{6})/cpu: ", told):
        found.setdefault(server, []).append(datetime.fromisoformat(time))
    return found


def check_labels(told: str) -> None:
    drifts = raised(told)
    assert set(drifts) == set(LABELS)           # and not the server without a label, nor the one with two short spikes
    for server, labels in LABELS.items():
        for label in map(datetime.fromisoformat, labels):
            assert any(label <= time <= label + LATEST for time in drifts[server]), (server, label, drifts[server])


def test_the_labels_are_those_of_the_datas_own_description():
    told = " ".join((EXAMPLES / "data" / "README.md").read_text().split())
    assert "5f5533 changes at {} and {}, e47b3b at {} and {}; c6585a has no label".format(*LABELS["5f5533"], *LABELS["e47b3b"]) in told


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("embedded")
    done = ran("embedded_pipeline", folder)
    assert done.code == 0, done.out + done.err
    assert done.err == ""
    return folder, done.out


def test_the_embedded_pipeline_finds_the_labelled_changes(embedded):
    check_labels(embedded[1])


def test_a_restart_of_the_embedded_pipeline_goes_on_where_the_run_before_ended(embedded):
    runs = re.findall(r": +(\d+) streams restored at line +([\d,]+), +([\d,]+) records taken, +(\d+) events$", embedded[1], re.M)
    assert len(runs) > 8
    *_, nothing_new = runs
    assert nothing_new == ("4", "16,129", "0", "0")
    assert sum(int(records.replace(",", "")) for _, _, records, _ in runs) == 16_128
    assert re.search(r"^the same (\d+) events by their ids", embedded[1], re.M)[1] == str(sum(int(events) for *_, events in runs))


def test_the_divergence_of_the_embedded_pipeline_is_plotted_over_time(embedded):
    plot = embedded[1].partition("divergence.py state.db\n")[2].partition("\nthe whole file")[0]
    bars: dict[str, list[int]] = {}
    for line in plot.splitlines():
        if line.startswith("servers/"):
            bars[line] = []
        elif " KL " in line:
            bars[next(reversed(bars))].append(line.count("#"))
    assert len(bars) == 4
    assert all(len(lengths) >= 3 for lengths in bars.values())
    assert max(bars["servers/rds_cpu_utilization_e47b3b/cpu"]) > 10 * max(bars["servers/ec2_cpu_utilization_c6585a/cpu"])


def test_the_embedded_pipeline_reads_standard_input_too(embedded, tmp_path):
    folder, _ = embedded
    rows = gzip.decompress((EXAMPLES / "data" / "cloudwatch_cpu.csv.gz").read_bytes())
    environment = {**os.environ, "STREAMKL__SOURCE__PATH": "-"}
    done = subprocess.run([PROGRAM, "run", folder / "config.yaml"], cwd=tmp_path, input=rows, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    of_runs, of_pipe = (streamkl("events", f"sqlite://{place}/state.db", "--json") for place in (folder, tmp_path))
    assert of_pipe.events
    assert [event["id"] for event in of_pipe.events] == [event["id"] for event in of_runs.events]


def test_the_embedded_pipeline_leaves_files_of_an_earlier_run_alone(embedded):
    folder, _ = embedded
    before = (folder / "state.db").read_bytes()
    done = ran("embedded_pipeline", folder)
    assert (done.code, done.out) == (1, "")
    assert "give another directory" in done.err
    assert (folder / "state.db").read_bytes() == before


def test_the_kafka_example_finds_the_labelled_changes_and_ends_clean(tmp_path):
    try:
        java()
        jars()
    except LocalKafkaError as error:
        refuse(f"no Kafka broker can be had: {error}")
    done = ran("kafka", tmp_path)
    assert done.code == 0, done.out + done.err
    check_labels(done.out)
    assert "16,131 records in, 3 of them broken; 3 dead letters" in done.out
    assert len(re.findall(r"^    servers/\S+/cpu +KL \d+\.\d{3} nats$", done.out, re.M)) == 4
    (address,) = re.findall(r"producer\.py (127\.0\.0\.1:\d+) ", done.out)
    assert not processes_that_name(address, str(tmp_path))


def processes_that_name(*texts: str) -> list[str]:
    """Command lines of what still runs and has one of these texts in it; [] where there is no /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [line for text in texts if text in line and path.parent.name != str(os.getpid())]
    return found


@pytest.mark.parametrize("example", ["embedded_pipeline", "kafka"])
def test_the_configuration_of_an_example_is_valid(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "servers.csv").touch()
    assert load(str(EXAMPLES / example / "config.yaml"), {}).application == "servers"
