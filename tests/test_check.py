"""`streamkl check`: faults, the summary, the schema, and what a real broker says."""

from __future__ import annotations

import json
import os
import socket
import subprocess

import jsonschema
import pytest
from broker import unique
from configured import FILE, KAFKA, changed, write
from program import COMMAND, Outcome

HOUR_MS = 3_600_000


def check(*arguments: object, **environment: str) -> Outcome:
    done = subprocess.run([*COMMAND, "check", *map(str, arguments)], capture_output=True, timeout=120, env={**os.environ, **environment})
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_fine_configuration_is_told_and_exits_0(tmp_path):
    done = check(write(tmp_path, KAFKA))
    assert (done.code, done.err) == (0, "")
    for told in ("payments/<customer.region>/amount: numeric, payload.amount of payments", "on_drift hold", "topic payments.drift", "group payments"):
        assert told in done.out


def test_a_configuration_of_a_file_is_told(tmp_path):
    done = check(write(tmp_path, FILE), "--connect")
    assert (done.code, done.err) == (0, "")
    assert "standard input" in done.out
    assert "no broker to connect to" in done.out


def test_faults_go_to_standard_error_one_a_line_and_exit_2(tmp_path):
    path = write(tmp_path, changed(KAFKA, {"source.grup": "x", "detector": {"warmup": 5}}))
    done = check(path, STREAMKL__COMIT="1")
    assert (done.code, done.out) == (2, "")
    first, second, third = done.err.splitlines()
    assert first == f"streamkl: {path}:6: source.grup: unknown key; did you mean group?"
    assert second.startswith(f"streamkl: {path}:16: detector.warmup: 5 must be")
    assert third == "streamkl: environment variable STREAMKL__COMIT: comit: unknown key; did you mean commit?"


@pytest.mark.parametrize("content", [b"", b"a: [", b"- 1", b"a: \xff", b"[" * 3000])
def test_what_is_no_configuration_is_one_line_and_exits_2(tmp_path, content):
    (tmp_path / "c.yaml").write_bytes(content)
    done = check(tmp_path / "c.yaml")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)


@pytest.mark.parametrize("path", ["/nowhere.yaml", "/", "/dev/null", "a\x1b[31m"])
def test_what_is_no_file_is_one_line_and_exits_2(path):
    done = check(path)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert "\x1b" not in done.err


def test_the_schema_is_printed_without_a_configuration(tmp_path):
    done = check("--schema")
    assert (done.code, done.err) == (0, "")
    jsonschema.Draft202012Validator(json.loads(done.out)).validate(KAFKA)
    assert check("--schema", write(tmp_path, changed(KAFKA, {"application": ...}))).code == 2


def test_without_a_configuration_it_says_what_is_missing():
    done = check()
    assert (done.code, done.out) == (2, "")
    assert "CONFIG is missing" in done.err


def test_the_help_lists_the_variables():
    done = check("--help")
    assert done.code == 0
    for name in ("STREAMKL__SOURCE__GROUP", "STREAMKL__STREAMS__0__FIELDS__NAME__DETECTOR__WARMUP", "STREAMKL__SOURCE__SECURITY__PASSWORD__FILE"):
        assert name in done.out.split()


# ---------------------------------------------------------------- a real broker


class Place:
    """An application on a broker: topics as they should be, and a configuration of them; a test then breaks one thing."""

    def __init__(
        self, folder, broker, records, *, partitions=2, leave_out=(), state_partitions=None, control_partitions=1, is_compacted=True, **changes
    ):
        self.name = unique("app")
        self.topic = f"{self.name}.in"
        self.folder, self.broker = folder, broker
        for suffix, count in (("in", partitions), ("drift", 1), ("dead-letters", 1), ("divergence", 1), ("control", control_partitions)):
            if suffix not in leave_out:
                broker.topic(name=f"{self.name}.{suffix}", partitions=count)
        if "state" not in leave_out:
            broker.topic(name=f"{self.name}.state", partitions=state_partitions or partitions, is_compacted=is_compacted)
        if records:
            for number in range(partitions):
                broker.produce(self.topic, [message(*record) for record in records if record[0] == number], partition=number)
        self.tree = changed(KAFKA, {
            "application": self.name, "source.bootstrap_servers": broker.bootstrap, "source.instance": "one", "streams.0.topic": self.topic,
            "streams.0.name": "payments", **changes,
        })  # fmt: skip

    def check(self, **environment):
        return check(write(self.folder, self.tree), "--connect", **environment)


