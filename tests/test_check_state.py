"""`streamkl check CONFIG --state`: what it says of stored streams, and that it disturbs nobody."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from configured import changed, write
from program import COMMAND, Outcome
from serving import World, messages

from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
from streamkl.app.check_state import NAMED
from streamkl.service.entries import PROGRESS_KEY, VERSION, Progress, StoredRow, encoded, row_key
from streamkl.service.record import Partition
from streamkl.service.work import UnitOfWork


def streamkl(*arguments: object) -> Outcome:
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, timeout=120)
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


class Embedded:
    """A file of records, its configuration, and what is stored of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.database = folder, folder / "state.db"
        rng = np.random.default_rng(1)
        lines = (json.dumps({"k": f"k{i % 3}", "x": float(rng.normal()), "y": float(rng.normal())}) for i in range(900))
        (folder / "in.jsonl").write_text("\n".join(lines) + "\n")
        self.tree = {
            "application": "pay", "source": {"kind": "file", "path": str(folder / "in.jsonl")},
            "streams": [{"name": "pay", "key": {"field": "k"}, "fields": {"x": "numeric", "y": "numeric"}}],
            "detector": {"warmup": 100}, "state": {"path": str(self.database)}, "monitoring": {"port": None},
        }  # fmt: skip

    def config(self, **changes: object) -> str:
        return write(self.folder, changed(self.tree, {name.replace("__", "."): value for name, value in changes.items()}))

    def run(self) -> Outcome:
        done = streamkl("run", self.config())
        assert done.code == 0, done.err
        return done

    def check(self, *arguments: object, **changes: object) -> tuple[int, list[str]]:
        """Return the exit code and what is said of the state, without the summary of the configuration."""
        done = streamkl("check", self.config(**changes), "--state", *arguments)
        assert done.err == "" or done.code in (3, 4)
        return done.code, [re.sub(" +", " ", line) for line in done.out.splitlines() if line.startswith(("in[", "in all"))] + done.err.splitlines()


@pytest.fixture
def embedded(tmp_path):
    return Embedded(tmp_path)


def test_before_the_first_start_everything_is_new_and_nothing_is_made(embedded):
    assert embedded.check() == (0, [
        "in[0]: nothing is stored; the file reaches there", "in[0]: new pay/*/x: nothing is stored of it",
        "in[0]: new pay/*/y: nothing is stored of it", "in all: 2 new",
    ])
    assert sorted(path.name for path in embedded.folder.iterdir()) == ["config.yaml", "in.jsonl"]


def test_every_stored_stream_is_told_once_and_no_byte_is_changed(embedded):
    embedded.run()
    before = {path.name: path.read_bytes() for path in embedded.folder.iterdir()}
    code, lines = embedded.check()
    assert (code, lines[0], lines[-1]) == (0, "in[0]: replay from 900, processed 900, 0 to read again; the file reaches there", "in all: 6 kept")
    assert lines[1:-1] == [f"in[0]: kept pay/k{key}/{field}" for key in range(3) for field in "xy"]
    assert {path.name: path.read_bytes() for path in embedded.folder.iterdir()} == before


@pytest.mark.parametrize(("change", "arguments", "code", "told"), [
    ({"detector__false_alarms": 5000}, (), 0, "kept with new settings pay/k1/y: budget was 1000000.0, is 5000.0"),
    ({"detector__min_effect_nats": None}, (), 0, "kept with new settings pay/k1/y: min_effect was 0.05, is None"),
    ({"detector__warmup": 120}, (), 3, "refused pay/k1/y: warmup was 100, is 120"),
    ({"detector__warmup": 120, "state__on_incompatible": "relearn"}, (), 0, "relearned pay/k1/y: warmup was 100, is 120"),
    ({"detector__warmup": 120}, ("--discard-state", "pay/*"), 0, "discarded pay/k1/y: by --discard-state"),
    ({"streams__0__fields__y": ...}, (), 0, "not watched any more pay/k1/y: the entry has no field y"),
    ({"streams__0__name": "other"}, (), 0, "not watched any more pay/k1/y: no entry of streams has this name"),
    ({"streams__0__key": ...}, (), 0, "not watched any more pay/k1/y: no entry of streams has this name"),
    ({"streams__0__fields__z": "numeric"}, (), 0, "new pay/k1/z: nothing is stored of it"),
    ({"streams__0__fields__y": "categorical"}, (), 3, "refused pay/k1/y: kind was 'numeric', is 'categorical'"),
    ({"streams__0__fields__y": {"path": "elsewhere.y"}}, (), 0, "kept pay/k1/y"),
])
def test_what_a_changed_configuration_makes_of_a_stream_is_what_a_restart_then_does(embedded, change, arguments, code, told):
    embedded.run()
    said, lines = embedded.check(*arguments, **change)
    assert (said, f"in[0]: {told}" in lines) == (code, True), lines
    restart = streamkl("run", embedded.config(**change), *arguments)
    assert restart.code == code, restart.err
    if code == 3:
        assert "pay/k0/y" in restart.err or "pay/k0/x" in restart.err
    if code == 0:                                   # and by now all is as the configuration wants it
        assert {line.split()[1] for line in embedded.check(**change)[1][1:-1]} <= {"kept", "new"}


def test_a_file_that_became_shorter_is_refused(embedded):
    embedded.run()
    (embedded.folder / "in.jsonl").write_text("{}\n")
    code, lines = embedded.check()
    assert code == 3
    assert "has 1 lines, but 900 of it were used" in "\n".join(lines)


