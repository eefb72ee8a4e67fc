"""The webhook corrector: what real receivers get, and what the official library of Standard Webhooks says of it."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import time
from datetime import UTC, datetime

import jsonschema
import pytest
import schemas
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st
from receiver import AT_MS, RAISED, Receiver, event, status

from streamkl.adapters.webhook import Webhook, body_of, verify
from streamkl.errors import ConfigError, RecordError, Unavailable
from streamkl.service.secret import Secret
from streamkl.service.webhook_signature import key_of, signature

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([seed]) * 32).decode()}" for seed in (1, 2, 3))
NOW = 1_760_000_100


def official(secret):
    return standardwebhooks.Webhook(secret)


def sent(*secrets, told=RAISED, **settings):
    """The request that a receiver gets."""
    with Receiver() as receiver:
        Webhook(receiver.url + "/hook", list(secrets), **settings)(told)
        (request,) = receiver.requests
    return request


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize("secret", [OLD, OLD.rstrip("="), f"whsec_{base64.b64encode(b'+/?' * 8).decode()}"])
def test_the_official_library_verifies_what_is_sent(secret):
    request = sent(secret)
    told = official(secret).verify(request.body, request.headers)
    assert told == {"type": "drift.raised", "timestamp": "2025-10-09T08:53:20.000Z", "data": RAISED.to_dict()}
    assert datetime.fromtimestamp(AT_MS / 1000, UTC).isoformat() == "2025-10-09T08:53:20+00:00"


def test_the_data_is_that_of_the_published_schema():
    schema = json.loads((schemas.FOLDER / "drift-event.v1.json").read_text())
    jsonschema.validate(json.loads(sent(OLD).body)["data"], schema)


@pytest.mark.parametrize("change", ["id", "timestamp", "body", "secret"])
def test_the_official_library_refuses_what_was_changed(change):
    request = sent(OLD)
    headers, body, secret = dict(request.headers), request.body, OLD
    if change == "id":
        headers["webhook-id"] += "x"
    elif change == "timestamp":
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) - 1)
    elif change == "body":
        body = body.replace(b"payments", b"PAYMENTS")
    else:
        secret = OTHER
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        official(secret).verify(body, headers)


def test_each_secret_signs_so_that_one_can_take_the_place_of_another():
    request = sent(NEW, OLD)
    signatures = request.headers["webhook-signature"].split(" ")
    assert len(signatures) == 2
    assert all(one.startswith("v1,") for one in signatures)
    for secret in (OLD, NEW):
        official(secret).verify(request.body, request.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        official(OTHER).verify(request.body, request.headers)


def test_the_same_event_ten_times_has_the_same_id_and_body_and_a_signature_of_its_time():
    times = iter(range(NOW, NOW + 10))
    with Receiver() as receiver:
        hook = Webhook(receiver.url, [OLD], clock=lambda: next(times))
        for _ in range(10):
            hook(event())
        requests = receiver.requests
    assert {request.headers["webhook-id"] for request in requests} == {RAISED.id}
    assert {request.headers["idempotency-key"] for request in requests} == {RAISED.id}
    assert {request.body for request in requests} == {body_of(RAISED)}
    assert len({request.headers["webhook-signature"] for request in requests}) == 10


def test_an_event_of_no_time_or_of_impossible_numbers_can_be_sent():
    request = sent(OLD, told=event(at=None, evidence=float("inf"), stream="a\ud800\n<b>"))
    told = official(OLD).verify(request.body, request.headers)
    assert "timestamp" not in told
    assert told["data"]["evidence"] is None
    assert told["data"]["stream"] == "a\ud800\n<b>"


@pytest.mark.parametrize("id", ["a.b", "a b", "a\r\nX-Evil: 1", "ä", "x" * 300])
def test_an_id_that_cannot_be_signed_safely_is_refused(id):
    with Receiver() as receiver:
        with pytest.raises(RecordError, match="cannot be that of a webhook"):
            Webhook(receiver.url, [OLD])(event(id=id))
        assert receiver.requests == []


def test_an_authorization_is_sent_and_what_the_receiver_says_is_told():
    assert sent(OLD, authorization="Bearer hunter2").headers["authorization"] == "Bearer hunter2"
    for code, kind in ((500, Unavailable), (410, RecordError)):
        with Receiver(status(code)) as receiver, pytest.raises(kind):
            Webhook(receiver.url, [OLD])(RAISED)


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize("secrets", [[], OLD, [""], ["hunter2"], ["whsec_"], ["whsec_!!!"], [OLD.removeprefix("whsec_")], ["whsec_aHVudGVyMg=="],
                                     [f"whsec_{base64.b64encode(bytes(65)).decode()}"]])  # fmt: skip
def test_a_secret_that_is_none_is_refused_without_being_shown(secrets):
    with pytest.raises(ConfigError) as caught:
        Webhook("http://127.0.0.1:1/", secrets)
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_secret_shows_in_a_repr_an_error_or_a_log(caplog):
    caplog.set_level(logging.DEBUG)
    hidden = Secret(OLD, "the environment variable HOOK").reveal()
    with Receiver(status(400, b"bad"), status(500)) as receiver:
        hook = Webhook(f"{receiver.url}/hook?token=xyz", [hidden], authorization="Bearer hunter2")
        texts = [repr(hook), str(hook)]
        for _ in range(2):
            with pytest.raises((RecordError, Unavailable)) as caught:
                hook(RAISED)
            texts.append(str(caught.value))
    for text in (*texts, caplog.text):
        assert "hunter2" not in text
        assert "xyz" not in text
        assert OLD.removeprefix("whsec_") not in text


def test_a_hidden_secret_signs_as_a_plain_one_does():
    hidden = Secret(OLD, "x").reveal()
    assert key_of(hidden) == key_of(OLD) == bytes([1]) * 32
    with pytest.raises(TypeError):
        pickle.dumps(hidden)


# ---------------------------------------------------------------- verify, for receivers


def signed(body=b'{"a": 1}', secret=OLD, id="evt", at=NOW):
    return {"Webhook-Id": id, "Webhook-Timestamp": str(at), "Webhook-Signature": signature(key_of(secret), id, at, body)}


@given(st.binary(max_size=200), st.text("abcXYZ019_-", min_size=1, max_size=40))
def test_our_signature_is_that_of_the_official_library(body, id):
    text = body.decode("latin-1")
    theirs = official(OLD).sign(id, datetime.fromtimestamp(NOW, UTC), text)
    assert signature(key_of(OLD), id, NOW, text.encode()) == theirs


def test_what_the_official_library_signs_is_verified():
    at = datetime.now(UTC)
    headers = {"webhook-id": "m_1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": official(OLD).sign("m_1", at, "{}")}
    assert verify(b"{}", headers, [OLD]) == "m_1"
    assert verify(b"{}", headers, [OTHER, OLD]) == "m_1"


def test_one_fitting_signature_among_others_is_enough():
    headers = signed()
    headers["Webhook-Signature"] = f"v1a,xyz v1,AAAA {signature(key_of(OTHER), 'evt', NOW, b'{}')} {headers['Webhook-Signature']} \u00e4"
    assert verify(b'{"a": 1}', headers, [OLD], now=NOW) == "evt"


@pytest.mark.parametrize(("seconds", "is_fine"), [(0, True), (299, True), (300, True), (301, False), (-300, True), (-301, False), (10**9, False)])
def test_a_message_is_good_for_five_minutes_either_way(seconds, is_fine):
    if is_fine:
        assert verify(b'{"a": 1}', signed(), [OLD], now=NOW + seconds) == "evt"
    else:
        with pytest.raises(RecordError, match="are accepted; correct the clocks"):
            verify(b'{"a": 1}', signed(), [OLD], now=NOW + seconds)


def test_the_tolerance_can_be_chosen_and_the_clock_is_now():
    with pytest.raises(RecordError):
        verify(b'{"a": 1}', signed(), [OLD], now=NOW + 11, tolerance_seconds=10)
    assert verify(b'{"a": 1}', signed(at=int(time.time())), [OLD]) == "evt"
    with pytest.raises(RecordError):
        verify(b'{"a": 1}', signed(at=int(time.time()) - 400), [OLD])


@pytest.mark.parametrize("changes", [
    {"Webhook-Id": ""}, {"Webhook-Id": "evt2"}, {"Webhook-Id": "a.b"}, {"Webhook-Timestamp": ""}, {"Webhook-Timestamp": "1e9"},
    {"Webhook-Timestamp": f"{NOW}.0"}, {"Webhook-Timestamp": f" {NOW}"}, {"Webhook-Timestamp": str(NOW - 1)}, {"Webhook-Signature": ""},
    {"Webhook-Signature": "v1,"}, {"Webhook-Signature": "v1"}, {"Webhook-Signature": "\u0661"}, {"Webhook-Timestamp": "\u0661" * 10},
])  # fmt: skip
def test_anything_else_is_refused(changes):
    with pytest.raises(RecordError):
        verify(b'{"a": 1}', signed() | changes, [OLD], now=NOW)


def test_an_id_cannot_borrow_from_the_timestamp():
    """Of id.timestamp.body the parts could otherwise be cut elsewhere, and the signature would still fit."""
    whole = signature(key_of(OLD), "a.5", NOW, b"x")
    assert whole == signature(key_of(OLD), "a", 5, f"{NOW}.x".encode())
    with pytest.raises(RecordError):
        verify(b"x", {"webhook-id": "a.5", "webhook-timestamp": str(NOW), "webhook-signature": whole}, [OLD], now=NOW)


def test_another_body_or_secret_is_refused():
    for body, secrets in ((b'{"a": 2}', [OLD]), (b'{"a": 1}', [OTHER])):
        with pytest.raises(RecordError, match="no signature fits"):
            verify(body, signed(), secrets, now=NOW)
