"""Commands over a state file: from the command line and from Python, beside a service and between its runs."""

from __future__ import annotations

import getpass
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from configured import write
from program import Outcome, streamkl

from streamkl import ConfigError, Control, Unavailable

BEGIN_MS = 1_700_000_000_000
DETECTOR = {"warmup": 100, "mature_until": 0, "extend": 1, "false_alarms": 5000, "on_drift": "hold"}


class Embedded:
    """A file of values of two keys, one a second, the service that reads it, and its state file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lines = folder, 0
        self.rng = np.random.default_rng(1)
        self.state = str(folder / "state.db")
        self.config = write(folder, {
            "application": "shop", "source": {"kind": "file", "path": str(folder / "in.jsonl")},
            "streams": [{"name": "pay", "key": {"field": "k"}, "time": {"field": "t"}, "fields": {"x": "numeric", "y": "numeric"}}],
            "detector": DETECTOR, "state": {"path": self.state}, "monitoring": {"port": None},
        })  # fmt: skip

    def feed(self, count: int, mean: float = 0.0) -> Outcome:
        """Add so many values of each key, and let the service read them."""
        with open(self.folder / "in.jsonl", "a", encoding="utf-8") as file:
            for _ in range(count):
                for key in ("a", "b"):
                    x, y = self.rng.normal(mean, 1.0), self.rng.normal()
                    file.write(json.dumps({"k": key, "x": x, "y": y, "t": BEGIN_MS + 1000 * self.lines}) + "\n")
                self.lines += 1
        return self.run()

    def run(self) -> Outcome:
        done = streamkl("run", self.config)
        assert done.code == 0, done.err
        return done

    def now(self) -> int:
        return BEGIN_MS + 1000 * self.lines

    def events(self, kind: str = "", stream: str = "") -> list[dict]:
        found = streamkl("events", f"sqlite://{self.state}", "--json").events
        return [event for event in found if event["kind"].startswith(kind) and event["stream"].startswith(stream)]


@pytest.fixture
def embedded(tmp_path: Path) -> Embedded:
    return Embedded(tmp_path)


def by_hand() -> str:
    import socket

    return f"{getpass.getuser()}@{socket.gethostname()}"


def test_each_command_of_the_command_line_leaves_an_event_that_names_who_and_why(embedded: Embedded):
    embedded.feed(250)
    embedded.feed(100, mean=4.0)
    assert {event["stream"] for event in embedded.events("drift.raised")} == {"pay/a/x", "pay/b/x"}
    sent = streamkl("rebaseline", embedded.config, "pay/a/x", "--reason", "new price list")
    assert (sent.code, sent.err) == (0, "")
    assert "rebaseline pay/a/x, by" in sent.out
    assert f"streamkl events sqlite://{embedded.state}" in sent.out
    embedded.feed(60, mean=4.0)
    (event,) = embedded.events("reference.rebaselined")
    assert (event["stream"], event["by"], event["reason"], event["episode"]) == ("pay/a/x", by_hand(), "new price list", 1)
    assert streamkl("rebaseline", embedded.config, "pay/a/x", "--undo", "--reason", "wrong list").code == 0
    assert streamkl("silence", embedded.config, "pay/b/*", "--for", "1h").code == 0
    embedded.run()
    assert [(e["stream"], e["reason"]) for e in embedded.events("reference.rebaselined")][1:] == [("pay/a/x", "undo: wrong list")]
    silenced = embedded.events("stream.silenced")
    assert [event["stream"] for event in silenced] == ["pay/b/x", "pay/b/y"]
    assert all(event["by"] == by_hand() and event["reason"].startswith("asked for on the command line (until 20") for event in silenced)
    assert streamkl("unsilence", embedded.config, "pay/b/x").code == 0
    assert streamkl("forget", embedded.config, "pay/b/*", "--reason", "moved").code == 0
    logged = embedded.run().err
    assert [event["stream"] for event in embedded.events("stream.unsilenced")] == ["pay/b/x"]
    assert [(event["stream"], event["reason"]) for event in embedded.events("stream.forgotten")] == [("pay/b/x", "moved"), ("pay/b/y", "moved")]
    executed = [json.loads(line) for line in logged.splitlines() if "command.executed" in line]
    assert [(line["command"], line["matched"], line["touched"]) for line in executed] == [("unsilence", 1, 1), ("forget", 2, 2)]
    embedded.feed(150)
    assert [event["index"] for event in embedded.events("reference.learned", "pay/b/x")] == [99, 99]
    told = streamkl("events", f"sqlite://{embedded.state}").out
    assert f"SILENCED     pay/b/x; by {by_hand()}: asked for" in told
    assert "observations of before are the reference again; episode 1 is over" in told


def test_a_silence_marks_events_and_ends_by_the_time_of_the_records(embedded: Embedded):
    embedded.feed(250)
    with Control(embedded.config, by="ann") as control:
        asked = control.silence("pay/a/x", 1000, reason="a migration")
    (row,) = sqlite3.connect(embedded.state).execute("SELECT json FROM commands").fetchall()
    assert json.loads(row[0]) == asked.to_dict()
    # the records are of the year 2023: let the silence be, too
    ours = {**asked.to_dict(), "id": "early", "at": embedded.now()}
    with sqlite3.connect(embedded.state) as connection:
        connection.execute("UPDATE commands SET json = ?", (json.dumps(ours),))
    embedded.feed(200, mean=4.0)
    raised = {event["stream"]: event["silenced"] for event in embedded.events("drift.raised")}
    assert raised == {"pay/a/x": True, "pay/b/x": False}
    assert embedded.events("stream.unsilenced") == []
    embedded.feed(850, mean=4.0)
    (event,) = embedded.events("stream.unsilenced")
    assert (event["at"], event["by"], event["reason"]) == (ours["at"] + 1_000_000, "", "its time was up; episode 1 is open")
    assert event["evidence"] >= event["budget"]
    assert event["divergence"]["kl"]["value"] > 1


def test_a_rebaseline_after_a_hold_is_only_for_episodes_that_are_open_then(embedded: Embedded):
    embedded.feed(250)
    embedded.feed(100, mean=4.0)
    with Control(f"sqlite://{embedded.state}", by="ann") as control:
        asked = control.rebaseline("pay/*", after_seconds=400, reason="accepted")
    with sqlite3.connect(embedded.state) as connection:
        connection.execute("UPDATE commands SET json = ?", (json.dumps({**asked.to_dict(), "at": embedded.now()}),))
    embedded.feed(350, mean=4.0)
    assert embedded.events("reference.rebaselined") == []
    embedded.feed(100, mean=4.0)
    assert [(e["stream"], e["by"], e["at"]) for e in embedded.events("reference.rebaselined")] == [
        ("pay/a/x", "ann", BEGIN_MS + 750_000), ("pay/b/x", "ann", BEGIN_MS + 750_000)]


def test_a_dry_run_shows_both_references_and_changes_nothing(embedded: Embedded):
    embedded.feed(250)
    embedded.feed(180, mean=4.0)
    before = Path(embedded.state).read_bytes()
    shown = streamkl("rebaseline", embedded.config, "pay/*/x", "--dry-run")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.count("drifting, reference of 100 observations") == 2
    assert shown.out.count("-> reference of 100 observations") == 2
    assert "in all: 2 stored streams" in shown.out
    assert "watching, reference of 100" in streamkl("silence", embedded.config, "pay/a/y", "--for", "2h", "--dry-run").out
    assert "no former reference is kept" in streamkl("rebaseline", embedded.config, "pay/a/y", "--undo", "--dry-run").out
    assert "learns anew: 100 observations, from its next record on" in streamkl("rebaseline", embedded.config, "pay/a/y", "--dry-run").out
    assert "in all: 0 stored streams" in streamkl("forget", embedded.config, "nobody/*", "--dry-run").out
    assert Path(embedded.state).read_bytes() == before
    embedded.run()
    assert embedded.events("reference.rebaselined") == embedded.events("stream.") == []


def test_the_same_command_ten_times_acts_once_and_what_is_none_is_skipped(embedded: Embedded):
    embedded.feed(250)
    with Control(embedded.config, by="ann") as control:
        for _ in range(10):
            control.silence("pay/a/x", 1e6, reason="once", id="the one")
    with sqlite3.connect(embedded.state) as connection:
        for text in ("{", "[]", '{"id": "x", "command": "explode", "streams": "*", "reason": "r", "by": "b", "at": 1, "for_ms": null}',
                     json.dumps({"id": "y", "command": "silence", "streams": "*", "reason": "", "by": "b", "at": 1, "for_ms": 5}),
                     json.dumps({"id": "z", "command": "silence", "streams": "*", "reason": "r", "by": "b", "at": 1, "for_ms": 10**18})):
            connection.execute("INSERT INTO commands(id, at, json) VALUES ('', 0, ?)", (text,))
    with Control(embedded.config, by="ann") as control:
        control.forget("no such stream", reason="a typo")
        control.unsilence("pay/*", reason="contradicts the first")
        control.silence("pay/b/y", 1e6, reason="later, so it stands")
        control.unsilence("pay/b/y", reason="no")
        control.silence("pay/b/y", 1e6, reason="yes")
    log = [json.loads(line) for line in embedded.run().err.splitlines()]
    assert [event["stream"] for event in embedded.events("stream.silenced")] == ["pay/a/x", "pay/b/y", "pay/b/y"]
    assert [event["stream"] for event in embedded.events("stream.unsilenced")] == ["pay/a/x", "pay/b/y"]
    refused = [line for line in log if line["event"] == "command.refused"]
    assert [line["so_far"] for line in refused] == [1, 2, 4]
    assert [line["streams"] for line in log if line["event"] == "command.unmatched"] == ["no such stream"]
    assert "command.executed" not in embedded.run().err


@pytest.mark.parametrize(("arguments", "said"), [
    (("silence", "CONFIG", "a/*"), "--for"),
    (("silence", "CONFIG", "a/*", "--for", "soon"), "is no length of time; write e.g. 90s, 30m, 2h"),
    (("silence", "CONFIG", "a/*", "--for", "400d"), "more than 366 days"),
    (("forget", "CONFIG", ""), "streams is empty"),
    (("forget", "CONFIG", "a/*", "--reason", " "), "reason is empty"),
    (("forget", "no.yaml", "a/*"), "no.yaml"),
    (("explode", "CONFIG", "a/*"), "explode"),
])  # fmt: skip
def test_a_wrong_command_is_refused_before_anything_is_sent(embedded: Embedded, arguments, said):
    embedded.feed(1)
    done = streamkl(*(embedded.config if argument == "CONFIG" else argument for argument in arguments))
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert sqlite3.connect(embedded.state).execute("SELECT count(*) FROM commands").fetchone() == (0,)


def test_a_state_file_that_is_not_there_yet_and_a_broker_that_is_away_end_with_4(embedded: Embedded, tmp_path: Path):
    (embedded.folder / "in.jsonl").touch()
    done = streamkl("forget", embedded.config, "*")
    assert (done.code, "start the service first" in done.err) == (4, True)
    kafka = {"application": "shop", "source": {"kind": "kafka", "bootstrap_servers": ["127.0.0.1:1"]},
             "streams": [{"topic": "t", "fields": {"x": "numeric"}}]}
    done = streamkl("forget", write(tmp_path, kafka, "kafka.yaml"), "*")
    assert (done.code, "try again" in done.err) == (4, True)
    with pytest.raises(Unavailable):
        Control(embedded.config, by="ann")


def test_commands_that_are_not_read_are_not_sent(embedded: Embedded):
    path = Path(embedded.config)
    path.write_text(path.read_text() + "control:\n  enabled: false\n")
    embedded.feed(1)
    done = streamkl("forget", embedded.config, "*")
    assert (done.code, "control.enabled" in done.err) == (2, True)


def test_python_wants_to_know_who_commands_and_why(embedded: Embedded):
    embedded.feed(1)
    with pytest.raises(TypeError):
        Control(embedded.config)
    with Control(embedded.config, by="ann") as control:
        with pytest.raises(TypeError):
            control.forget("*")
        for wrong in ({"reason": ""}, {"reason": None}, {"reason": "\ud800"}):
            with pytest.raises(ConfigError):
                control.forget("*", **wrong)
        for seconds in (-5, "2h", None, True, float("nan")):
            with pytest.raises(ConfigError):
                control.silence("*", seconds, reason="r")
        for id in (7, "", "x" * 201):
            with pytest.raises(ConfigError):
                control.forget("*", reason="r", id=id)
    with Control(embedded.config, by="") as nobody, pytest.raises(ConfigError, match="by is empty"):
        nobody.forget("*", reason="r")


def test_a_run_that_ended_leaves_its_state_in_one_file(embedded: Embedded):
    embedded.feed(200)
    left = {path.name for path in embedded.folder.iterdir() if path.name.startswith("state.db")}
    assert left == {"state.db", "state.db.lock"}
