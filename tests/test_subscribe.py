"""`streamkl.subscribe`: the decorator, its settings, signals, and that detection sees nothing of a corrector."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from program import COMMAND
from subscribing import OfFile, event, events

import streamkl
from streamkl.app.build_subscription import default_store, wanted
from streamkl.app.event_place import event_place
from streamkl.app.stop_signal import ONCE_SECONDS

SECONDS = 60.0


@pytest.fixture
def place(tmp_path):
    return OfFile(tmp_path)


def test_a_subscribed_function_is_still_a_function(place):
    @streamkl.subscribe(place.url, group="retrainer")
    def retrain(event):
        """Retrain."""
        return event.stream

    assert (retrain(event("a", 0)), retrain.__name__, retrain.__doc__) == ("a", "retrain", "Retrain.")
    assert not list(place.path.parent.glob("*.subscription"))


def test_it_is_called_with_each_event_that_it_asked_for(place):
    place.write([*events(2, 3), event("s0", 9, kind="drift.resolved")])
    seen = []

    @streamkl.subscribe(place.url, group="retrainer", streams="s0", kinds=["drift.raised"])
    def retrain(event):
        seen.append(event.id)

    assert retrain.run_once(0.0) == 3
    retrain.close()
    assert retrain.run_once(0.0) == 0
    retrain.close()
    assert seen == ["s0 0", "s0 1", "s0 2"]
    assert place.path.with_name(f"{place.path.name}.retrainer.subscription").is_file()


def test_it_runs_in_a_thread_until_it_is_stopped(place):
    came = threading.Event()

    @streamkl.subscribe(place.url, group="retrainer")
    def retrain(event):
        came.set()

    assert isinstance(retrain.subscription, streamkl.Subscription)
    thread = threading.Thread(target=retrain.run)
    thread.start()
    place.write([event("a", 0)])
    assert came.wait(SECONDS)
    retrain.stop()
    thread.join(SECONDS)
    assert not thread.is_alive()


async def nothing(event):
    """Would do nothing."""


@pytest.mark.parametrize(
    "settings",
    [{"group": ""}, {"group": "a/b"}, {"group": "x" * 101}, {"streams": []}, {"kinds": "drift"}, {"attempts": 0}, {"attempts": True},
     {"timeout_seconds": 0}, {"retry_seconds": float("nan")}, {"first_wait_seconds": -1}, {"start_at": "now"}, {"dead_letters": "topic"},
     {"instance": "one"}, {"streams": 3}, {"kinds": 3}, {"kinds": [None]}, {"kinds": [["drift.raised"]]}, {"store": 3}, {"group": 3},
     {"dead_letters": 3}, {"streams": None}],
)  # fmt: skip
def test_a_wrong_setting_is_refused_where_it_stands(place, settings):
    with pytest.raises(streamkl.ConfigError):
        streamkl.subscribe(place.url, **{"group": "retrainer", **settings})


def test_a_wrong_url_and_what_cannot_be_called_are_refused_where_they_stand(place):
    for url in ("http://here", None, 3):
        with pytest.raises(streamkl.ConfigError, match="no URL of events"):
            streamkl.subscribe(url, group="retrainer")
    with pytest.raises(streamkl.ConfigError, match="coroutine"):
        streamkl.subscribe(place.url, group="retrainer")(nothing)


def test_the_store_of_a_topic_lies_where_state_belongs(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    few, many = (event_place(f"kafka://{','.join(f'broker-{n}:9092' for n in range(number))}/payments.drift") for number in (1, 40))
    assert default_store(few, "retrainer") == str(tmp_path / "streamkl" / "broker-0_9092-payments.drift.retrainer.subscription")
    assert len(os.path.basename(default_store(many, "retrainer"))) < 255
    assert default_store(many, "retrainer") != default_store(many._replace(servers=many.servers[1:]), "retrainer")


def test_the_security_settings_of_a_configuration_are_taken_over(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "s3cret")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({
        "application": "payments", "streams": [{"topic": "payments", "fields": {"x": "numeric"}}],
        "source": {"kind": "kafka", "bootstrap_servers": ["broker:9092"],
                   "security": {"protocol": "sasl_ssl", "mechanism": "PLAIN", "username": "ann", "password": {"env": "CANARY"}}},
    }))  # fmt: skip
    found = wanted("kafka://broker:9092/payments.drift", "retrainer", print, config=config)
    assert (found.security.username, found.security.password, found.security.protocol) == ("ann", "s3cret", "SASL_SSL")
    assert "s3cret" not in repr(found)


SCRIPT = """
    import sys, time, streamkl

    @streamkl.subscribe(sys.argv[1], group="retrainer")
    def correct(event):
        print("began", event.index, flush=True)
        time.sleep(float(sys.argv[2]))
        print("ended", event.index, flush=True)

    correct.run()
    print("run ended", flush=True)
