"""What may happen to a file, or a state file, while somebody is subscribed to it, and while nobody is."""

from __future__ import annotations

import os
import threading

import pytest
from subscribing import FOREIGN, OfFile, OfSqlite, event

from streamkl import subscription
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
from streamkl.errors import ConfigError, StateError, Unavailable


class Reader:
    """Lives of a subscription; `all`: numbers of the events that were delivered, in order."""

    def __init__(self, url: str) -> None:
        self.url, self.all, self.life = url, [], None

    def begin(self) -> Reader:
        self.end()
        self.life = subscription(self.url, "group", lambda one: self.all.append(one.index))
        return self

    def end(self) -> None:
        if self.life is not None:
            self.life.close()

    def more(self) -> list[int]:
        """What is delivered now."""
        before = len(self.all)
        for _ in range(3):                          # a file that has taken the place of another one is seen by the next look
            self.life.run_once(0.0)
        return self.all[before:]


def numbered(*numbers):
    return [event("a", number) for number in numbers]


def lines(*numbers) -> bytes:
    return b"".join(one.to_json().encode() + b"\n" for one in numbered(*numbers))


@pytest.fixture
def file(tmp_path):
    place = OfFile(tmp_path)
    reader = Reader(place.url)
    place.reader = reader
    yield place
    reader.end()


@pytest.fixture(params=[True, False], ids=["in one life", "between two lives"])
def one_life(request):
    return request.param


def turn(reader, one_life) -> None:
    """Go on in the same life, or in the next one."""
    if not one_life:
        reader.begin()


def test_a_line_counts_when_it_is_whole(file):
    reader = file.reader.begin()
    whole = lines(0)
    file.path.write_bytes(whole[:40])
    assert reader.more() == []
    file.path.write_bytes(whole[:-1])
    assert reader.more() == [0]
    file.path.write_bytes(whole + b"\n\n" + lines(1) + b"\n")
    assert reader.more() == [1]
    file.write(numbered(2))
    assert reader.begin().more() == [2]


def test_a_line_cut_in_the_middle_of_a_character_and_bytes_that_are_no_text_do_no_harm(file):
    reader = file.reader.begin()
    file.path.write_bytes(b"\xff\xfe\n" + lines(0) + FOREIGN + b"\n[]\n\0\n" + lines(1) + b'{"id": "\xc3')
    assert reader.more() == [0, 1]
    assert reader.begin().more() == []


def test_a_file_that_is_written_anew_is_read_from_its_start(file, one_life):
    reader = file.reader.begin()
    file.write(numbered(0, 1, 2))
    assert reader.more() == [0, 1, 2]
    turn(reader, one_life)
    file.path.write_bytes(lines(7, 1, 8, 9, 10))    # longer, in place; 1 was dealt with
    assert reader.more() == [7, 8, 9, 10]


def test_a_file_that_was_cut_is_read_from_its_start(file, one_life):
    reader = file.reader.begin()
    file.write(numbered(0, 1, 2))
    assert reader.more() == [0, 1, 2]
    turn(reader, one_life)
    file.path.write_bytes(b"")
    assert reader.more() == []
    turn(reader, one_life)
    file.write(numbered(3))
    assert reader.more() == [3]


def test_a_file_that_was_rotated_is_read_to_its_end_and_then_its_successor(file):
    reader = file.reader.begin()
    file.write(numbered(0))
    assert reader.more() == [0]
    os.rename(file.path, f"{file.path}.1")
    with open(f"{file.path}.1", "ab") as old:
        old.write(lines(1, 2))
    file.path.write_bytes(lines(3))
    assert reader.more() == [1, 2, 3]
    file.write(numbered(4))
    assert reader.begin().more() == [4]


def test_a_copy_with_the_same_content_goes_on_where_the_old_one_ended(file, one_life):
    reader = file.reader.begin()
    file.write(numbered(0, 1))
    assert reader.more() == [0, 1]
    turn(reader, one_life)
    copy = file.path.with_suffix(".new")
    copy.write_bytes(lines(0, 1, 2))
    os.replace(copy, file.path)
    assert reader.more() == [2]


def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path):
    path, seen = tmp_path / "events.jsonl", []
    made = subscription(f"file://{path}", "group", seen.append)
    with pytest.raises(Unavailable, match="cannot open"):
        made.run_once(0.0)
    thread = threading.Thread(target=made.run)
    thread.start()
    path.write_bytes(lines(0))
    while not seen:
        thread.join(0.01)
    made.stop()
    thread.join(20)
    made.close()


def test_a_line_that_never_ends_is_no_event_and_what_follows_is(file, monkeypatch):
    monkeypatch.setattr("streamkl.adapters.file_subscription.LINE_BYTES_MAX", 2048)
    monkeypatch.setattr("streamkl.adapters.file_subscription.BLOCK_BYTES", 1024)
    reader = file.reader.begin()
    file.path.write_bytes(b"x" * 10_000 + b"\n" + lines(0))
    for _ in range(10):
        reader.more()
    assert reader.all == [0]


# ---------------------------------------------------------------- a state file


@pytest.fixture
def state(tmp_path):
    place = OfSqlite(tmp_path)
    place.reader = Reader(place.url)
    yield place
    place.reader.end()
    place.close()


def test_a_state_file_that_was_made_anew_is_read_from_its_start(state, one_life):
    reader = state.reader.begin()
    state.write(numbered(0, 1))
    assert reader.more() == [0, 1]
    turn(reader, one_life)
    state.checkpoint.close()
    for suffix in ("", "-wal", "-shm"):
        state.path.with_name(state.path.name + suffix).unlink(missing_ok=True)
    state.checkpoint = SqliteCheckpoint(str(state.path), "checkout")
    state.units = 0
    state.write(numbered(5, 1, 6, 7))                 # longer; 1 was dealt with
    assert reader.more() == [5, 6, 7]
    state.write(numbered(8))
    assert reader.begin().more() == [8]


def test_a_file_of_another_program_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("no database " * 100)
    made = subscription(f"sqlite://{tmp_path}/text.db", "group", print)
    with pytest.raises(ConfigError, match="no state file of streamkl"):
        made.run_once(0.0)
    made.close()


def test_two_processes_of_one_group_on_one_file_are_refused(file):
    file.reader.begin()
    with pytest.raises(StateError, match="in use by process"):
        subscription(file.url, "group", print)
    subscription(file.url, "another", print).close()


@pytest.mark.parametrize("make", [OfFile, OfSqlite])
def test_a_new_group_may_begin_behind_what_is_there_and_goes_on_from_there(make, tmp_path):
    place, found = make(tmp_path), []

    def life():
        return subscription(place.url, "late", lambda one: found.append(one.index), start_at="latest")

    place.write(numbered(0, 1, 2))
    first = life()
    first.run_once(0.0)
    assert found == []
    first.close()
    place.write(numbered(3))                                # while nobody reads: it is new, as the group has a position
    second = life()
    second.run_once(0.0)
    place.write(numbered(4))
    second.run_once(0.0)
    second.close()
    assert found == [3, 4]


def test_half_a_line_at_the_end_is_not_behind_a_group_that_begins_there(tmp_path):
    place, found = OfFile(tmp_path), []
    whole = lines(1)
    place.path.write_bytes(lines(0) + whole[:30])
    late = subscription(place.url, "late", lambda one: found.append(one.index), start_at="latest")
    late.run_once(0.0)
    place.path.write_bytes(lines(0) + whole)
    late.run_once(0.0)
    late.close()
    assert found == [1]