def message(partition, value, key=None):
    return key, value if isinstance(value, bytes) else json.dumps(value).encode()


def payment(partition, region, amount=1.5, **more):
    return partition, {"customer": {"region": region}, "payload": {"amount": amount}, "method": "card", **more}


GOOD = [payment(number % 2, ("EU", "US")[number % 2], number) for number in range(60)]


def findings(done, verdict):
    return [line.removeprefix(verdict).strip() for line in done.out.splitlines() if line.startswith(f"{verdict} ")]


def test_a_broker_that_has_all_is_all_ok(tmp_path, broker):
    place = Place(tmp_path, broker, GOOD)
    done = place.check()
    assert (done.code, done.err, findings(done, "fault"), findings(done, "warning")) == (0, "", [], [])
    told = "\n".join(findings(done, "ok"))
    for part in (
        f"{place.topic}: has 2 partitions, and we may READ", f"{place.name}.state: is compacted", f"group {place.name}: we may use it",
        f"transactional id {place.name}.one: we may use it", "all of 60 sampled records can be read", "field payload.amount is numeric in 60 of 60",
        "key field customer.region has 2 values in 60 sampled records, each on one partition", "the records' own time is sane in all of 60",
    ):  # fmt: skip
        assert part in told


def test_the_inspection_changes_nothing(tmp_path, broker):
    place = Place(tmp_path, broker, GOOD, leave_out=("drift",))
    producer = broker.producer(transactional_id=f"{place.name}.one")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(f"{place.name}.dead-letters", b"x").get(timeout=30)
    place.check()
    producer.commit_transaction()
    producer.close()
    assert [record.value for record in broker.read(f"{place.name}.dead-letters")] == [b"x"]
    assert broker.committed(place.name, place.topic) == {}
    assert f"{place.name}.drift" not in broker.admin().list_topics()


@pytest.mark.parametrize(("changes", "suffix", "sentence"), [
    ({"leave_out": ("in",), "records": []}, "in", "is not there; create it with: kafka-topics"),
    ({"leave_out": ("drift",)}, "drift", "is not there; create it with: kafka-topics"),
    ({"leave_out": ("dead-letters",)}, "dead-letters", "is not there"),
    ({"leave_out": ("state",)}, "state", "--partitions 2 --config cleanup.policy=compact"),
    ({"state_partitions": 1}, "state", "has 1 partitions, the largest input topic 2"),
    ({"state_partitions": 3}, "state", "make it anew with 2"),
    ({"is_compacted": False}, "state", "has cleanup.policy=delete"),
    ({"control_partitions": 3}, "control", "has 3 partitions, and commands need one order"),
])  # fmt: skip
def test_a_topic_that_is_missing_or_wrong_is_a_fault(tmp_path, broker, changes, suffix, sentence):
    place = Place(tmp_path, broker, **{"records": GOOD, **changes})
    done = place.check()
    (found,) = findings(done, "fault")
    assert done.code == 2
    assert found.startswith(f"{place.name}.{suffix}: ")
    assert sentence in found


def test_a_control_topic_that_is_not_there_is_a_warning_and_none_where_commands_are_not_read(tmp_path, broker):
    place = Place(tmp_path, broker, GOOD, leave_out=("control",))
    done = place.check()
    (found,) = findings(done, "warning")
    assert (done.code, found.startswith(f"{place.name}.control: is not there")) == (0, True)
    assert "--partitions 1 --config retention.ms=2592000000" in found
    assert findings(Place(tmp_path, broker, GOOD, leave_out=("control",), control={"enabled": False}).check(), "warning") == []


def test_dead_letters_that_are_not_kept_need_no_topic(tmp_path, broker):
    assert Place(tmp_path, broker, GOOD, leave_out=("dead-letters",), dead_letters={"on_bad_record": "skip"}).check().code == 0


