"""What a subscription does with each event, and with correctors that raise, hang, want to end the process, or return garbage."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time

import published
import pytest
import stamina.instrumentation
from subscribing import FOREIGN, PLACE, QUICK, Setting, event, events, newer

from streamkl import divergence
from streamkl.adapters.memory_subscription import MemoryFeed
from streamkl.errors import ConfigError, RecordError, Unavailable
from streamkl.service.alerts import Alerts
from streamkl.service.delivery import MOST_HANGING, Delivery, Retry, refusal, said
from streamkl.service.event_filter import event_filter, magnitude
from streamkl.service.incoming import key_of, of_message
from streamkl.service.record import Partition, PlainRecord

SECONDS = 20.0
SOON_SECONDS = 3.0          # "within about a second", on a machine that does other things too


def reason(setting, number=0):
    return setting.store.letters[number].reason


def failing(times, error):
    """A corrector that raises so many times, and then takes; what it was called with."""
    calls = []

    def correct(one):
        calls.append(one.id)
        if len(calls) <= times:
            raise error

    return correct, calls


# ---------------------------------------------------------------- outcomes


def test_every_event_is_delivered_once_and_in_order():
    written, seen = events(3, 5), []
    setting = Setting(written)
    subscription = setting.subscription(seen.append)
    assert subscription.run_once(0.0) == 15
    assert seen == written
    assert subscription.run_once(0.0) == 0
    assert (setting.count("delivered"), setting.place.positions) == (15, {PLACE: 15})
    assert setting.meter.value("streamkl_delivery_seconds_count", subscription="group") == 15
    subscription.close()


def test_the_same_event_ten_times_is_delivered_once():
    seen = []
    setting = Setting([event("a", 0)] * 10 + [event("a", 1)])
    assert setting.subscription(seen.append).run_once(0.0) == 2
    assert setting.subscription(seen.append).run_once(0.0) == 0
    assert [one.id for one in seen] == ["a 0", "a 1"]
    assert setting.count("repeated") == 9


def test_an_attempt_that_fails_is_made_again():
    correct, calls = failing(2, Unavailable("the receiver is away"))
    setting = Setting(events(1, 2))
    assert setting.subscription(correct).run_once(0.0) == 2
    assert calls == ["s0 0", "s0 0", "s0 0", "s0 1"]
    assert (setting.count("retried"), setting.count("delivered"), setting.count("dead_lettered")) == (2, 2, 0)


def test_an_event_that_never_succeeds_is_a_dead_letter_and_the_next_one_comes(caplog):
    correct, calls = failing(3, ValueError("no use"))
    setting = Setting(events(1, 2))
    assert setting.subscription(correct).run_once(0.0) == 2
    assert calls == ["s0 0"] * 3 + ["s0 1"]
    (letter,) = setting.store.letters
    assert (letter.incoming.event, letter.reason, letter.attempts, letter.at) == (event("s0", 0), "ValueError: no use", 3, 1_700_000_000_000)
    assert (setting.count("dead_lettered"), setting.count("retried"), setting.place.positions) == (1, 2, {PLACE: 2})
    (line,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert "event.dead_lettered" in line
    assert "test_subscription.py:" in line
    assert setting.subscription(correct).run_once(0.0) == 0


def test_a_record_error_is_never_tried_again():
    correct, calls = failing(1, RecordError("the receiver answers 422"))
    setting = Setting(events(1, 2))
    assert setting.subscription(correct).run_once(0.0) == 2
    assert calls == ["s0 0", "s0 1"]
    assert reason(setting) == "the receiver answers 422"


def test_retries_end_with_their_seconds():
    setting, calls = Setting(events(1, 1)), []

    def correct(one):
        calls.append(one)
        time.sleep(0.15)
        raise ValueError("no")

    retry = Retry(attempts=1000, seconds=0.3, first_wait_seconds=0.0, longest_wait_seconds=0.0, jitter_seconds=0.0)
    assert setting.subscription(correct, retry).run_once(0.0) == 1
    assert 2 <= len(calls) <= 3
    assert setting.store.letters[0].attempts == len(calls)


def test_an_event_of_a_newer_version_is_a_dead_letter_and_a_foreign_message_is_none():
    seen = []
    setting = Setting([event("a", 0)])
    setting.place.append(PLACE, json.dumps(newer(event("a", 1))).encode())
    setting.place.append(PLACE, FOREIGN)
    setting.place.append(PLACE, event("a", 2).to_json().encode())
    assert setting.subscription(seen.append).run_once(0.0) == 2
    assert [one.index for one in seen] == [0, 2]
    assert "episode" in reason(setting)
    assert (setting.count("foreign"), setting.count("dead_lettered")) == (1, 1)


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_the_version_of_a_message_is_that_of_its_type(mode):
    key, value, headers = Alerts("checkout", mode).drift_event(event("a", 1))
    later = [(name, content.replace(b".v1", b".v2")) for name, content in headers], value.replace(b"raised.v1", b"raised.v2")
    understood = of_message(PlainRecord("drift", 0, 5, None, key, later[1], later[0]), 6)
    assert understood.event is None
    assert understood.fault.startswith("the event is of version 2")
    assert of_message(PlainRecord("drift", 0, 5, None, key, value, headers), 6).event == event("a", 1)


def test_a_message_that_claims_to_be_an_event_and_cannot_be_read_has_a_fault_and_a_reading_is_foreign():
    key, value, headers = Alerts("checkout").drift_event(event("a", 1))
    assert "no JSON" in of_message(PlainRecord("drift", 0, 5, None, key, value[:-5], headers), 6).fault
    assert of_message(PlainRecord("drift", 0, 5, None, key, None, headers), 6).fault
    reading = of_message(PlainRecord("drift", 0, 5, None, *Alerts("checkout").reading(published.reading())), 6)
    assert (reading.event, reading.fault) == (None, None)


# ---------------------------------------------------------------- correctors that misbehave


def test_a_corrector_that_hangs_is_left_alone_and_not_called_again_for_that_event():
    setting, calls, end = Setting(events(1, 3)), [], threading.Event()

    def correct(one):
        calls.append(one.index)
        if one.index == 0:
            end.wait(SECONDS)

    assert setting.subscription(correct, timeout_seconds=0.3).run_once(0.0) == 3
    assert calls == [0, 1, 2]
    assert "did not return within 0.3 s" in reason(setting)
    assert setting.feed.kept >= 1
    end.set()


def test_too_many_calls_that_hang_stop_deliveries_until_one_ends():
    setting, end = Setting(events(1, MOST_HANGING + 2), most=1), threading.Event()
    subscription = setting.subscription(lambda one: end.wait(SECONDS) and None, timeout_seconds=0.01)
    with pytest.raises(Unavailable, match="8 calls of the corrector hang"):
        subscription.run_once(0.0)
    assert len(setting.store.letters) == MOST_HANGING
    end.set()
    deadline = time.monotonic() + SECONDS
    done = 0
    while done < 2:
        assert time.monotonic() < deadline
        try:
            done += subscription.run_once(0.0)
        except Unavailable:
            time.sleep(0.01)
    subscription.close()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=lambda error: type(error).__name__)
def test_a_corrector_that_wants_to_end_the_process_has_failed_like_others(error):
    correct, calls = failing(4, error)
    setting = Setting(events(1, 2))
    assert setting.subscription(correct).run_once(0.0) == 2
    assert calls == ["s0 0"] * 3 + ["s0 1"] * 2
    assert reason(setting).startswith(type(error).__name__)


def test_an_error_that_cannot_be_told_is_told_by_its_type():
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    correct, _ = failing(3, Mute())
    setting = Setting(events(1, 1))
    assert setting.subscription(correct).run_once(0.0) == 1
    assert reason(setting) == "Mute: (its text cannot be made)"
    assert len(said(ValueError("x" * 10_000))) == 500


def test_what_a_corrector_returns_is_ignored_and_told_once(caplog):
    setting = Setting(events(1, 5))
    assert setting.subscription(lambda one: {"garbage": object()}).run_once(0.0) == 5
    assert [record.message.split()[0] for record in caplog.records] == ["event='corrector.returned_something'"]


def test_a_corrector_that_returns_something_to_be_awaited_has_done_nothing():
    async def nothing() -> None:
        """Never runs."""

    setting = Setting(events(1, 1))
    assert setting.subscription(lambda one: nothing()).run_once(0.0) == 1
    assert "to be awaited" in reason(setting)


async def _coroutine(one):
    """Does nothing when called."""


def _generator(one):
    yield one


@pytest.mark.parametrize(
    ("corrector", "why"),
    [(_coroutine, "coroutine"), (_generator, "generator"), (None, "cannot be called"), (lambda: None, "one drift event"), (print, ""), (max, "")],
)
def test_what_can_be_no_corrector_is_refused(corrector, why):
    assert why in refusal(corrector)
    assert bool(why) == bool(refusal(corrector))


def test_the_feed_is_kept_while_a_corrector_is_at_work():
    setting = Setting(events(1, 1))
    assert setting.subscription(lambda one: time.sleep(0.7)).run_once(0.0) == 1
    assert setting.feed.kept >= 2


# ---------------------------------------------------------------- stopping, losing, faults


def test_a_stop_interrupts_the_pause_before_the_next_attempt_and_the_event_comes_again():
    setting, called = Setting(events(1, 2)), threading.Event()

    def correct(one):
        called.set()
        raise ValueError("no")

    subscription = setting.subscription(correct, Retry(attempts=9, seconds=300.0, first_wait_seconds=60.0, longest_wait_seconds=60.0))
    thread = threading.Thread(target=subscription.run)
    thread.start()
    assert called.wait(SECONDS)
    began_at = time.monotonic()
    subscription.stop()
    thread.join(SECONDS)
    assert time.monotonic() - began_at < SOON_SECONDS
    subscription.close()
    assert (setting.store.letters, setting.place.positions) == ([], {})
    seen = []
    assert setting.subscription(seen.append).run_once(0.0) == 2
    assert seen == events(1, 2)


def test_a_stop_lets_the_corrector_finish_and_records_it():
    setting, called, seen = Setting(events(1, 3)), threading.Event(), []

    def correct(one):
        called.set()
        time.sleep(0.5)
        seen.append(one.index)

    subscription = setting.subscription(correct)
    thread = threading.Thread(target=subscription.run)
    thread.start()
    assert called.wait(SECONDS)
    subscription.stop()
    thread.join(SECONDS)
    subscription.close()
    assert seen == [0]
    assert (list(setting.store.keys), setting.place.positions) == (["s0 0"], {PLACE: 1})


def test_a_store_that_is_full_does_not_have_an_event_delivered_twice():
    setting, seen = Setting(events(1, 3)), []
    subscription = setting.subscription(seen.append)
    setting.store.faults = 2
    for _ in range(2):
        with pytest.raises(Unavailable):
            subscription.run_once(0.0)
    assert subscription.run_once(0.0) == 3
    assert seen == events(1, 3)


def test_dead_letters_that_cannot_be_written_are_tried_again_without_delivering_again():
    correct, calls = failing(3, ValueError("no"))
    setting = Setting(events(1, 2))
    subscription = setting.subscription(correct)
    setting.store.faults = 2
    for _ in range(2):
        with pytest.raises(Unavailable):
            subscription.run_once(0.0)
    assert subscription.run_once(0.0) == 2
    assert calls == ["s0 0"] * 3 + ["s0 1"]
    assert len(setting.store.letters) == 1


def test_run_waits_for_what_is_away_and_goes_on():
    setting, seen = Setting(events(1, 3)), []

    def correct(one):
        seen.append(one.index)
        if one.index == 2:
            subscription.stop()

    subscription = setting.subscription(correct)
    setting.store.faults = 1
    subscription.run()
    subscription.close()
    assert seen == [0, 1, 2]
    assert setting.meter.value("streamkl_unavailable_total", what="subscription") == 1


def test_a_partition_that_is_lost_while_an_event_is_delivered_loses_and_repeats_nothing():
    setting, seen = Setting(events(1, 3)), []

    def correct(one):
        if not seen:
            setting.feed.lose(PLACE)
            time.sleep(0.5)
        seen.append(one.index)

    subscription = setting.subscription(correct)
    while subscription.run_once(0.0):
        pass
    assert seen == [0, 1, 2]
    assert setting.place.positions == {PLACE: 3}


def test_what_was_brought_of_a_lost_partition_is_left_to_its_new_owner():
    setting, seen = Setting(events(1, 3)), []

    def correct(one):
        setting.feed.lose(PLACE, is_regained=False)
        time.sleep(0.5)
        seen.append(one.index)

    assert setting.subscription(correct).run_once(0.0) == 1
    assert seen == [0]
    assert (list(setting.store.keys), setting.place.positions) == (["s0 0"], {})


def test_an_event_of_a_lost_partition_is_not_tried_again_by_us():
    setting, calls = Setting(events(1, 1)), []
    retry = Retry(attempts=5, seconds=300.0, first_wait_seconds=60.0, longest_wait_seconds=60.0)

    def correct(one):
        calls.append(one.index)
        if len(calls) == 1:
            setting.feed.lose(PLACE)
            raise ValueError("no")

    subscription = setting.subscription(correct, retry)
    while not subscription.run_once(0.0):
        assert len(calls) < 5
    assert calls == [0, 0]
    assert setting.store.letters == []


def test_a_closed_subscription_and_one_without_a_corrector_say_so():
    setting = Setting(events(1, 1))
    subscription = setting.subscription()
    with pytest.raises(ConfigError, match=r"use poll\(\) and ack\(\)"):
        subscription.run_once()
    subscription.close()
    subscription.close()
    with pytest.raises(ConfigError, match="is closed"):
        subscription.poll()


def test_what_is_acknowledged_twice_or_was_never_polled_is_fine():
    setting = Setting(events(1, 2))
    subscription = setting.subscription()
    first, _ = subscription.poll(0.0)
    subscription.ack(first)
    subscription.ack(first)
    subscription.ack(event("elsewhere", 0))
    subscription.close()
    assert (setting.place.positions, setting.count("delivered")) == ({PLACE: 1}, 2)


def test_retries_of_others_are_still_told_by_stamina_and_ours_are_not():
    told, before = [], stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([told.append])
    try:
        correct, _ = failing(2, ValueError("no"))
        Setting(events(1, 1)).subscription(correct).run_once(0.0)
        assert told == []
        tries = iter([ValueError("once"), None])

        def theirs() -> None:
            if error := next(tries):
                raise error

        stamina.retry(on=ValueError, wait_initial=0.0, wait_jitter=0.0)(theirs)()
        assert len(told) == 1
    finally:
        stamina.instrumentation.set_on_retry_hooks(before)


def test_a_delivery_has_no_thread_left_after_its_end():
    delivery = Delivery(lambda one: None, QUICK, 10.0)
    delivery.begin(event("a", 0))
    assert delivery.news(SECONDS).kind == "delivered"
    thread = delivery._thread
    delivery.close()
    thread.join(SECONDS)
    assert not thread.is_alive()


# ---------------------------------------------------------------- what is asked for


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"streams": "payments/*"}, [0, 1]),
        ({"streams": ["payments/EU", "login"]}, [0, 2, 3]),
        ({"streams": "PAYMENTS/*"}, []),
        ({"kinds": ["drift.resolved"]}, [3]),
        ({"kinds": "drift.raised", "min_divergence": 0.2}, [1, 2]),
        ({"min_divergence": {"kl": 0.2, "js": 0.1}}, [3]),
        ({"min_divergence": 0.2}, [1, 2, 3]),
        ({"is_silenced_too": True}, [0, 1, 2, 3, 4]),
    ],
)
def test_events_are_filtered_by_stream_kind_and_divergence(settings, expected):
    written = [
        event("payments/EU", 0, kl=0.1), event("payments/US", 1, kl=0.2), event("login", 2, kl=0.9), event("login", 3, kl=0.0, kind="drift.resolved"),
        event("login", 4, silenced=True),
    ]  # fmt: skip
    setting, seen = Setting(written), []
    setting.subscription(seen.append, wanted=event_filter(**settings)).run_once(0.0)
    assert [one.index for one in seen] == expected
    assert setting.count("filtered") == 5 - len(expected)
    assert setting.place.positions == {PLACE: 5}


def test_the_divergence_of_an_alarm_is_that_of_the_window_that_raised_it_where_it_is_larger():
    raised = [one for one in published.events() if one.kind == "drift.raised" and one.farthest]
    assert any(one.divergence["kl"].value < 0.05 for one in raised)         # the reporting window is mostly old
    for one in raised:
        window = divergence.kl(one.farthest.window_counts, one.farthest.reference_counts, smoothing=0.5)
        assert magnitude(one, "kl") == pytest.approx(max(one.divergence["kl"].value, window))
        assert event_filter(min_divergence=0.1).takes(one)
    assert not any(event_filter(min_divergence=0.1).takes(one) for one in published.events() if one.kind == "reference.learned")
    raised = next(one for one in published.events() if one.kind == "drift.raised")
    for kind, is_taken in (("stream.silenced", True), ("stream.forgotten", True), ("stream.unsilenced", False)):
        assert event_filter(min_divergence=0.1).takes(dataclasses.replace(raised, kind=kind, divergence={}, criterion=())) is is_taken


@pytest.mark.parametrize(
    "settings",
    [{"streams": []}, {"streams": ""}, {"kinds": ["drift.risen"]}, {"kinds": []}, {"min_divergence": -1}, {"min_divergence": float("nan")},
     {"min_divergence": {"jensen": 1}}, {"min_divergence": True}],
)  # fmt: skip
def test_a_filter_that_can_never_hold_is_refused(settings):
    with pytest.raises(ConfigError):
        event_filter(**settings)


def test_two_runs_of_an_embedded_detector_have_events_of_one_id_and_both_are_delivered():
    one = dataclasses.replace(published.events()[0], source={"file": "monday.csv", "line": 100})
    other = dataclasses.replace(one, source={"file": "tuesday.csv", "line": 100})
    assert one.id == other.id
    assert key_of(one) != key_of(other)
    seen = []
    assert Setting([one, other, one]).subscription(seen.append).run_once(0.0) == 2
    assert seen == [one, other]


def test_partitions_of_a_feed_do_not_hold_each_other_up_in_the_store():
    setting, seen = Setting(), []
    for number in range(6):
        setting.place.append(Partition("drift", number % 2), event(f"p{number % 2}", number).to_json().encode())
    subscription = setting.subscription()
    polled = subscription.poll(0.0)
    for one in polled:
        if one.stream == "p1":
            subscription.ack(one)
    subscription.close()
    assert setting.place.positions == {Partition("drift", 1): 3}
    assert isinstance(setting.feed, MemoryFeed)
    setting.subscription(seen.append).run_once(0.0)
    assert [one.stream for one in seen] == ["p0"] * 3
