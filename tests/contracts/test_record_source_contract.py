"""The contract of `RecordSource`, held against every source of `sources.py`."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from contracts.sources import SOURCES, VALUES
from contracts.units import ONE
from streamkl import adapters
from streamkl.errors import StateError

POLLS_MAX = 2000


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def log(request, tmp_path):
    log = request.param(tmp_path, VALUES)
    yield log
    log.close()


def gained(log):
    """A source that has just gained its partition."""
    source = log.open()
    arrivals = source.poll(1.0)
    assert (list(arrivals.gained), list(arrivals.runs), arrivals.is_end) == ([ONE], [], False)
    return source


def rest(source):
    """All records until the source says that it is at its end."""
    found = []
    for _ in range(POLLS_MAX):
        arrivals = source.poll(1.0)
        assert [run.partition for run in arrivals.runs] in ([], [ONE])
        found += [record for run in arrivals.runs for record in run.records]
        if arrivals.is_end:
            return found
    raise AssertionError(f"no end after {POLLS_MAX} polls")


def test_every_source_that_needs_no_broker_is_held_to_this_contract():
    """Those in kafka_*.py are held to it where there is a broker."""
    modules = [importlib.import_module(f"streamkl.adapters.{m.name}") for m in pkgutil.iter_modules(adapters.__path__) if "kafka_" not in m.name]
    found = {one for m in modules for one in vars(m).values() if isinstance(one, type) and hasattr(one, "poll") and hasattr(one, "lags")}
    assert found == {source.implementation for source in SOURCES}


def test_every_record_comes_once_in_the_order_of_the_offsets(log):
    source = gained(log)
    source.start(ONE, None)
    found = rest(source)
    assert [record.value for record in found] == VALUES
    assert [record.offset for record in found] == list(range(len(VALUES)))
    assert {(record.topic, record.partition) for record in found} == {ONE}
    source.close()


def test_a_partition_waits_for_its_start(log):
    source = gained(log)
    assert [source.poll(0.0).runs or () for _ in range(5)] == [()] * 5
    source.start(ONE, None)
    assert len(rest(source)) == len(VALUES)
    source.close()


@pytest.mark.parametrize("offset", [0, 1, 7, 19, 20])
def test_a_source_goes_on_at_any_offset(log, offset):
    source = gained(log)
    source.start(ONE, offset)
    found = rest(source)
    if source.is_replayable:
        assert [(record.offset, record.value) for record in found] == list(enumerate(VALUES))[offset:]
    else:
        assert [(record.offset, record.value) for record in found] == list(enumerate(VALUES, offset))
    source.close()


def test_a_started_partition_may_be_started_again_where_it_can_go_back(log):
    source = gained(log)
    source.start(ONE, None)
    if source.is_replayable:
        for _ in range(5):
            source.poll(0.0)
        source.start(ONE, 2)
        assert [record.offset for record in rest(source)] == list(range(2, 20))
    source.close()


def test_an_offset_beyond_the_end_is_refused_with_the_remedy(log):
    source = gained(log)
    if source.is_replayable:
        with pytest.raises(StateError, match="--discard-state"):
            source.start(ONE, 21)
    source.close()


def test_nothing_comes_of_a_paused_partition_and_nothing_is_lost(log):
    source = gained(log)
    source.start(ONE, None)
    source.pause([ONE])
    assert [list(source.poll(0.0).runs) for _ in range(5)] == [[]] * 5
    source.resume([ONE])
    assert [record.value for record in rest(source)] == VALUES
    source.close()


def test_the_lag_is_nothing_at_the_end_and_never_less(log):
    source = gained(log)
    source.start(ONE, None)
    found = 0
    while not (arrivals := source.poll(1.0)).is_end:
        found += sum(len(run.records) for run in arrivals.runs)
        assert all(lag >= 0 for lag in source.lags().values())
    assert found == len(VALUES)
    assert source.lags() == {ONE: 0}
    source.close()


def test_the_end_stays_the_end(log):
    source = gained(log)
    source.start(ONE, None)
    rest(source)
    assert rest(source) == []
    source.close()


@pytest.mark.parametrize("kind", SOURCES, ids=lambda source: source.__name__)
def test_an_empty_partition_is_gained_and_ends(kind, tmp_path):
    log = kind(tmp_path, [])
    source = gained(log)
    source.start(ONE, 0)
    assert rest(source) == []
    source.close()
    log.close()