"""


def script(url, seconds):
    return subprocess.Popen([sys.executable, "-P", "-c", dedent(SCRIPT), url, str(seconds)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_in_order(place, number):
    place.write([event("a", index) for index in range(3)])
    process = script(place.url, 0.5)
    assert process.stdout.readline() == "began 0\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=SECONDS)
    assert (out, process.returncode) == ("ended 0\nrun ended\n", 0)
    process = script(place.url, 0.0)
    assert process.stdout.readline() == "began 1\n"
    process.send_signal(number)
    process.communicate(timeout=SECONDS)


def test_the_second_signal_ends_a_run_at_once_and_the_event_comes_again(place):
    place.write([event("a", 0)])
    process = script(place.url, 30)
    assert process.stdout.readline() == "began 0\n"
    began_at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(ONCE_SECONDS + 0.3)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=SECONDS)
    assert time.monotonic() - began_at < 5.0
    assert "ended" not in out
    assert process.returncode != 0
    process = script(place.url, 0.0)
    assert process.stdout.readline() == "began 0\n"
    process.kill()
    process.communicate()


# ---------------------------------------------------------------- beside the service


CORRECTORS = {
    "hangs": "time.sleep(600)",
    "raises": "raise ValueError('no')",
    "is slow": "time.sleep(0.3)",
}


class Servers:
    """A service over a file that grows, and its state file."""

    def __init__(self, folder: Path) -> None:
        self.source, self.state, self.config = folder / "records.jsonl", folder / "state.db", folder / "config.json"
        self.config.write_text(json.dumps({
            "application": "servers", "source": {"kind": "file", "path": str(self.source)}, "state": {"path": str(self.state)},
            "streams": [{"key": {"field": "k"}, "fields": {"x": "numeric"}}], "monitoring": {"port": None},
        }))  # fmt: skip

    def run(self, values) -> float:
        """Let these come, and be read to the end; return the seconds."""
        with self.source.open("a") as file:
            file.writelines(json.dumps({"k": f"k{n % 20}", "x": float(x)}) + "\n" for n, x in enumerate(values))
        began_at = time.monotonic()
        done = subprocess.run([*COMMAND, "run", str(self.config)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return time.monotonic() - began_at

    def ids(self) -> list[str]:
        connection = sqlite3.connect(self.state)
        found = [id for (id,) in connection.execute("SELECT id FROM events ORDER BY sequence")]
        connection.close()
        return found


@pytest.mark.parametrize("what", CORRECTORS)
def test_detection_sees_nothing_of_a_corrector_that(what, tmp_path):
    """The service finds and commits the same, in the same order, while a corrector hangs, raises or dawdles over its first events."""
    rng = np.random.default_rng(5)
    calm, moved = rng.normal(size=20_000), rng.normal(4, 1, size=20_000)
    ids, seconds = [], []
    for name in ("alone", "beside"):
        (tmp_path / name).mkdir()
        servers = Servers(tmp_path / name)
        servers.run(calm)
        if name == "beside":
            code = dedent(f"""
                import sys, time, streamkl
                @streamkl.subscribe(sys.argv[1], group="corrector", first_wait_seconds=0.01, attempts=3)
                def correct(event):
                    print(event.id, flush=True)
                    {CORRECTORS[what]}
                correct.run()
            """)
            command = [sys.executable, "-P", "-c", code, f"sqlite://{servers.state}"]
            corrector = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            assert corrector.stdout.readline().strip() == servers.ids()[0]
        seconds.append(servers.run(moved))
        ids.append(servers.ids())
    assert corrector.poll() is None
    corrector.kill()
    corrector.communicate()
    assert ids[0] == ids[1]
    assert len(ids[0]) >= 40
    print(f"the service took {seconds[0]:.2f} s alone, {seconds[1]:.2f} s beside a corrector that {what}")
