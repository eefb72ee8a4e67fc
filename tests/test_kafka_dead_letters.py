"""Dead letters of records that are larger than their topic takes: cut, told, and never a reason to stop."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import Broker
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka_place import Place, unit

from streamkl.adapters.kafka_control import CONTROL_SETTINGS
from streamkl.adapters.kafka_dead_letters import sendable
from streamkl.adapters.kafka_topics import OUTPUT_SETTINGS, STATE_SETTINGS
from streamkl.errors import ConfigError
from streamkl.service.record import PlainRecord
from streamkl.service.work import DeadLetter

LEAST = 2000
TOPICS = Path(__file__).resolve().parent.parent / "deploy" / "topics.sh"


@pytest.fixture
def place(broker: Broker) -> Iterator[Place]:
    made = Place(broker)
    yield made
    made.close()


def letter(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> DeadLetter:
    return DeadLetter(PlainRecord("input", 7, 2**62, 1_700_000_000_000, key, value, headers), "not JSON")


def batch_bytes(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> int:
    """What the library makes of one message: this is what the broker compares."""
    made = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=True, producer_id=2**62, producer_epoch=1, base_sequence=2**30, batch_size=1 << 30
    )
    made.append(0, 1_700_000_000_000, key, value, headers)
    return len(made.build())


names = st.text(st.characters(codec="utf-8"), max_size=20)
contents = st.integers(0, 3000).map(lambda length: b"x" * length)


@given(st.none() | contents, st.none() | contents, st.lists(st.tuples(names, contents), max_size=6), st.integers(LEAST, 9000))
def test_a_dead_letter_fits_its_topic_and_tells_whatever_it_lacks(key, value, headers, most):
    sent = sendable(letter(key, value, headers), "payments", most)
    assert batch_bytes(*sent) <= most
    told = dict(sent.headers[-5:])
    assert {"streamkl_reason", "streamkl_offset"} <= {name for name, _ in sent.headers}
    own = sent.headers[: next(place for place, (name, content) in enumerate(sent.headers) if name == "streamkl_reason" and content == b"not JSON")]
    left_out = int(told.get("streamkl_headers_left_out", b"0"))
    assert len(own) == len(headers) - left_out
    assert [header for header in headers if header in own] or not own
    for whole, part, name in ((key, sent.key, "streamkl_key_bytes"), (value, sent.value, "streamkl_value_bytes")):
        if name in told:
            assert whole.startswith(part)
            assert len(part) < len(whole) == int(told[name])
        else:
            assert part == whole or (key is None and value is None and part == b"")
    whole_bytes = batch_bytes(key, value, [*headers, *sent.headers[len(own):]])
    if whole_bytes < most - 400:
        assert (left_out, "streamkl_key_bytes" in told, "streamkl_value_bytes" in told) == (0, False, False)


def test_headers_go_before_the_key_and_the_largest_goes_first():
    sent = sendable(letter(b"k" * 500, b"v" * 500, [("small", b"s"), ("large", b"h" * 5000), ("other", b"o")]), "payments", LEAST)
    assert (sent.key, [name for name, _ in sent.headers[:2]]) == (b"k" * 500, ["small", "other"])
    assert sent.value == b"v" * 500
    assert sent.headers[-1] == ("streamkl_headers_left_out", b"1")


def test_a_record_as_large_as_its_topic_allowed_becomes_a_dead_letter_that_is_cut(place):
    largest = b"x" * 1_048_400                                      # an input topic of default settings takes it
    place.broker.produce(place.input, [largest], partition=0, max_request_size=4 << 20)
    checkpoint = place.checkpoint()
    checkpoint.restore(place.partition())
    record = PlainRecord(place.input, 0, 5, None, b"key", largest, [("trace", b"\x01")])
    checkpoint.commit(unit(place, 5, dead_letters=[DeadLetter(record, "not JSON")]))
    (sent,) = place.broker.read(place.letters)
    assert (sent.key, sent.headers[0]) == (b"key", ("trace", b"\x01"))
    assert 1_040_000 < len(sent.value) < len(largest) == int(dict(sent.headers)["streamkl_value_bytes"])
    assert largest.startswith(sent.value)
    assert place.broker.committed(place.group, place.input) == {0: 5}


@pytest.mark.parametrize(("key", "value", "headers"), [
    (b"k", b"v" * 9000, []), (b"k" * 9000, b"v", []), (b"k", b"v", [("h", b"h" * 9000)]), (b"k" * 9000, b"v" * 9000, [("h", b"h" * 9000)] * 3),
])  # fmt: skip
def test_whatever_of_a_record_is_too_large_its_topic_takes_the_dead_letter(place, key, value, headers):
    letters = place.broker.topic("small", max_message_bytes=LEAST)
    checkpoint = place.checkpoint(dead_letters_topic=letters)
    checkpoint.restore(place.partition())
    many = [DeadLetter(PlainRecord(place.input, 0, offset, None, key, value, headers), "not JSON") for offset in range(20)]
    checkpoint.commit(unit(place, 20, dead_letters=many))
    assert [dict(sent.headers)["streamkl_offset"] for sent in place.broker.read(letters)] == [b"%d" % offset for offset in range(20)]


def test_a_topic_that_refuses_a_message_is_named(place):
    small = place.broker.topic("small-events", max_message_bytes=200)
    with pytest.raises(ConfigError, match=f"writing to {small} as .*: a message is too large; raise max.message.bytes of the topic"):
        place.checkpoint(events_topic=small).commit(unit(place, 1))
    assert place.seen()[1:] == [0] * 3


def test_the_script_that_makes_topics_and_our_own_advice_say_the_same():
    said = settings_of_script()
    wanted = {"state": STATE_SETTINGS, "control": CONTROL_SETTINGS, **dict.fromkeys(("drift", "divergence", "dead-letters"), OUTPUT_SETTINGS)}
    assert said.keys() == wanted.keys()
    for topic, settings in wanted.items():
        ours = set(shlex.split(settings.replace("--config", "")))
        assert {one for one in said[topic] if not (topic not in ("state", "control") and one.startswith("retention.ms"))} == ours


def settings_of_script() -> dict[str, set[str]]:
    """Topic -> key=value that deploy/topics.sh makes it with; its arithmetic and variables worked out."""
    text = TOPICS.read_text().replace("\\\n", " ")
    numbers = dict(re.findall(r"^(\w+)=(\d+)$", text, flags=re.MULTILINE))
    for name, number in numbers.items():
        text = text.replace(f"${name}", number).replace(f" {name})", f" {number})").replace(f"({name} ", f"({number} ")
    found = {}
    for name, rest in re.findall(r'^topic "\$application\.([\w-]+)" (.*)$', text, flags=re.MULTILINE):
        worked = re.sub(r"\$\(\((\d+) ([*/]) (\d+)\)\)", lambda m: str(int(m[1]) * int(m[3]) if m[2] == "*" else int(m[1]) // int(m[3])), rest)
        found[name] = set(worked.split())
    return found
