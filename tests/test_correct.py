"""`streamkl correct`: the correctors of a configuration, in a process of their own, told of the events of a real run."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import standardwebhooks
from configured import write
from program import COMMAND, streamkl
from receiver import RAISED, Receiver, status
from serving import Monitor, Running, World, messages, until

import streamkl as public
from streamkl.adapters.webhook import Webhook
from streamkl.errors import RecordError, Unavailable
from streamkl.service.delivery import Delivery, Retry

SECRET = f"whsec_{base64.b64encode(b'secret of a test' * 2).decode()}"
TOKEN = "token-of-a-chat"
OWN = """
from streamkl import RecordError

class MyCorrector:
    def __init__(self, path, token):
        self.path, self.token = path, token

    def __call__(self, event):
        with open(self.path, "a") as file:
            file.write(f"{event.stream} {len(self.token)}\\n")
        raise RecordError("not mine: " + self.token)
"""


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("TOKEN", TOKEN)


@pytest.fixture
def started():
    running: list[Running] = []
    yield running
    for one in running:
        one.kill()


@pytest.fixture
def folder(tmp_path):
    """A state with the events of a real run: each of three streams is raised, and ends as rebaselined."""
    rng = np.random.default_rng(7)
    with open(tmp_path / "in.jsonl", "w") as file:
        for number in range(2400):
            for key in "abc":
                file.write(json.dumps({"k": key, "x": float(rng.normal(3.0 if number >= 1200 else 0.0))}) + "\n")
    outcome = streamkl("run", write(tmp_path, configured(tmp_path, [])))
    assert outcome.code == 0, outcome.err
    return tmp_path


def configured(folder: Path, correctors, **monitoring):
    return {
        "application": "payments",
        "source": {"kind": "file", "path": str(folder / "in.jsonl")},
        "streams": [{"name": "p", "key": {"field": "k"}, "fields": {"x": "numeric"}}],
        "detector": {"warmup": 200, "on_drift": "rebaseline", "extend": 1},
        "state": {"path": str(folder / "state.db")},
        "correctors": correctors,
        "monitoring": {"port": None, "correctors_port": None, **monitoring},
    }


def correct(started, folder, correctors, *names, **monitoring) -> Running:
    path = write(folder, configured(folder, correctors, **monitoring), f"correct-{len(started)}.yaml")
    started.append(Running([*COMMAND, "correct", path, *names], folder / f"correct-{len(started)}.log"))
    return started[-1]


def told(folder: Path) -> list[dict]:
    """The events of the run, as `streamkl events` tells them, those that correctors are told of by default."""
    found = streamkl("events", f"sqlite://{folder / 'state.db'}", "--json").events
    return [one for one in found if one["kind"] != "reference.learned"]


HOOK = {"name": "hook", "kind": "webhook", "secrets": [{"env": "HOOK_SECRET"}], "first_wait_seconds": 0.01}


def test_each_corrector_is_told_of_each_event_once_also_after_a_restart(started, folder):
    events = told(folder)
    assert sorted({one["kind"] for one in events}) == ["drift.raised", "reference.rebaselined"]
    assert len(events) == 6
    script = folder / "script.py"
    script.write_text("import sys; open(sys.argv[1], 'a').write(sys.stdin.read())")
    with Receiver() as hook, Receiver() as channel:
        (folder / "url").write_text(channel.url + "/hooks/x\n")
        correctors = [
            {**HOOK, "url": hook.url},
            {"name": "chat", "kind": "chat", "url": {"file": str(folder / "url")}, "kinds": ["drift.raised"], "streams": ["p/a/*", "p/b/*"]},
            {"name": "program", "kind": "command", "arguments": [sys.executable, str(script), str(folder / "got")], "min_divergence": {"js": 0.01}},
            {"name": "line", "kind": "log", "streams": "p/c/x"},
        ]
        first = correct(started, folder, correctors)
        until(lambda: len(first.said("event.delivered")) == 6 + 2 + 6 + 2, "all delivered", 20)
        assert first.end() == 0
        assert first.said("service.stopped")
        assert [json.loads(request.body)["data"] for request in hook.requests] == events
        for request in hook.requests:
            standardwebhooks.Webhook(SECRET).verify(request.body, request.headers)
        assert len(channel.requests) == 2
        assert [json.loads(line) for line in (folder / "got").read_text().splitlines()] == events
        lines = [(line["level"], line["kind"]) for line in first.said("drift.told")]
        assert lines == [("warning", "drift.raised"), ("info", "reference.rebaselined")]
        second = correct(started, folder, correctors)
        second.wait_for("subscription.started", 4)
        time.sleep(1)
        assert second.end(signal.SIGINT) == 0
        assert second.said("event.delivered") == []
        assert (len(hook.requests), len(channel.requests)) == (6, 2)


def test_a_corrector_that_hangs_or_fails_holds_up_no_other(started, folder):
    with Receiver(lambda connection: connection.recv(1)) as deaf, Receiver(status(500)) as broken, Receiver() as hook:
        correctors = [
            {**HOOK, "name": "deaf", "url": deaf.url, "timeout_seconds": 60},
            {**HOOK, "name": "broken", "url": broken.url},
            {**HOOK, "url": hook.url},
        ]
        running = correct(started, folder, correctors)
        until(lambda: len(hook.requests) == 6, "the third was told", 20)
        until(lambda: broken.requests, "the second was asked")
        assert len(deaf.requests) == 1
        began = time.monotonic()
        assert running.end() == 0                     # though the first waits for its answer
        assert time.monotonic() - began < 25
        (postponed,) = {line["subscription"] for line in running.said("delivery.postponed")} - {"payments.broken"}
        assert postponed == "payments.deaf"


def test_a_program_that_runs_at_the_end_does_not_outlive_it(started, folder):
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    running = correct(started, folder, [{"name": "slow", "kind": "command", "arguments": [sys.executable, "-I", "-c", code, str(folder / "pid")]}])
    until(lambda: (folder / "pid").exists() and (folder / "pid").read_text() != "", "it runs")
    assert running.end() == 0
    until(lambda: not is_alive(int((folder / "pid").read_text())), "it was ended", 5)
    assert [line["subscription"] for line in running.said("delivery.postponed")] == ["payments.slow"]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_only_those_that_are_named_run(started, folder):
    with Receiver() as one, Receiver() as two:
        correctors = [{**HOOK, "name": "one", "url": one.url}, {**HOOK, "name": "two", "url": two.url}]
        running = correct(started, folder, correctors, "two")
        until(lambda: len(two.requests) == 6, "told")
        assert running.end() == 0
        assert one.requests == []


def test_a_corrector_of_ones_own_is_made_with_its_settings_and_its_secret_reaches_no_log(started, folder, monkeypatch):
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    (folder / "my_package" / "my_corrector.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
    entry = {"name": "own", "kind": "my_package.my_corrector", "settings": {"path": str(folder / "got")}, "secrets": {"token": {"env": "TOKEN"}}}
    running = correct(started, folder, [entry])
    until(lambda: len(running.said("event.dead_lettered")) == 6, "all refused")
    assert running.end() == 0
    assert (folder / "got").read_text().splitlines().count(f"p/a/x {len(TOKEN)}") == 2
    assert running.said("event.dead_lettered")[0]["reason"] == "not mine: ***"
    assert TOKEN not in running.text
    entry["settings"]["pth"] = 1
    outcome = streamkl("correct", write(folder, configured(folder, [entry])))
    assert outcome.code == 2
    assert "does not take these settings" in outcome.err


def test_metrics_and_health_are_on_a_port_of_their_own(started, folder):
    monitor = Monitor()
    with Receiver(status(404)) as hook:
        running = correct(started, folder, [{**HOOK, "url": hook.url}, {"name": "line", "kind": "log"}], correctors_port=monitor.port)
        until(lambda: len(running.said("event.dead_lettered")) == 6 and len(running.said("event.delivered")) == 6, "all dealt with")
        assert monitor.ask("/ready")[0] == monitor.ask("/live")[0] == 200
        text = monitor.ask("/metrics")[1]
        assert 'streamkl_deliveries_total{outcome="dead_lettered",subscription="payments.hook"} 6.0' in text
        assert 'streamkl_deliveries_total{outcome="delivered",subscription="payments.line"} 6.0' in text
        assert running.end() == 0


def test_a_second_process_of_the_same_correctors_is_refused(started, folder):
    running = correct(started, folder, [{"name": "line", "kind": "log"}])
    running.wait_for("subscription.started")
    outcome = streamkl("correct", write(folder, configured(folder, [{"name": "line", "kind": "log"}])))
    assert outcome.code in (3, 4), outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert running.end() == 0


@pytest.mark.parametrize(("correctors", "names", "said"), [
    ([], [], "there are no correctors in this configuration"),
    ([], ["line"], "there are no correctors in this configuration"),
    ([{"name": "line", "kind": "log"}], ["lines"], "there is no corrector 'lines' in this configuration; did you mean line?"),
])  # fmt: skip
def test_nothing_to_run_is_a_fault(folder, correctors, names, said):
    outcome = streamkl("correct", write(folder, configured(folder, correctors)), *names)
    assert outcome.code == 2
    assert said in outcome.err


def test_who_detects_needs_none_of_the_secrets_and_no_program_of_the_correctors(folder, monkeypatch):
    monkeypatch.delenv("HOOK_SECRET")
    path = write(folder, configured(folder, [{**HOOK, "url": "http://127.0.0.1:1"}, {"name": "x", "kind": "command", "arguments": ["/nowhere"]}]))
    assert streamkl("run", path).code == 0
    outcome = streamkl("correct", path)
    assert outcome.code == 2
    assert "the environment variable HOOK_SECRET is not set" in outcome.err
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    outcome = streamkl("correct", path)
    assert outcome.code == 2
    assert "correctors[1].arguments[0]: is no program that can be run" in outcome.err


def test_no_secret_reaches_the_log_or_a_dead_letter(started, folder, monkeypatch):
    monkeypatch.setenv("AUTH", "Bearer " + TOKEN)
    with Receiver(status(401, f"not you, Bearer {TOKEN}, nor {SECRET}".encode())) as hook:
        running = correct(started, folder, [{**HOOK, "url": hook.url + "/p?x=" + TOKEN, "authorization": {"env": "AUTH"}}], log_level="debug")
        until(lambda: len(running.said("event.dead_lettered")) == 6, "all refused")
        assert running.end() == 0
    assert TOKEN not in running.text
    assert SECRET not in running.text
    for path in folder.glob("state.db.payments.hook.subscription*"):
        assert TOKEN.encode() not in path.read_bytes()


def test_a_receiver_that_says_when_is_asked_again_then():
    """Much later than the pauses would be, and not before."""
    with Receiver(status(429, Retry_After="1"), status(200)) as receiver:
        delivery = Delivery(Webhook(receiver.url, [SECRET]), Retry(first_wait_seconds=0.0, jitter_seconds=0.0), 30.0)
        began = time.monotonic()
        delivery.begin(RAISED)
        assert delivery.news(10).kind == "failed"
        assert delivery.news(10).kind == "delivered"
        assert 1.0 <= time.monotonic() - began < 4
        delivery.close()
        assert len(receiver.requests) == 2
        assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_a_corrector_made_in_python_is_one_for_subscribe(folder):
    with Receiver() as receiver:
        hook = public.subscribe(f"sqlite://{folder / 'state.db'}", group="mine", kinds=["drift.raised"])(Webhook(receiver.url, [SECRET]))
        assert hook.run_once() == 3
        hook.close()
        assert len(receiver.requests) == 3
    assert issubclass(RecordError, public.StreamklError)
    assert issubclass(Unavailable, public.StreamklError)


def test_events_of_kafka_reach_a_webhook(broker, tmp_path):
    world = World(broker, tmp_path)
    try:
        world.produce(messages(1, 0, 6000, 2))
        with Receiver() as hook:
            correctors = [{**HOOK, "url": hook.url, "store": str(tmp_path / "store"), "dead_letters": broker.topic("dead-letters")}]
            path = world.config({"correctors": correctors, "monitoring.correctors_port": None}, "correct.yaml")
            world.run()
            world.started.append(Running([*COMMAND, "correct", path], tmp_path / "correct.log"))
            world.wait_until_all_is_processed()
            expected = {one["id"] for one in world.events() if one["kind"] in ("drift.raised", "drift.resolved", "reference.rebaselined")}
            assert len(expected) > 6
            until(lambda: len(hook.requests) >= len(expected), "all told")
            assert world.started[-1].end() == 0
            found = [request.headers["webhook-id"] for request in hook.requests]
            assert set(found) == expected
            assert len(found) == len(expected)
            by_stream: dict[str, list[int]] = {}
            for request in hook.requests:
                data = json.loads(request.body)["data"]
                by_stream.setdefault(f"{data['stream']} {data['source']['partition']}", []).append(data["source"]["last_offset"])
            assert all(offsets == sorted(offsets) for offsets in by_stream.values())
    finally:
        world.close()