def test_a_damaged_sketch_is_unusable_and_a_restart_says_so_when_its_first_record_comes(embedded):
    embedded.run()
    with sqlite3.connect(embedded.database) as connection:
        (key, value), *_ = connection.execute("SELECT key, value FROM state WHERE hex(key) LIKE '%A26B31A178'").fetchall()     # k1, x
        connection.execute("UPDATE state SET value = ? WHERE key = ?", (value[:-3] + bytes([value[-3] ^ 1]) + value[-2:], key))
    connection.close()
    code, lines = embedded.check()
    assert code == 3
    (line,) = [line for line in lines[:-1] if "unusable" in line]
    assert re.search(r"pay/k1/x: .*checksum differs", line)
    assert lines[-1] == "in all: 1 unusable, 5 kept; a restart would be refused"
    with (embedded.folder / "in.jsonl").open("a") as file:
        file.write('{"k": "k0", "x": 1, "y": 1}\n{"k": "k1", "x": 1, "y": 1}\n')
    stopped = streamkl("run", embedded.config())
    assert stopped.code == 3
    assert "the stored state of pay/k1/x cannot be used" in stopped.err
    assert "--discard-state 'pay/k1/x'" in stopped.err
    assert streamkl("run", embedded.config(), "--discard-state", "pay/k1/x").code == 0
    assert embedded.check()[1][-1] == "in all: 6 kept"


@pytest.mark.parametrize(("damage", "told"), [
    ("UPDATE progress SET replay_from = 17", "the offset was set by hand"),
    ("DELETE FROM state WHERE key = CAST('progress' AS BLOB)", "incomplete"),
    ("PRAGMA user_version = 9", "layout 9"),
    ("UPDATE about SET value = 'else'", "the application 'else'"),
])
def test_what_a_start_would_refuse_is_refused(embedded, damage, told):
    embedded.run()
    with sqlite3.connect(embedded.database) as connection:
        connection.execute(damage)
    connection.close()
    code, lines = embedded.check()
    assert (code, told in "\n".join(lines)) == (3, True), lines
    assert streamkl("run", embedded.config()).code == 3


def test_a_service_that_has_the_file_open_is_not_in_the_way_nor_disturbed(embedded):
    embedded.run()
    running = SqliteCheckpoint(str(embedded.database), "pay")           # holds the lock of the file
    try:
        at = running.restore(Partition("in", 0))
        assert embedded.check()[1][-1] == "in all: 6 kept"
        running.commit(UnitOfWork({Partition("in", 0): 900}, {Partition("in", 0): {PROGRESS_KEY: at.entries[PROGRESS_KEY]}}))
        assert embedded.check()[0] == 0
    finally:
        running.close()


def test_a_state_of_100_000_streams_stays_readable(embedded):
    place = Partition("in", 0)
    born = {row_key("pay", f"k{i}"): encoded(row_key("pay", f"k{i}"), StoredRow(VERSION, 5, [])) for i in range(50_000)}
    progress = {PROGRESS_KEY: encoded(PROGRESS_KEY, Progress(VERSION, 5, 9, "pay"))}
    checkpoint = SqliteCheckpoint(str(embedded.database), "pay")
    checkpoint.commit(UnitOfWork({place: 5}, {place: {**born, **progress}}))
    checkpoint.close()
    began = time.monotonic()
    code, lines = embedded.check()
    assert (code, lines[-1], len(lines)) == (0, "in all: 100,000 new", NAMED + 3)
    assert lines[-2] == f"in[0]: new and {100_000 - NAMED:,} more: nothing is stored of it"
    assert time.monotonic() - began < 60


def test_an_unreadable_file_exits_4_or_3(embedded):
    embedded.database.mkdir()
    assert streamkl("check", embedded.config(), "--state").code == 2        # the configuration says where it is wrong
    embedded.database.rmdir()
    embedded.database.write_bytes(b"no database at all" * 100)
    assert embedded.check()[0] == 3


def test_on_a_broker_the_running_service_is_not_fenced(broker, tmp_path):
    world = World(broker, tmp_path, streams_max=300)
    try:
        world.produce(messages(1, 0, 2000, 2))
        running = world.run()
        world.wait_until_all_is_processed()
        path = world.config(name="check.yaml")
        done = streamkl("check", path, "--state")
        assert done.code == 0, done.out + done.err
        assert done.out.count(" processed ") == 2
        assert re.search(r"in all: \d+ kept\n", done.out), done.out
        commits = len(running.said("work.committed"))
        world.produce(messages(1, 2000, 1000, 2))           # and it goes on: nobody took its place
        world.wait_until_all_is_processed()
        assert len(running.said("work.committed")) > commits
        assert running.end() == 0
        world.delete_before({0: world.ends()[0]})
        assert streamkl("check", path, "--state").code == 0                 # what is gone was processed
        refused = streamkl("check", world.config({"detector.warmup": 120}, "other.yaml"), "--state")
        assert (refused.code, "warmup was 100, is 120" in refused.out) == (3, True)
    finally:
        world.close()


def test_on_a_broker_retention_and_another_partition_count_are_told(broker, tmp_path):
    world = World(broker, tmp_path)
    try:
        world.produce(messages(1, 0, 300, 2))
        running = world.run()
        world.wait_until_all_is_processed()
        running.end()
        world.produce(messages(1, 300, 300, 2))
        world.delete_before({0: world.ends()[0]})
        done = streamkl("check", world.config(name="check.yaml"), "--state")
        assert (done.code, "retention" in done.out) == (3, True), done.out + done.err
        world.state = broker.topic("state", 3, is_compacted=True)
        done = streamkl("check", world.config(name="check.yaml"), "--state")
        assert (done.code, "has 3 partitions" in done.err) == (3, True), done.out + done.err
    finally:
        world.close()
