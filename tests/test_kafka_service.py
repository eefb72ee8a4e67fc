"""`streamkl run` as a process of its own on a real broker: what it publishes, how it ends, and how it goes on."""

from __future__ import annotations

import signal
from collections import Counter

import pytest
from serving import Monitor, World, messages, place_of, until


@pytest.fixture
def make(broker, tmp_path):
    """Makes worlds, and ends what runs in them."""
    made: list[World] = []

    def world(**settings) -> World:
        made.append(World(broker, tmp_path, **settings))
        return made[-1]

    yield world
    for one in made:
        one.close()


def test_records_become_the_drift_events_and_dead_letters_that_a_reader_without_batches_finds(make):
    world = make(streams_max=21)
    world.produce(messages(1, 0, 6000, 2))
    running = world.run()
    world.wait_until_all_is_processed()
    assert running.end() == 0
    ids, dead = world.expected()
    assert world.ids() == ids
    assert world.dead() == dead
    kinds = Counter(event["kind"] for event in world.events())
    assert min(kinds["drift.raised"], kinds["drift.resolved"], kinds["reference.learned"]) > 3, kinds
    assert min(map(len, dead.values())) > 3
    assert world.tombstones() > 0                       # rows were forgotten, and so was what was stored of them
    assert world.offsets() == world.ends()              # at a graceful end all is saved
    assert world.broker.read(world.readings)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_unit_of_work_and_a_restart_goes_on_without_learning_anew(make, number):
    world = make(streams_max=21)
    world.produce(messages(2, 0, 2500, 2))
    slowly = {"source.poll_records_max": 50, "commit.every_records": 200}
    first = world.run(changes=slowly)
    first.wait_for("work.committed", 3)
    assert first.end(number) == 0
    assert first.said("signal.received")[0]["signal"] == number.name
    stopped_at = world.processed()
    assert 0 < sum(stopped_at.values()) < 2500          # in the middle, and all of that is committed
    assert world.offsets() == stopped_at
    world.produce(messages(2, 2500, 1500, 2))
    second = world.run()
    restored = second.wait_for("state.restored", 2)
    assert {one["partition"]: one["processed"] for one in restored} == {f"{world.input}[{n}]": offset for n, offset in stopped_at.items()}
    assert sum(one["streams"] for one in restored) > 10
    world.wait_until_all_is_processed()
    assert second.end(number) == 0
    assert (world.ids(), world.dead()) == world.expected()      # each once: nothing was learnt a second time
    interrupted = world.entries()
    assert uninterrupted(world) == interrupted


def uninterrupted(world: World) -> dict:
    """The final state of one run over the same log, into topics of its own."""
    world.take_new_outputs()
    running = world.run()
    world.wait_until_all_is_processed()
    assert running.end() == 0
    return world.entries()


def test_a_process_that_was_killed_does_not_keep_its_successor_waiting_for_its_session(make):
    world = make()
    changes = {"source.session_timeout_seconds": 120, "source.instance": "one"}
    world.produce(messages(4, 0, 300, 2))
    first = world.run(changes=changes)
    world.wait_until_all_is_processed()
    first.kill()
    second = world.run(changes=changes)
    second.wait_for("state.restored", 2, seconds=40)
    assert second.end() == 0


@pytest.mark.parametrize("dying", ["first", "second"])
def test_members_that_join_and_die_lose_nothing_and_tell_nothing_twice(make, dying):
    world = make(partitions=4)
    changes = {"source.session_timeout_seconds": 3, "source.poll_records_max": 100}
    world.produce(messages(3, 0, 2500, 4))
    first = world.run(changes={**changes, "source.instance": "a"})
    first.wait_for("work.committed", 2)
    second = world.run(changes={**changes, "source.instance": "b"})
    second.wait_for("state.restored")
    lost, *_ = first.wait_for("partitions.lost")
    world.produce(messages(3, 2500, 2500, 4))
    world.wait_until_all_is_processed()
    world.produce([one for one in messages(3, 5000, 500, 4) if f"{world.input}[{one[0]}]" not in lost["partitions"]])
    world.wait_until_all_is_processed()                 # the first has committed after the second, of its own alone
    world.produce(messages(3, 5500, 1500, 4))
    dead, survivor = (first, second) if dying == "first" else (second, first)
    dead.kill()
    world.produce(messages(3, 7000, 500, 4))
    world.wait_until_all_is_processed()
    assert survivor.end() == 0
    assert (world.ids(), world.dead()) == world.expected()
    held_by_both = {line["partition"] for line in first.said("state.restored")} & {line["partition"] for line in second.said("state.restored")}
    assert len(held_by_both) >= 2


