"""SQLite checkpoint: what the contract does not say - processes that are killed, files that are not ours, disks that are full, readers beside."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from contracts.checkpoints import InSqlite
from contracts.units import ONE, event, letter, reading, unit

from streamkl.adapters.commit_steps import COMMIT_STEPS, COMMITTED
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
from streamkl.errors import ConfigError, StateError, Unavailable

CHILD = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from contracts.units import event, letter, reading, unit
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint

units = 0
def at_step(step):
    if units == 1 and step == {step!r}:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint = SqliteCheckpoint({path!r}, "payments", at_step)
for units in range(3):
    print(units, flush=True)
    if {step!r} == "hold" and units == 1:
        sys.stdin.read()
    checkpoint.commit(unit(replay_from=units, changes={{b"k": b"%d" % units, b"%d" % units: b"x" * 5000}}, events=[event(units)],
                           dead_letters=[letter(units)], readings=[reading(units)]))
"""


def child(path, step):
    code = CHILD.format(tests=str(Path(__file__).parent), path=str(path), step=step)
    return subprocess.Popen([sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def opened(path):
    checkpoint = SqliteCheckpoint(str(path), "payments")
    yield checkpoint
    checkpoint.close()


@pytest.mark.parametrize("step", COMMIT_STEPS)
def test_a_process_killed_at_any_step_leaves_whole_units(step, tmp_path):
    store = InSqlite(tmp_path)
    with child(store.path, step) as process:
        printed, _ = process.communicate()
    assert (process.returncode, printed) == (-signal.SIGKILL, "0\n1\n")
    checkpoint = store.open()
    units = 2 if step == COMMITTED else 1
    assert checkpoint.restore(ONE) == (units - 1, {b"k": b"%d" % (units - 1), **{b"%d" % i: b"x" * 5000 for i in range(units)}})
    content = store.content()
    assert [len(content.events), len(content.dead_letters), len(content.readings)] == [units] * 3
    checkpoint.commit(unit(replay_from=9))
    assert checkpoint.restore(ONE).replay_from == 9
    checkpoint.close()


def test_a_second_process_is_refused_until_the_first_is_gone_however_it_ends(path):
    with child(path, "hold") as first:
        assert first.stdout.readline() == "0\n"
        assert first.stdout.readline() == "1\n"
        with pytest.raises(StateError, match=rf"in use by process {first.pid}; stop that one"):
            SqliteCheckpoint(str(path), "payments")
        first.kill()
    second = SqliteCheckpoint(str(path), "payments")
    assert second.restore(ONE).replay_from == 0
    second.close()


def test_a_second_one_in_the_same_process_is_refused_too(opened, path):
    with pytest.raises(StateError, match="in use"):
        SqliteCheckpoint(str(path), "payments")
    opened.commit(unit(replay_from=4))
    assert opened.restore(ONE).replay_from == 4


def test_it_can_be_read_while_it_is_written_and_a_reader_sees_whole_units_only(path):
    seen = []

    def at_step(step):
        reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        seen.append((step, reader.execute("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM state)").fetchone()))
        reader.close()

    checkpoint = SqliteCheckpoint(str(path), "payments", at_step)
    checkpoint.commit(unit(changes={b"a": b"1", b"b": b"2"}, events=[event(1)]))
    checkpoint.close()
    assert seen == [(step, (1, 2) if step == COMMITTED else (0, 0)) for step in COMMIT_STEPS]


def test_the_sequence_of_events_grows_with_each_commit_and_a_repeat_takes_no_row(opened, path):
    opened.commit(unit(events=[event(1), event(2)]))
    opened.commit(unit(events=[event(2), event(3)]))
    reader = sqlite3.connect(path)
    rows = reader.execute("SELECT sequence, id, kind, stream, at, json FROM events ORDER BY sequence").fetchall()
    reader.close()
    assert [row[1:] for row in rows] == [(e.id, e.kind, e.stream, e.at, e.to_json()) for e in map(event, (1, 2, 3))]
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})


def test_of_readings_the_newest_are_kept_and_the_latest_of_each_stream_is_a_view(path):
    checkpoint = SqliteCheckpoint(str(path), "payments", readings_max=5)
    for turn in range(4):
        checkpoint.commit(unit(readings=[reading(number)._replace(observations=turn) for number in (1, 2)]))
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT stream, observations FROM readings ORDER BY sequence").fetchall() == [
        ("payments/2", 1), ("payments/1", 2), ("payments/2", 2), ("payments/1", 3), ("payments/2", 3),
    ]  # fmt: skip
    assert reader.execute("SELECT stream, observations, kl, js FROM latest_readings ORDER BY stream").fetchall() == [
        ("payments/1", 3, 0.25, None), ("payments/2", 3, 0.25, None),
    ]  # fmt: skip
    reader.close()
    checkpoint.close()


def test_nothing_is_kept_of_readings_is_refused(path):
    with pytest.raises(ConfigError, match="readings_max=0"):
        SqliteCheckpoint(str(path), "payments", readings_max=0)