def test_a_path_that_no_record_has_is_a_fault(tmp_path, broker):
    changes = {"streams.0.fields.amount.path": "amount", "streams.0.key.field": "region", "streams.0.time": {"field": "ts"}}
    done = Place(tmp_path, broker, GOOD, **changes).check()
    assert done.code == 2
    one, two, three = findings(done, "fault")
    assert "field amount is in none of 60 sampled records" in one
    assert "time field ts is in none of 60" in two
    assert "key field region is usable in none of 60" in three


def test_text_where_numbers_are_expected_is_a_fault_and_some_of_it_a_warning(tmp_path, broker):
    some = [payment(0, "EU", "n/k" if number % 4 == 0 else number) for number in range(40)]
    changes = {"streams.0.fields.method": "numeric"}
    done = Place(tmp_path, broker, some, partitions=1, **changes).check()
    assert "field method is no number in any of 40 sampled records" in findings(done, "fault")[0]
    assert "field payload.amount is no number in 10 of 40 sampled records" in findings(done, "warning")[0]


def test_records_that_cannot_be_read_are_told(tmp_path, broker):
    bad = Place(tmp_path, broker, [(0, b"<xml>")] * 30, partitions=1).check()
    assert bad.code == 2
    assert "not one of 30 sampled records can be read: not JSON (30)" in findings(bad, "fault")[0]
    some = Place(tmp_path, broker, [(0, b"<xml>"), *GOOD], partitions=2).check()
    assert some.code == 0
    assert "1 of 61 sampled records cannot be read: not JSON (1)" in findings(some, "warning")[0]


def test_a_stream_on_several_partitions_is_a_warning(tmp_path, broker):
    split = [*GOOD, payment(1, "EU")]
    done = Place(tmp_path, broker, split).check()
    assert done.code == 0
    assert findings(done, "warning") == [
        "payments/EU: arrives on partitions 0, 1 and is another stream on each; let the producer partition by this key"
    ]
    unkeyed = Place(tmp_path, broker, GOOD, **{"streams.0.key": ...}).check()
    assert "payments: has no key and arrives on partitions 0, 1" in findings(unkeyed, "warning")[0]


def test_times_in_a_wrong_unit_or_the_future_are_told(tmp_path, broker):
    at = 1_700_000_000
    early = [payment(0, "EU", ts=at - 900_000_000 + number) for number in range(30)]
    late = [payment(0, "EU", ts="2999-01-01T00:00:00Z" if number < 5 else at) for number in range(30)]
    none = [payment(0, "EU", ts="yesterday") for number in range(30)]
    for records, verdict, sentence in (
        (early, "fault", "is sane in none of 30 sampled records (before limits.oldest_time: 30)"),
        (late, "warning", "is not sane in 5 of 30 sampled records (too far ahead of the record's own time: 5)"),
        (none, "fault", "is sane in none of 30 sampled records (not a time (ISO 8601 or a number since the epoch): 30)"),
    ):
        changes = {"streams.0.time": {"field": "ts"}, "limits": {"oldest_time": "2000-01-01"}}
        done = Place(tmp_path, broker, records, partitions=1, **changes).check()
        assert [line for line in findings(done, verdict) if sentence in line], done.out


def test_only_the_newest_records_are_sampled(tmp_path, broker):
    old = [(0, b"once upon a time")] * 300
    done = Place(tmp_path, broker, [*old, *[payment(0, "EU", number) for number in range(200)]], partitions=1).check()
    assert "all of 200 sampled records can be read" in done.out


def test_no_records_yet_is_a_warning(tmp_path, broker):
    done = Place(tmp_path, broker, []).check()
    assert done.code == 0
    assert "holds no records that could be looked at" in findings(done, "warning")[0]


def test_nothing_of_a_record_is_repeated(tmp_path, broker):
    records = [payment(0, "EU", "canary-value", secret="canary-other") for _ in range(20)]
    done = Place(tmp_path, broker, records, partitions=1).check()
    assert "canary" not in done.out + done.err