def test_a_second_process_of_the_same_name_takes_the_place_of_the_first_which_ends(make):
    world = make()
    world.produce(messages(4, 0, 1500, 2))
    first = world.run()
    first.wait_for("work.committed", 2)
    second = world.run()
    second.wait_for("service.started")
    for begin in range(1500, 10_000, 500):
        world.produce(messages(4, begin, 500, 2))
        if first.process.poll() is not None:
            break
    assert first.code() == 3
    assert "another process took our place: it runs with the same application and instance" in first.text
    world.wait_until_all_is_processed()
    assert second.end() == 0
    assert (world.ids(), world.dead()) == world.expected()


def test_a_broker_that_dies_and_comes_back_costs_nothing(make):
    world, monitor = make(), Monitor()
    world.produce(messages(5, 0, 2000, 2))
    running = world.run(changes={"source.poll_records_max": 50, "commit.every_records": 200, "monitoring.port": monitor.port})
    running.wait_for("work.committed", 2)
    world.broker.kill()
    try:
        running.wait_for("outside.failed")
        assert monitor.ask("/ready")[0] == 503
        assert monitor.ask("/live")[0] == 200
    finally:
        world.broker.restore()
    world.produce(messages(5, 2000, 1000, 2))
    world.wait_until_all_is_processed()
    assert running.end() == 0
    assert (world.ids(), world.dead()) == world.expected()


def test_offsets_that_retention_took_are_refused_until_the_state_is_discarded(make):
    world = make()
    world.produce(messages(6, 0, 1500, 2))
    first = world.run()
    world.wait_until_all_is_processed()
    assert first.end() == 0
    read = world.offsets()
    world.produce(messages(6, 1500, 1500, 2))
    world.delete_before({number: offset + 10 for number, offset in read.items()})
    refused = world.run()
    assert refused.code() == 3
    assert "10 records were deleted by retention" in refused.text
    assert "--discard-state '*'" in refused.text
    assert world.offsets() == read
    told = world.ids()
    again = world.run("--discard-state", "*")
    world.wait_until_all_is_processed()
    assert again.end() == 0
    ids, _ = world.expected()
    assert {number: found[len(told[number]):] for number, found in world.ids().items()} == ids      # all is learnt anew from what is left
    assert sum(map(len, ids.values())) > 20
    entries = world.entries()
    assert uninterrupted(world) == entries              # nothing of what was discarded is left


@pytest.mark.parametrize("setting", ["state.topic", "drift_events.topic", "dead_letters.topic", "divergence.topic"])
def test_a_topic_of_ours_that_is_missing_is_told_with_the_command_that_makes_it(make, setting):
    world = make()
    running = world.run(changes={setting: "is-not-there"})
    assert running.code() == 2
    assert "topic is-not-there is not there" in running.text
    assert "--create --topic is-not-there" in running.text


def test_an_input_topic_that_is_missing_is_waited_for(make):
    world, monitor = make(), Monitor()
    world.input = f"{world.input}-later"
    running = world.run(changes={"monitoring.port": monitor.port})
    (told, *_) = running.wait_for("outside.failed")
    assert f"--create --topic {world.input}" in told["reason"]
    assert [monitor.ask(path)[0] for path in ("/ready", "/live")] == [503, 200]
    world.broker.topic(name=world.input, partitions=2)
    world.produce(messages(7, 0, 300, 2))
    world.wait_until_all_is_processed()
    assert running.end() == 0


