"""The contract of `DeliveryStore` and of `DeadLetters`, held against the file and the twin; and what a file owes beyond it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from subscribing import PLACE, event

from streamkl.adapters.delivery_store import DeliveryFile, Position
from streamkl.adapters.memory_subscription import MemoryStore
from streamkl.errors import StateError, Unavailable
from streamkl.service.incoming import Incoming, Undelivered
from streamkl.service.record import PlainRecord

RECORD = PlainRecord("drift", 0, 7, None, b"\xff key", b"\x00 value", [("trace", b"\x01"), ("trace", b"\x02")])
LETTER = Undelivered(Incoming(PLACE, 8, RECORD, event("a", 1)), "group", "no use", 3, 1_700_000_000_000)


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    made = MemoryStore(ids_max=10) if request.param == "memory" else DeliveryFile(str(tmp_path / "store"), "group", "feed", ids_max=10)
    yield made
    made.close()


def test_what_was_done_is_known(store):
    assert not store.knows("a")
    store.done("a")
    store.done("a")
    assert store.knows("a")
    assert not store.knows("b")


def test_the_newest_are_kept(store):
    for number in range(25):
        store.done(f"key {number}")
    assert [store.knows(f"key {number}") for number in range(25)] == [False] * 15 + [True] * 10


def test_a_dead_letter_is_kept(store):
    place, advice = store.bury(LETTER)
    assert place
    assert not advice


# ---------------------------------------------------------------- the file


def test_all_of_it_survives_a_kill(tmp_path):
    code = (
        "import os, signal, sys\nfrom streamkl.adapters.delivery_store import DeliveryFile, Position\n"
        "store = DeliveryFile(sys.argv[1], 'group', 'feed')\nstore.done('a')\nstore.keep('feed', Position(17, 'mark'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code, tmp_path / "store"], timeout=60).returncode == -9
    store = DeliveryFile(str(tmp_path / "store"), "group", "feed")
    assert (store.knows("a"), store.position("feed"), store.position("other")) == (True, Position(17, "mark"), None)
    store.close()


def test_a_dead_letter_can_be_read_by_anybody(tmp_path):
    store = DeliveryFile(str(tmp_path / "store"), "group", "feed")
    store.bury(LETTER)
    row = sqlite3.connect(tmp_path / "store").execute("SELECT * FROM dead_letters").fetchone()
    assert row == (1, "2023-11-14T22:13:20.000Z", "no use", 3, "a 1", "drift.raised", "a", "drift", 0, 7, b"\xff key", b"\x00 value",
                   '[["trace", "AQ=="], ["trace", "Ag=="]]')  # fmt: skip
    store.close()


def test_names_and_reasons_that_are_no_unicode_do_no_harm(tmp_path):
    """As a file of another encoding has in its name, and so in errors about it."""
    store = DeliveryFile(str(tmp_path / "store"), "group", "caf\udce9.jsonl")
    store.keep("caf\udce9.jsonl", Position(3, "mark"))
    store.bury(LETTER._replace(reason="no caf\udce9"))
    store.close()
    store = DeliveryFile(str(tmp_path / "store"), "group", "caf\udce9.jsonl")
    assert store.position("caf\udce9.jsonl") == Position(3, "mark")
    store.close()


def test_a_store_that_is_held_is_refused_and_one_that_is_shared_is_not(tmp_path):
    first = DeliveryFile(str(tmp_path / "store"), "group", "feed")
    with pytest.raises(StateError, match="in use by process"):
        DeliveryFile(str(tmp_path / "store"), "group", "feed")
    first.close()
    one, two = (DeliveryFile(str(tmp_path / "shared"), "group", "feed", is_shared=True) for _ in range(2))
    one.done("a")
    assert two.knows("a")
    one.close()
    two.close()


@pytest.mark.parametrize("content", [b"no database at all, but some text that is long enough" * 40, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_store_is_an_error_with_its_remedy(tmp_path, content):
    path = tmp_path / "store"
    path.write_bytes(content)
    with pytest.raises(StateError, match="restore it from a copy, or move it away"):
        DeliveryFile(str(path), "group", "feed")
    assert path.read_bytes() == content


def test_the_store_of_another_is_refused(tmp_path):
    DeliveryFile(str(tmp_path / "store"), "group", "feed").close()
    for name, feed in (("other", "feed"), ("group", "other")):
        with pytest.raises(StateError, match="belongs to the subscription 'group' of 'feed'"):
            DeliveryFile(str(tmp_path / "store"), name, feed)
    connection = sqlite3.connect(tmp_path / "foreign")
    connection.execute("CREATE TABLE orders(id)")
    connection.close()
    with pytest.raises(StateError, match="database of something else"):
        DeliveryFile(str(tmp_path / "foreign"), "group", "feed")


def write_much(store) -> None:
    for number in range(1000):
        store.done(f"{number} {'x' * 500}")


def test_a_full_disk_is_tried_again_and_loses_nothing(tmp_path):
    store = DeliveryFile(str(tmp_path / "store"), "group", "feed")
    store.done("before")
    store._connection.execute(f"PRAGMA max_page_count = {store._connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(Unavailable, match="make room on the disk"):
        write_much(store)
    store._connection.execute("PRAGMA max_page_count = 100000")
    store.done("after")
    assert store.knows("before")
    assert store.knows("after")
    store.close()


def test_a_place_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="give store=PATH"):
        DeliveryFile(str(tmp_path / "file" / "store"), "group", "feed")
