"""Logging, in a process of its own: what stands on standard error, line by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

HOSTILE = "a\x1b[31m\nb\u2028c\ud800\x85"
CANARY = 'can"ary\\ß'
BEGIN = f"""
import logging, sys, structlog, warnings
from streamkl.app.logging import configure
log = structlog.get_logger("streamkl")
HOSTILE, CANARY = {HOSTILE!r}, {CANARY!r}
"""


def logged(code, format="json", level="info", stderr=subprocess.PIPE):
    configure = f"configure({format!r}, {level!r}, [CANARY, ''])"
    done = subprocess.run([sys.executable, "-P", "-c", f"{BEGIN}\n{configure}\n{code}"], stdout=subprocess.PIPE, stderr=stderr, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    return (done.stderr or b"").decode()


def test_an_event_is_one_object_with_time_level_and_name_first():
    (line,) = logged("log.info('event.published', stream='a/x', n=1.5)").splitlines()
    found = json.loads(line)
    assert list(found)[:3] == ["time", "level", "event"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found.pop("time"))
    assert found == {"level": "info", "event": "event.published", "stream": "a/x", "n": 1.5, "logger": "streamkl"}


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_name_breaks_a_line_or_reaches_the_terminal_raw(format):
    code = "log.info('event.published', stream=HOSTILE, partitions=[HOSTILE])\nlogging.getLogger('kafka.x').warning('got %s', HOSTILE)"
    text = logged(code, format)
    assert len(text.splitlines()) == 2
    assert text.replace("\n", "").isprintable()
    if format == "json":
        first, second = map(json.loads, text.splitlines())
        assert (first["stream"], first["partitions"], second["event"]) == (HOSTILE, [HOSTILE], f"got {HOSTILE}")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_is_that_of_our_own_events_and_other_libraries_warn(level):
    code = "for name in ('debug', 'info', 'warning', 'error'):\n  getattr(log, name)('x.y')\n  getattr(logging.getLogger('kafka'), name)('theirs')"
    lines = [json.loads(line) for line in logged(code, level=level).splitlines()]
    levels = ["debug", "info", "warning", "error"]
    assert [line["level"] for line in lines if line["logger"] == "streamkl"] == levels[levels.index(level) :]
    assert [line["level"] for line in lines if line["logger"] == "kafka"] == ["warning", "error"]


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_secret_is_blotted_out_wherever_it_would_appear(format):
    code = """
log.info('a.b', text=f'x{CANARY}y', nested={'k': [CANARY]}, shown=repr(CANARY))
logging.getLogger('kafka').error('password=%s %r', CANARY, CANARY)
warnings.warn(CANARY)
try:
    raise ValueError(CANARY)
except ValueError:
    log.exception('c.d')
"""
    text = logged(code, format)
    forms = {CANARY, json.dumps(CANARY)[1:-1], json.dumps(CANARY, ensure_ascii=False)[1:-1], repr(CANARY)[1:-1], "can\\", 'can"', "ary\\"}
    assert not [form for form in forms if form in text], text
    assert text.count("***") >= 6


def test_a_secret_that_hides_itself_does_not_blot_out_the_word_secret():
    code = "from streamkl.service.secret import HiddenText\nconfigure(secrets=[HiddenText('hunter2')])\nlog.info('a.b', x='hunter2 is a secret')"
    assert json.loads(logged(code))["x"] == "*** is a secret"


def test_a_traceback_is_one_field_in_json():
    (line,) = logged("try:\n  1 / 0\nexcept ZeroDivisionError:\n  log.exception('service.failed')").splitlines()
    assert json.loads(line)["exception"].endswith("ZeroDivisionError: division by zero")


def test_a_log_that_cannot_be_written_stops_nothing():
    with open("/dev/full", "wb") as full:
        logged("for _ in range(10): log.info('a.b', x='y' * 10_000)\nsys.exit(0)", stderr=full)
    logged("sys.stderr.close()\nfor _ in range(3): log.info('a.b')\nimport os; os._exit(0)")


def test_what_the_library_of_kafka_repeats_comes_at_powers_of_two_of_each_kind():
    code = (
        "theirs = logging.getLogger('kafka.conn')\n"
        "for n in range(20):\n  theirs.error('node %s is away', n)\n  log.error('x.y')\n  logging.getLogger('other').error('node %s', n)\n"
        "theirs.error('another 7')\ntheirs.error('a third')\ntheirs.error('another 1')\ntheirs.warning('node %s is away', 1)"
    )
    lines = [json.loads(line) for line in logged(code).splitlines()]
    said = [line["event"] for line in lines if line["logger"] == "kafka.conn"]
    more = [f"node {n - 1} is away (so far {n} of this kind)" for n in (2, 4, 8, 16)]
    assert said == ["node 0 is away", *more, "another 7", "a third", "another 1 (so far 2 of this kind)", "node 1 is away"]
    assert [sum(line["logger"] == name for line in lines) for name in ("streamkl", "other")] == [20, 20]


@pytest.mark.parametrize(("level", "has_traceback"), [("debug", True), ("info", False), ("error", False)])
def test_a_traceback_of_the_library_of_kafka_is_for_debugging(level, has_traceback):
    code = "try:\n  1 / 0\nexcept ZeroDivisionError:\n  logging.getLogger('kafka.net').exception('task failed')\n  log.exception('ours.failed')"
    theirs, ours = (json.loads(line) for line in logged(code, level=level).splitlines())
    assert ("exception" in theirs, "exception" in ours) == (has_traceback, True)
    assert theirs["event"] == "task failed"
