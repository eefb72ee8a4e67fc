"""The alertmanager corrector: against a real Alertmanager, what fires, what ends, and how many notifications a fault in many streams is."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from alertmanager_server import GROUP_WAIT_SECONDS, AlertmanagerServer
from receiver import AT_MS, RAISED, Receiver, event, status

from streamkl.adapters.alertmanager import LATE_SECONDS, PATH, Alertmanager
from streamkl.adapters.http_sender import HttpSender
from streamkl.errors import ConfigError, RecordError, Unavailable

STREAMS = 500
LABELS = {"alertname": "StreamDrift", "application": "payments", "group": "payments", "severity": "warning", "stream": "payments/EU/amount"}
ENDS = ["drift.resolved", "reference.rebaselined", "stream.silenced", "stream.forgotten"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = AlertmanagerServer(tmp_path_factory.mktemp("alertmanager"))
    yield made
    made.close()


def now_ms():
    return round(time.time() * 1000)


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def posted(*events, **settings):
    """The alerts that an Alertmanager is sent."""
    with Receiver() as receiver:
        corrector = Alertmanager(receiver.url, application="payments", **settings)
        for one in events:
            corrector(one)
        assert {request.target for request in receiver.requests} <= {PATH}
        return [json.loads(request.body)[0] for request in receiver.requests]


# ---------------------------------------------------------------- against a real one


@pytest.mark.parametrize("age_seconds", [0, 3600], ids=["at once", "an hour late"])
def test_a_fault_in_500_streams_is_one_notification_and_its_end_is_told(server, age_seconds):
    group, began = f"fault-{age_seconds}", now_ms() - age_seconds * 1000
    corrector = Alertmanager(server.url, application="payments")
    events = [event(stream=f"{group}/{number}", group=group, at=began + number, id=f"{number}") for number in range(STREAMS)]
    corrector(event(stream="other", group=f"other-{age_seconds}", at=now_ms()))
    for one in events:
        corrector(one)
    assert now_ms() - began - age_seconds * 1000 < GROUP_WAIT_SECONDS * 1000, "this machine is too slow to tell"
    server.until(lambda: bool(server.notifications(group)), "the group was notified")
    server.until(lambda: bool(server.notifications(f"other-{age_seconds}")), "the other group was notified")
    time.sleep(5)                                    # two intervals, in which a second notification would come
    (told,) = server.notifications(group)
    assert told["status"] == "firing"
    assert told["groupLabels"] == {"alertname": "StreamDrift", "application": "payments", "group": group}
    assert sorted(alert["labels"]["stream"] for alert in told["alerts"]) == sorted(one.stream for one in events)
    assert len(server.notifications(f"other-{age_seconds}")) == 1

    for one in events:
        corrector(event("drift.resolved", stream=one.stream, group=group, at=now_ms()))
    server.until(lambda: not [alert for alert in server.alerts() if alert["labels"]["group"] == group], "no alert is left")
    server.until(lambda: server.notifications(group)[-1]["status"] == "resolved", "the end was notified")


def test_an_alert_fires_from_the_event_until_its_end_and_has_one_life(server):
    corrector = Alertmanager(server.url, application="payments", labels={"team": "risk"})
    began = now_ms() - 3000
    told = event(at=began, group="life")
    for _ in range(10):
        corrector(told)
    (alert,) = [alert for alert in server.alerts() if alert["labels"]["group"] == "life"]
    assert alert["labels"] == {**LABELS, "group": "life", "team": "risk"}
    assert moment(alert["startsAt"]) == datetime.fromtimestamp(began / 1000, UTC)
    assert timedelta(days=29) < moment(alert["endsAt"]) - datetime.now(UTC) < timedelta(days=31)
    time.sleep(2.5)                                  # more than Alertmanager's own resolve_timeout, of one second here
    assert [alert for alert in server.alerts() if alert["labels"]["group"] == "life"]
    ended = now_ms() - 200
    corrector(event("reference.rebaselined", at=ended, group="life"))
    server.until(lambda: not [alert for alert in server.alerts() if alert["labels"]["group"] == "life"], "the alert ended")


def test_the_alert_tells_how_far_and_why(server):
    Alertmanager(server.url, application="payments")(event(at=now_ms(), group="told", reason="new prices", by="ann"))
    (alert,) = [alert for alert in server.alerts() if alert["labels"]["group"] == "told"]
    told = alert["annotations"]
    assert (told["kl_nats"], told["limit_nats"], told["window"], told["episode"]) == ("0.377", "0.361", "150", "3")
    assert (told["reason"], told["by"], told["event_id"], told["guarantee"]) == ("new prices", "ann", RAISED.id, "exact")
    assert told["changed"] == "(15, inf): 0.0083 -> 0.16"
    assert told["summary"] == "Drift in payments/EU/amount"


@pytest.mark.parametrize("stream", ["a\ud800b", "a\nb", '"{}', "\u202ex", "x" * 5000, "日本"])
def test_every_name_of_a_stream_can_be_raised_and_ended(server, stream):
    corrector = Alertmanager(server.url, application="payments")
    corrector(event(stream=stream, group="names", at=now_ms()))
    assert len([alert for alert in server.alerts() if alert["labels"]["group"] == "names"]) == 1
    corrector(event("drift.resolved", stream=stream, group="names", at=now_ms()))
    server.until(lambda: not [alert for alert in server.alerts() if alert["labels"]["group"] == "names"], "the alert ended")


def test_what_alertmanager_refuses_is_never_sent_again(server):
    with pytest.raises(RecordError, match=r"answers 400: .*parsing alerts body"):
        HttpSender(server.url).post(b"{", {}, PATH)
    with pytest.raises(RecordError, match="answers 404"):
        Alertmanager(f"{server.url}/elsewhere")(RAISED)


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize("kind", ENDS)
def test_the_labels_at_the_end_are_those_at_the_beginning(kind):
    settings = {"severity": "page", "labels": {"team": "risk"}, "alertname": "Drift"}
    begun, ended = posted(RAISED, event(kind, reason="new", by="ann", criterion=(), changed=(), id="other", episode=3, at=AT_MS + 9), **settings)
    assert begun["labels"] == ended["labels"] == {**LABELS, "severity": "page", "alertname": "Drift", "team": "risk"}


def test_the_times_are_those_of_the_events():
    begun, ended = posted(RAISED, event("drift.resolved", at=AT_MS + 2000), clock=lambda: AT_MS / 1000 + 5)
    assert begun["startsAt"] == "2025-10-09T08:53:20.000Z"
    assert begun["endsAt"] == "2025-11-08T08:53:25.000Z"            # thirty days from now
    assert ended["endsAt"] == "2025-10-09T08:53:22.000Z"
    assert "startsAt" not in ended


@pytest.mark.parametrize(("at", "start"), [
    (None, "2025-10-09T08:53:20.000Z"), (AT_MS + 60_000, "2025-10-09T08:53:20.000Z"), (10**18, "2025-10-09T08:53:20.000Z"),
    (AT_MS - round(LATE_SECONDS * 1000), "2025-10-09T08:53:00.000Z"), (AT_MS - round(LATE_SECONDS * 1000) - 1, "2025-10-09T08:53:20.000Z"),
])  # fmt: skip
def test_an_event_without_a_time_or_of_a_time_that_does_not_help_begins_now(at, start):
    (alert,) = posted(event(at=at), clock=lambda: AT_MS / 1000)
    assert alert["startsAt"] == start


def test_an_end_is_never_later_than_now():
    (ended,) = posted(event("drift.resolved", at=AT_MS + 60_000), clock=lambda: AT_MS / 1000)
    assert ended["endsAt"] == "2025-10-09T08:53:20.000Z"


def test_other_kinds_and_silenced_alarms_are_left_alone_but_ends_always_come():
    assert posted(event("reference.learned"), event("stream.unsilenced", evidence=0.0), event(silenced=True)) == []
    assert len(posted(event("drift.resolved", silenced=True), event("stream.silenced", silenced=True))) == 2
    assert len(posted(event(silenced=True), is_silenced_too=True)) == 1


def test_an_episode_that_outlasts_a_silence_is_an_alert_again():
    spoken = event("stream.unsilenced", evidence=1e6, budget=1e6, reason="its time was up; episode 1 is open", at=AT_MS)
    silent = event("stream.unsilenced", evidence=0.0, budget=1e6, reason="its time was up", id="other")
    raised, ended, again = posted(RAISED, event("stream.silenced"), spoken, silent, clock=lambda: AT_MS / 1000)
    assert raised["labels"] == ended["labels"] == again["labels"]
    assert ended.keys() & {"startsAt"} == set()
    assert again["startsAt"] == "2025-10-09T08:53:20.000Z"
    assert again["annotations"]["reason"] == "its time was up; episode 1 is open"


def test_what_is_empty_is_no_label():
    (alert,) = posted(event(group=""))
    assert "group" not in alert["labels"]


def test_one_alertmanager_of_a_cluster_that_takes_it_is_enough():
    with Receiver() as one, Receiver(status(500)) as two:
        Alertmanager([two.url, one.url], application="payments")(RAISED)
        Alertmanager([one.url, two.url], application="payments")(RAISED)
        assert (len(one.requests), len(two.requests)) == (2, 2)
    with Receiver(status(500)) as one, Receiver(status(503, Retry_After="7")) as two, pytest.raises(Unavailable) as caught:
        Alertmanager([one.url, two.url])(RAISED)
    assert caught.value.retry_after_seconds == 7


def test_the_path_of_the_api_is_below_a_prefix():
    with Receiver() as receiver:
        Alertmanager(f"{receiver.url}/alerts/", authorization="Bearer hunter2")(RAISED)
        (request,) = receiver.requests
    assert request.target == "/alerts/api/v2/alerts"
    assert request.headers["authorization"] == "Bearer hunter2"


@pytest.mark.parametrize("settings", [
    {"labels": {"stream": "x"}}, {"labels": {"a-b": "x"}}, {"labels": {"a": 1}}, {"ends_after_hours": 0}, {"ends_after_hours": 1e9}, {"urls": []},
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError):
        Alertmanager(**({"urls": "http://127.0.0.1:9093"} | settings))
