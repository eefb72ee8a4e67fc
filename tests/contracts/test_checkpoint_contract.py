"""The contract of `Checkpoint` and of a unit of work, held against every store of `checkpoints.py`."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from contracts.checkpoints import STORES
from contracts.units import ONE, OTHER, event, letter, plain_event, plain_letter, plain_reading, reading, unit
from streamkl import adapters
from streamkl.errors import Unavailable
from streamkl.service.work import UnitOfWork

CASES = [(store, step) for store in STORES for step in store.steps]


class Crash(Exception):
    """The process dies here."""


def crash_at(wanted):
    def at_step(step):
        if step == wanted:
            raise Crash

    return at_step


@pytest.fixture(params=STORES, ids=lambda store: store.__name__)
def store(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def opened(store):
    checkpoint = store.open()
    yield checkpoint
    checkpoint.close()


FIRST = unit(replay_from=10, changes={b"a": b"1", b"b": b"2"}, events=[event(1)], dead_letters=[letter(3)], readings=[reading(1)])
SECOND = unit(
    replay_from=20, changes={b"a": b"9", b"b": None, b"c": b""}, events=[event(2), event(3)], dead_letters=[letter(12)], readings=[reading(2)]
)


def test_every_checkpoint_that_needs_no_broker_is_held_to_this_contract():
    """Those in kafka_*.py are held to it where there is a broker: by a store of their own, as in `checkpoints.py`."""
    modules = [importlib.import_module(f"streamkl.adapters.{m.name}") for m in pkgutil.iter_modules(adapters.__path__) if "kafka_" not in m.name]
    found = {one for m in modules for one in vars(m).values() if isinstance(one, type) and hasattr(one, "restore") and hasattr(one, "commit")}
    assert found == {store.implementation for store in STORES}


def test_of_a_partition_of_which_nothing_was_committed_nothing_is_restored(opened):
    assert opened.restore(ONE) == (None, {})


def test_what_is_restored_is_what_was_committed(store, opened):
    opened.commit(FIRST)
    assert opened.restore(ONE) == (10, {b"a": b"1", b"b": b"2"})
    opened.commit(SECOND)
    assert opened.restore(ONE) == (20, {b"a": b"9", b"c": b""})
    content = store.content()
    assert content.restored[ONE] == opened.restore(ONE)
    assert content.events == [plain_event(event(number)) for number in (1, 2, 3)]
    assert content.dead_letters == [plain_letter(letter(3)), plain_letter(letter(12))]
    assert content.readings == [plain_reading(reading(1)), plain_reading(reading(2))]


def test_another_process_restores_the_same(store):
    first = store.open()
    first.commit(FIRST)
    first.close()
    first.close()
    second = store.open()
    assert second.restore(ONE) == (10, {b"a": b"1", b"b": b"2"})
    second.close()


@pytest.mark.parametrize(("kind", "step"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_after_a_crash_at_any_step_all_of_the_unit_stands_or_nothing_of_it(kind, step, tmp_path):
    store = kind(tmp_path)
    calm = store.open()
    calm.commit(FIRST)
    calm.close()
    before = store.content()
    rough = store.open(crash_at(step))
    with pytest.raises(Crash):
        rough.commit(SECOND)
    found = store.content()
    store.crash(rough)
    after = store.open()
    assert store.content() == found
    if step == store.stands_at:
        assert after.restore(ONE) == (20, {b"a": b"9", b"c": b""})
        assert [one["index"] for one in found.events] == [1, 2, 3]
        assert [len(found.dead_letters), len(found.readings)] == [2, 2]
    else:
        assert found == before
        after.commit(SECOND)
        assert after.restore(ONE) == (20, {b"a": b"9", b"c": b""})
        assert [one["index"] for one in store.content().events] == [1, 2, 3]
    after.close()


@pytest.mark.parametrize(("kind", "step"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_the_process_that_failed_may_restore_and_commit_again(kind, step, tmp_path):
    store = kind(tmp_path)
    crashes = [step]
    checkpoint = store.open(lambda now: crash_at(crashes.pop())(now) if crashes == [now] else None)
    with pytest.raises(Crash):
        checkpoint.commit(FIRST)
    checkpoint.restore(ONE)
    checkpoint.commit(SECOND)
    assert checkpoint.restore(ONE) == (20, {b"a": b"9", b"c": b""})
    checkpoint.close()


def test_every_step_is_passed_once_and_in_order(store):
    passed = []
    checkpoint = store.open(passed.append)
    checkpoint.commit(FIRST)
    checkpoint.close()
    assert passed == list(store.steps)
    assert len(set(passed)) == len(passed) >= 4


def test_two_partitions_are_independent_and_may_stand_in_one_unit(store, opened):
    both = UnitOfWork({ONE: 5, OTHER: 7}, {ONE: {b"k": b"one"}, OTHER: {b"k": b"other", b"l": b"x"}})
    opened.commit(both)
    opened.commit(unit(OTHER, 8, {b"k": None}, dead_letters=[letter(3), letter(3, OTHER)]))
    assert opened.restore(ONE) == (5, {b"k": b"one"})
    assert opened.restore(OTHER) == (8, {b"l": b"x"})
    assert len(store.content().dead_letters) == 2


def test_a_unit_with_nothing_in_it_changes_nothing(store, opened):
    opened.commit(FIRST)
    before = store.content()
    opened.commit(UnitOfWork({}, {}))
    opened.commit(UnitOfWork({}, {ONE: {}, OTHER: {}}))
    assert store.content() == before


def test_progress_may_stay_or_go_back(opened):
    for offset in (0, 10, 10, 4):
        opened.commit(unit(replay_from=offset))
        assert opened.restore(ONE).replay_from == offset


def test_deleting_what_is_not_there_is_no_error(opened):
    opened.commit(unit(changes={b"never": None}))
    assert opened.restore(ONE).entries == {}


def test_keys_and_values_are_bytes_of_any_kind_and_a_value_may_have_a_megabyte(opened):
    large = bytes(range(256)) * 4096
    entries = {b"": b"", b"\0": b"\0", b"\xff\xfe": large, "é".encode(): b"1", b"k" * 1000: b"2"}
    opened.commit(unit(changes=entries))
    assert opened.restore(ONE).entries == entries


def test_ten_thousand_keys_come_back(opened):
    entries = {b"%d" % number: b"%d" % (number * number) for number in range(10_000)}
    opened.commit(unit(changes=entries))
    assert opened.restore(ONE).entries == entries
    opened.commit(unit(changes=dict.fromkeys(entries)))
    assert opened.restore(ONE).entries == {}


def test_events_keep_the_order_of_the_unit(store, opened):
    order = [5, 3, 9, 1, 7]
    opened.commit(unit(events=[event(number) for number in order[:3]]))
    opened.commit(unit(events=[event(number) for number in order[3:]]))
    assert [one["index"] for one in store.content().events] == order


def test_a_repeated_event_or_dead_letter_is_told_by_its_id_or_offset_and_loses_no_other(store, opened):
    opened.commit(unit(events=[event(1), event(2)], dead_letters=[letter(1), letter(2)]))
    opened.commit(unit(events=[event(2), event(4)], dead_letters=[letter(2, reason="another"), letter(4)]))
    content = store.content()
    assert list(dict.fromkeys(one["index"] for one in content.events)) == [1, 2, 4]
    assert list(dict.fromkeys(one[2] for one in content.dead_letters)) == [1, 2, 4]
    if not store.keeps_repeats:
        assert [one["index"] for one in content.events] == [1, 2, 4]
        assert [(one[2], one[-1]) for one in content.dead_letters] == [(1, "not JSON"), (2, "not JSON"), (4, "not JSON")]


def test_a_dead_letter_keeps_a_key_or_value_that_is_not_there(store, opened):
    record = letter(7).record._replace(key=None, value=None, timestamp=None, headers=())
    opened.commit(unit(dead_letters=[letter(7)._replace(record=record)]))
    assert store.content().dead_letters == [(ONE.topic, 0, 7, None, None, None, [], "not JSON")]


def test_what_was_restored_does_not_change_with_what_is_committed_later(opened):
    opened.commit(FIRST)
    restored = opened.restore(ONE)
    opened.commit(SECOND)
    assert restored.entries == {b"a": b"1", b"b": b"2"}


def test_whoever_changes_what_was_restored_changes_nothing_that_is_stored(opened):
    opened.commit(FIRST)
    opened.restore(ONE).entries[b"mine"] = b"x"
    assert opened.restore(ONE) == (10, {b"a": b"1", b"b": b"2"})


def test_a_member_of_an_older_generation_commits_nothing_of_a_partition_that_a_newer_one_committed(store, opened):
    if not store.has_group:
        pytest.skip("no group: one process alone has the store")
    opened.commit(unit(ONE, 10, {b"k": b"new"}, membership=4))
    before = store.content()
    with pytest.raises(Unavailable, match="generation 4"):
        opened.commit(unit(ONE, 20, {b"k": b"old"}, [event(1)], [letter(3)], [reading(1)], membership=3))
    with pytest.raises(Unavailable, match="generation 4"):
        opened.commit(UnitOfWork({OTHER: 7, ONE: 20}, {}, membership=3))
    assert store.content() == before
    opened.commit(unit(OTHER, 5, membership=3))                      # which nobody newer has
    for generation in (4, 5):
        opened.commit(unit(ONE, 20 + generation, membership=generation))
    assert opened.restore(ONE).replay_from == 25