def test_a_broker_that_is_away_exits_4(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = check(write(tmp_path, changed(KAFKA, {"source.bootstrap_servers": f"127.0.0.1:{unused.getsockname()[1]}"})), "--connect")
    assert (done.code, len(done.err.splitlines())) == (4, 1)


# ---------------------------------------------------------------- rights


SECURITY = {"protocol": "sasl_plaintext", "mechanism": "SCRAM-SHA-512", "username": "limited", "password": {"env": "CANARY"}}


def allowed(place, secure_broker, *, without=()):
    rights = {
        "in": ("topic", f"{place.name}.in", "READ"), "drift": ("topic", f"{place.name}.drift", "WRITE"),
        "divergence": ("topic", f"{place.name}.divergence", "WRITE"), "dead-letters": ("topic", f"{place.name}.dead-letters", "WRITE"),
        "control": ("topic", f"{place.name}.control", "READ"),
        "state": ("topic", f"{place.name}.state", "READ", "WRITE", "DESCRIBE_CONFIGS"), "group": ("group", place.name, "READ"),
        "transaction": ("transactional_id", f"{place.name}.one", "WRITE"),
    }  # fmt: skip
    for name, (resource, resource_name, *operations) in rights.items():
        left = [operation for operation in operations if (name, operation) not in without]
        if left:
            secure_broker.allow("limited", resource, resource_name, *left)


def test_least_rights_are_enough(tmp_path, secure_broker):
    place = Place(tmp_path, secure_broker, GOOD, **{"source.security": SECURITY})
    allowed(place, secure_broker)
    done = place.check(CANARY=secure_broker.passwords["limited"])
    assert (done.code, findings(done, "fault"), findings(done, "warning")) == (0, [], [])
    assert secure_broker.passwords["limited"] not in done.out + done.err


@pytest.mark.parametrize(("without", "sentence"), [
    (("in", "READ"), "{}.in: we may not see it; allow READ"),
    (("drift", "WRITE"), "{}.drift: we may not see it; allow WRITE"),
    (("state", "WRITE"), "{}.state: we have no right to WRITE"),
    (("group", "READ"), "group {}: we have no right to it; allow READ"),
    (("transaction", "WRITE"), "transactional id {}.one: we have no right to it; allow WRITE and DESCRIBE"),
])  # fmt: skip
def test_a_missing_right_is_a_fault(tmp_path, secure_broker, without, sentence):
    place = Place(tmp_path, secure_broker, GOOD, **{"source.security": SECURITY})
    allowed(place, secure_broker, without=[without])
    done = place.check(CANARY=secure_broker.passwords["limited"])
    (found,) = findings(done, "fault")
    assert done.code == 2
    assert found.startswith(sentence.format(place.name))


def test_a_right_to_describe_alone_is_not_enough(tmp_path, secure_broker):
    place = Place(tmp_path, secure_broker, GOOD, **{"source.security": SECURITY})
    allowed(place, secure_broker, without=[("in", "READ"), ("group", "READ"), ("transaction", "WRITE"), ("state", "DESCRIBE_CONFIGS")])
    for resource, name in (("topic", f"{place.name}.in"), ("group", place.name), ("transactional_id", f"{place.name}.one")):
        secure_broker.allow("limited", resource, name, "DESCRIBE")
    done = place.check(CANARY=secure_broker.passwords["limited"])
    assert len(findings(done, "fault")) == 3
    assert "we may not see whether it is compacted" in findings(done, "warning")[0]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_wrong_password_exits_2_and_is_not_repeated(tmp_path, secure_broker, mechanism):
    place = Place(tmp_path, secure_broker, [], **{"source.security": {**SECURITY, "mechanism": mechanism}})
    done = place.check(CANARY="wrong-canary")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "check mechanism, username and password" in done.err
    assert "wrong-canary" not in done.out + done.err


def test_topics_that_keep_or_take_too_little_are_told_with_both_numbers(tmp_path, broker):
    place = Place(tmp_path, broker, [], leave_out=("in", "dead-letters"), **{"limits.record_bytes_max": 500_000})
    broker.topic(name=place.topic, partitions=2, retention_ms=3_600_000, retention_bytes=1_000_000)
    broker.topic(name=f"{place.name}.dead-letters", max_message_bytes=100_000)
    told = findings(place.check(), "warning")
    letters = f"{place.name}.dead-letters"
    for topic, *numbers in ((place.topic, "3600 s", "43200 s"), (place.topic, "1,000,000 bytes"), (letters, "100,000", "500,000")):
        assert [line for line in told if line.startswith(f"{topic}: ") and all(number in line for number in numbers)], told