def test_every_commit_is_on_the_disk_before_it_returns(opened):
    """2 is FULL: the write-ahead log is synchronised at each commit."""
    assert opened._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert opened._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_of_another_application_is_refused_and_left_alone(opened, path):
    opened.commit(unit(replay_from=3))
    opened.close()
    with pytest.raises(StateError, match="that of the application 'payments', this configuration is of 'orders'"):
        SqliteCheckpoint(str(path), "orders")
    again = SqliteCheckpoint(str(path), "payments")
    assert again.restore(ONE).replay_from == 3
    again.close()


def test_a_file_of_another_layout_is_refused_with_the_remedy(opened, path):
    opened._connection.execute("PRAGMA user_version = 99")
    opened.close()
    with pytest.raises(StateError, match=r"has layout 99, this version of streamkl reads layout 1; run the version that wrote it, or move"):
        SqliteCheckpoint(str(path), "payments")


def test_a_database_of_another_program_is_refused_and_left_alone(path):
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE bills(x)")
    foreign.commit()
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match=r"a database of something else \(it has bills\)"):
        SqliteCheckpoint(str(path), "payments")
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path):
    path.write_bytes(b"x,y\n1,2\n" * 1000)
    with pytest.raises(StateError, match="not a database"):
        SqliteCheckpoint(str(path), "payments")
    assert path.read_bytes() == b"x,y\n1,2\n" * 1000


def test_a_damaged_file_is_refused_with_the_remedy(opened, path):
    opened.commit(unit(changes={b"%d" % i: b"v" * 3000 for i in range(100)}))
    opened.close()
    stored = bytearray(path.read_bytes())
    stored[4096 : len(stored)] = b"\xa5" * (len(stored) - 4096)
    path.write_bytes(stored)
    with pytest.raises(StateError, match="restore it from a copy, or move it away"), closing(SqliteCheckpoint(str(path), "payments")) as checkpoint:
        checkpoint.restore(ONE)


def test_a_disk_without_room_is_unavailable_and_the_next_commit_stands(opened):
    """SQLite reports a full disk and a file at its page limit with the same code, SQLITE_FULL."""
    opened.commit(unit(replay_from=1, changes={b"k": b"small"}))
    pages = opened._connection.execute("PRAGMA page_count").fetchone()[0]
    opened._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match=r"SQLITE_FULL\); make room on the disk"):
        opened.commit(unit(replay_from=2, changes={b"k": b"x" * 1_000_000}))
    assert opened.restore(ONE) == (1, {b"k": b"small"})
    opened._connection.execute("PRAGMA max_page_count = 1000000")
    opened.commit(unit(replay_from=2, changes={b"k": b"x" * 1_000_000}))
    assert opened.restore(ONE).replay_from == 2


def test_another_program_that_writes_makes_a_commit_unavailable_not_lost(opened, path):
    opened._connection.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="SQLITE_BUSY"):
        opened.commit(unit(replay_from=5, events=[event(1)]))
    other.close()
    opened.commit(unit(replay_from=5, dead_letters=[letter(1)]))
    assert opened.restore(ONE).replay_from == 5


BARRED = """
import os, sys
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
from streamkl.errors import Unavailable

if os.geteuid() == 0:
    os.seteuid(65534)       # root may write everywhere
try:
    SqliteCheckpoint(sys.argv[1], "payments")
except Unavailable as error:
    print(error)
"""


def test_a_directory_that_may_not_be_written_is_unavailable_and_says_what_to_do():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        done = subprocess.run([sys.executable, "-P", "-c", BARRED, f"{folder}/state.db"], capture_output=True, text=True)
        os.chmod(folder, 0o755)
    assert "Permission denied; let this user write the directory of the state file" in done.stdout


@pytest.mark.parametrize("name", ["no/such/directory/state.db", "file/state.db", "a\0b"])
def test_a_path_that_cannot_be_is_unavailable(name, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="cannot open"):
        SqliteCheckpoint(str(tmp_path / name), "payments")


def test_a_path_that_is_a_directory_is_unavailable_and_can_be_tried_again(tmp_path):
    for _ in range(2):
        with pytest.raises(Unavailable, match="SQLITE_CANTOPEN"):
            SqliteCheckpoint(str(tmp_path), "payments")


def test_a_name_with_signs_of_an_address_is_just_a_name(tmp_path):
    path = tmp_path / "a?mode=memory&b#c %41é.db"
    checkpoint = SqliteCheckpoint(str(path), "payments")
    checkpoint.commit(unit(replay_from=6))
    checkpoint.close()
    assert path.stat().st_size > 0


def test_another_name_of_the_same_file_has_the_same_lock(tmp_path):
    first = SqliteCheckpoint(str(tmp_path / "real.db"), "payments")
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    with pytest.raises(StateError):
        SqliteCheckpoint(str(tmp_path / "link.db"), "payments")
    first.close()


def test_a_file_that_was_let_go_of_is_whole_without_its_log_though_somebody_reads_it_still(path, tmp_path):
    with closing(SqliteCheckpoint(str(path), "payments")) as checkpoint:
        checkpoint.commit(unit(events=[event(1)], changes={b"k": b"x" * 50_000}))
        reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    reader.close()
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)
