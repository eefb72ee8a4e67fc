"""README's claims hold: its blocks are there, its Python runs, its example shows what it says."""

import fnmatch
import json
import re
from pathlib import Path

import pytest
from program import streamkl

from streamkl.app.build_service import feeds
from streamkl.app.config import load
from streamkl.service.metrics import METRICS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_first_two_shell_blocks_are_one_command_each():
    first, second = re.findall(r"^```sh\n(.*?)^```", README, re.S | re.M)[:2]
    assert [block.count("\n") for block in (first, second)] == [1, 1]
    assert "streamkl watch examples/data/cloudwatch_cpu.csv.gz" in first
    assert second.rstrip().endswith("pytest -q")


def test_the_python_example_runs_in_about_ten_lines_and_finds_its_drift(capsys):
    code = re.search(r"^```python\n(.*?)^```", README, re.S | re.M).group(1)
    assert len(code.splitlines()) <= 12
    exec(compile(code, "README.md", "exec"), {})
    raised = int(capsys.readouterr().out.split()[0])
    assert 2000 <= raised < 2100


def test_the_example_of_a_pool_runs_and_finds_drift_in_both_streams(capsys):
    code = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)[1]
    exec(compile(code, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "('EU', 'drift.raised', " in out
    assert "('US', 'drift.raised', " in out


@pytest.mark.parametrize("number", [0, 1])
def test_a_configuration_that_is_shown_is_valid(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "servers.csv").touch()
    shown = [block for block in re.findall(r"^```yaml\n(.*?)^```", README, re.S | re.M) if block.startswith("application:")]
    assert len(shown) == 2
    (tmp_path / "config.yaml").write_text(shown[number])
    config = load("config.yaml", {"PAYMENTS_PASSWORD": "x"})
    assert (config.drift_topic, config.state_kind) == (("payments.drift", "kafka"), ("servers.drift", "sqlite"))[number]


def test_names_of_streams_that_are_shown_are_those_of_the_configuration(tmp_path):
    """A glob that names nothing is no error: who copies one that fits nothing never hears of it."""
    (shown,) = [block for block in re.findall(r"^```yaml\n(.*?)^```", README, re.S | re.M) if block.startswith("application: payments")]
    (tmp_path / "config.yaml").write_text(shown)
    (feed,) = feeds(load(str(tmp_path / "config.yaml"), {"PAYMENTS_PASSWORD": "x"}))
    names = [feed.stream(key, field.name) for key in ("EU", "old/EU") for field in feed.fields]
    text = README[README.index("## As a service on Kafka") : README.index("## Without Kafka")]
    globs = set(re.findall(r"""(?<=["' ])payments/[\w/*]+""", text))
    assert {"payments/*", "payments/EU/*", "payments/EU/amount", "payments/old/*"} <= globs
    assert [glob for glob in globs if not fnmatch.filter(names, glob)] == []


def test_the_correctors_that_are_shown_are_valid_and_those_of_every_kind(tmp_path):
    """But for the program and the module, which are not here."""
    (shown,) = [block for block in re.findall(r"^```yaml\n(.*?)^```", README, re.S | re.M) if block.startswith("correctors:")]
    text = shown.replace("/usr/local/bin/quarantine", "/bin/sh").replace("my_package.my_corrector", "json.decoder")
    (tmp_path / "config.yaml").write_text("application: x\nsource: {kind: file, path: '-'}\nstreams: [{fields: {x: numeric}}]\n" + text)
    secrets = {"HOOK_SECRET": f"whsec_{'A' * 40}", "CHAT_URL": "https://chat.example.com/x", "MY_TOKEN": "x"}
    config = load(str(tmp_path / "config.yaml"), secrets, with_correctors=True)
    ready_made = {entry.kind for entry in config.correctors} - {"json.decoder"}
    table = README[README.index("| kind | does |") : README.index("| a dotted name |")]
    assert ready_made | {"log"} == set(re.findall(r"^\| `(\w+)` \|", table, re.M))


def test_the_example_of_a_webhook_runs():
    (code,) = [block for block in re.findall(r"^```python\n(.*?)^```", README, re.S | re.M) if "verify" in block]
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert repr(names["hook"]) == "Webhook('https://models.example.com')"


def test_every_command_and_option_that_is_shown_is_there():
    (block,) = [block for block in re.findall(r"^```sh\n(.*?)^```", README, re.S | re.M) if "streamkl run config.yaml" in block]
    for line in block.splitlines():
        command, *rest = line.partition("#")[0].split()[1:]
        known = streamkl(command, "--help").out
        assert all(word in known for word in rest if word.startswith("--")), line


def test_every_file_that_is_linked_is_there():
    links = re.findall(r"\]\((?!http)(.*?)\)", README)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_metric_that_is_named_is_one():
    named = {name for line in README.splitlines() if "dead-letters`" not in line for name in re.findall(r"`(streamkl_\w+)`", line)}
    assert named                                        # a dead letter has headers of such names, which are no metrics
    assert named <= {metric.name for metric in METRICS}


@pytest.fixture(scope="module")
def example():
    outcome = streamkl("watch", str(ROOT / "examples/data/cloudwatch_cpu.csv.gz"), "--key", "server", "--value", "cpu", "--time", "timestamp")
    assert outcome.code == 0
    return outcome


def test_the_example_prints_the_lines_that_are_shown(example):
    shown = re.search(r"^```\n(line .*?)^```", README, re.S | re.M).group(1).splitlines()
    for line in shown:
        assert any(printed.startswith(line.removesuffix("...").rstrip()) for printed in example.out.splitlines()), line


def test_labelled_changes_are_raised_when_the_text_says_and_the_two_calm_servers_stay_silent(example):
    drifts = re.findall(r"at (\S+ \S+)Z  DRIFT +(\S+?)/cpu", example.out)
    assert len(drifts) == 6
    assert ("2014-04-13 08:47:00", "rds_cpu_utilization_e47b3b") in drifts      # labelled 06:52
    assert ("2014-04-19 00:07:00", "rds_cpu_utilization_e47b3b") in drifts      # labelled 23:27
    assert {server for _, server in drifts} == {"rds_cpu_utilization_e47b3b", "ec2_cpu_utilization_5f5533"}
    (block,) = re.findall(r"^```\n(reference: .*?)^```", README, re.S | re.M)
    assert all(line in example.err for line in block.splitlines())


def test_the_first_alarm_of_the_database_server_comes_between_its_rows_946_and_1060():
    path = ROOT / "examples/data/cloudwatch_cpu.csv.gz"
    outcome = streamkl("watch", str(path), "--key", "server", "--value", "cpu", "--json")
    events = [json.loads(line) for line in outcome.out.splitlines()]
    raised = {server: [e["index"] for e in events if e["kind"] == "drift.raised" and server in e["stream"]] for server in ("e47b3b", "c6585a")}
    assert 946 <= raised["e47b3b"][0] <= 1060
    assert raised["c6585a"] == []