def test_health_and_metrics_tell_how_it_goes(make):
    world, monitor = make(), Monitor()
    world.produce(messages(8, 0, 1500, 2))
    running = world.run(changes={"monitoring.port": monitor.port})
    until(lambda: monitor.ask("/ready")[0] == 200, "ready")
    assert monitor.ask("/live")[0] == 200
    world.wait_until_all_is_processed()
    until(lambda: 'streamkl_consumer_lag_records{partition="0",' in monitor.ask("/metrics")[1], "a lag")
    ids, dead = world.expected()
    assert monitor.metric("streamkl_records_total") == 1500
    assert monitor.metric("streamkl_consumer_lag_records") == 0
    assert monitor.metric("streamkl_drift_events_total") == sum(map(len, ids.values()))
    assert monitor.metric("streamkl_dead_letters_total") == sum(map(len, dead.values()))
    assert monitor.metric("streamkl_commits_total") == len(running.said("work.committed")) > 0
    assert monitor.metric("streamkl_partitions") == 2
    assert running.end() == 0


def test_a_bad_record_that_is_to_stop_the_service_stops_every_restart_at_the_same_place(make):
    world = make(partitions=1)
    world.produce([(0, b"m0", value, []) for _, _, value, _ in messages(9, 0, 800, 1) if value and value.startswith(b'{"k": "k')])
    bad = world.ends()[0]
    world.produce([(0, b"m0", b"{", [("trace", b"bad")]), *messages(9, 800, 100, 1)])
    for _ in range(2):
        running = world.run(changes={"dead_letters.on_bad_record": "stop"})
        assert running.code() == 2
        assert f"{world.input}[0], offset {bad}: a record that cannot be used" in running.text
        assert world.processed() == world.offsets() == {0: bad}
    assert world.dead() == {0: []}
    assert len(world.ids()[0]) > 3
    going_on = world.run()
    world.wait_until_all_is_processed()
    assert going_on.end() == 0
    assert (world.ids(), world.dead()) == world.expected()
    assert world.dead()[0][0] == bad


def test_dead_letters_hold_what_came_and_say_why_and_from_where(make):
    world = make(partitions=2)
    sent = [
        (0, b"k\x00ey", b"{", [("trace", b"\xff\x00"), ("trace", b"again")]), (1, b"m0", None, []), (0, b"\xff", b'{"k": "k1", "x": 1}', [("", b"")]),
        (1, b"m1", b'{"k": ""}', [("a", b"1")]), (1, b"fine", b'{"k": "k1", "x": 1}', []),
    ]
    world.produce(sent)
    running = world.run()
    world.wait_until_all_is_processed()
    assert running.end() == 0
    letters = {place_of(letter): letter for letter in world.broker.read(world.letters)}
    came = {(record.partition, record.offset): record for record in world.broker.read(world.input)}
    assert sorted(letters) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for place, letter in letters.items():
        told, record = dict(letter.headers), came[place]
        assert (letter.key, letter.value) == (record.key, record.value)
        assert list(letter.headers[:len(record.headers)]) == list(record.headers)
        assert (told["streamkl_topic"].decode(), told["streamkl_application"]) == (world.input, b"test")
        assert told["streamkl_timestamp"].decode() == str(record.timestamp)
    reasons = {place: dict(letter.headers)["streamkl_reason"] for place, letter in letters.items()}
    assert (reasons[0, 1], reasons[1, 1]) == (b"a key that is not UTF-8", b"no key")
    assert len(set(reasons.values())) == 4


def test_records_of_aborted_transactions_are_not_there(make):
    world = make(partitions=1)
    world.produce(messages(14, 0, 300, 1))
    world.produce(messages(14, 5000, 300, 1), is_aborted=True)
    world.produce(messages(14, 300, 300, 1))
    running = world.run()
    world.wait_until_all_is_processed()
    assert running.end() == 0
    assert (world.ids(), world.dead()) == world.expected()
    assert world.processed()[0] > 900
    assert len(world.ids()[0]) > 3


def test_a_state_topic_with_another_number_of_partitions_is_refused(make):
    world = make(partitions=2)
    world.state = world.broker.topic("state", 3, is_compacted=True)
    running = world.run()
    assert running.code() == 3
    assert f"state topic {world.state} has 3 partitions and {world.input} has 2" in running.text


def test_an_offset_that_was_set_by_hand_is_refused(make):
    world = make(partitions=1)
    world.produce(messages(10, 0, 300, 1))
    running = world.run()
    world.wait_until_all_is_processed()
    assert running.end() == 0
    world.set_offset({0: 100})
    refused = world.run()
    assert refused.code() == 3
    assert f"the committed offset of {world.input}[0] is 100, its state was stored with 300" in refused.text
