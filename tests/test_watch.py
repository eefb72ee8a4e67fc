"""`streamkl watch`, run for real; what it says is compared with a Detector that is fed the same values one by one."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program import COMMAND, csv_of, streamkl

from streamkl import Detector
from streamkl.app import build
from streamkl.service.streams import Watched
from streamkl.service.watch import watch

QUICK = ("--warmup", 100, "--false-alarms", 1000)


def shifted(n=1200, at=600, by=3.0, seed=1):
    values = np.random.default_rng(seed).normal(size=n)
    values[at:] += by
    return [round(float(value), 4) for value in values]


def one_by_one(values, **kwargs):
    detector = Detector(**{"warmup": 100, "false_alarms": 1000, **kwargs})
    return [event for value in values if (event := detector.update(value)) is not None]


def facts(events):
    """What an event says, but for where in the file it stands."""
    return [{k: v for k, v in event.items() if k not in ("position", "source", "at")} for event in events]


def plain(events):
    return facts([json.loads(event.to_json()) for event in events])


# ---------------------------------------------------------------- the events


def test_the_events_are_those_of_a_detector_fed_one_by_one():
    values = shifted()
    outcome = streamkl("watch", "-", "--value", "x", "--json", *QUICK, stdin=csv_of(values))
    assert outcome.code == 0
    assert facts(outcome.events) == plain(one_by_one(values, name="x"))
    assert [event["kind"] for event in outcome.events][:3] == ["reference.learned", "drift.raised", "reference.rebaselined"]


def test_without_options_the_settings_are_those_of_detector():
    values = shifted(4000, 2000)
    outcome = streamkl("watch", "-", "--value", "x", "--json", stdin=csv_of(values))
    expected = Detector(name="x").update_many(values)
    assert facts(outcome.events) == plain(expected)
    assert expected


def test_every_option_reaches_the_detector():
    values = shifted(2000, 700, 1.0)
    options = ("--warmup", 200, "--false-alarms", "1 per 5000 events", "--window", 80, "--min-effect", "none", "--stride", 2, "--on-drift", "hold")
    outcome = streamkl("watch", "-", "--value", "x", "--json", *options, stdin=csv_of(values))
    expected = one_by_one(values, name="x", warmup=200, false_alarms="1 per 5000 events", window=80, min_effect=None, stride=2, on_drift="hold")
    assert facts(outcome.events) == plain(expected)


def test_an_event_names_its_line_and_its_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of(shifted()))
    for event in streamkl("watch", path, "--value", "x", "--json", *QUICK).events:
        assert event["position"] == event["index"] + 2
        assert event["source"] == {"file": str(path), "line": event["position"]}


def test_each_key_and_column_is_a_stream_of_its_own_and_events_come_in_line_order():
    a, b = shifted(seed=1), shifted(by=-2, seed=2)
    rows = ["k,x,y"] + [row for i in range(len(a)) for row in (f"a,{a[i]},{b[i]}", f"b,{b[i]},7")]
    outcome = streamkl("watch", "-", "--value", "x", "--value", "y", "--key", "k", "--json", *QUICK, stdin="\n".join(rows))
    by_stream = {name: facts([event for event in outcome.events if event["stream"] == name]) for name in ("a/x", "a/y", "b/x", "b/y")}
    for name, values in {"a/x": a, "a/y": b, "b/x": b, "b/y": [7] * len(a)}.items():
        assert by_stream[name] == plain(one_by_one(values, name=name))
    lines = [event["position"] for event in outcome.events]
    assert lines == sorted(lines)


def test_categories_are_the_text_as_it_stands():
    values = ["login", "cart", "NA"] * 200 + ["search"] * 300
    outcome = streamkl("watch", "-", "--value", "x", "--kind", "categorical", "--json", *QUICK, stdin=csv_of(values))
    assert facts(outcome.events) == plain(one_by_one(values, name="x", kind="categorical"))
    raised = next(event for event in outcome.events if event["kind"] == "drift.raised")
    assert "other" in {change["label"] for change in raised["bins"]}


def test_several_columns_may_follow_one_value_option(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y,z\n1,2,3\n")
    assert streamkl("watch", path, "--value", "x", "y").err.count("observation") == 2


def test_csv_json_and_gzip_of_the_same_values_give_the_same_events(tmp_path):
    values = shifted()
    csv, jsonl = csv_of(values), "".join(json.dumps({"other": [1, {}], "x": value}) + "\n" for value in values)
    outcomes = []
    for name, text in (("a.csv", csv), ("a.jsonl", jsonl)):
        (tmp_path / name).write_text(text)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        outcomes += [streamkl("watch", tmp_path / f, "--value", "x", "--json", *QUICK) for f in (name, f"{name}.gz")]
        outcomes.append(streamkl("watch", "-", "--value", "x", "--json", *QUICK, stdin=gzip.compress(text.encode())))
    assert all(facts(outcome.events) == plain(one_by_one(values, name="x")) for outcome in outcomes)


@pytest.mark.parametrize("block_bytes", [1, 7, 8192])
@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_how_the_file_was_cut_into_batches_changes_nothing(tmp_path, block_bytes, format):
    values = shifted(700, 400)
    odd = ["", "12ms", "1e400", "NA", "9" * 5000, '"4\n', '5"']
    texts = [str(value) for value in values[:300]] + odd[:5] + [str(value) for value in values[300:]]
    if format == "csv":
        text = "t,k,x\n" + "".join(f"2026-01-01 00:{i // 60:02d}:{(i ^ 2) % 60:02d},{'ab'[i % 2]},{x}\n" for i, x in enumerate(texts))
        text += 'zzz,a,"1\n2"\nt,b\n\n,,3\n"'
    else:
        text = "".join(f'{{"t":{i ^ 2},"k":"{"ab"[i % 2]}","x":{json.dumps(x)}}}\n' for i, x in enumerate(texts)) + '{"x":\n[]\n\n{"k":1,"x":1e999}'
    path = tmp_path / f"a.{format}"
    path.write_text(text)

    def told(block):
        options = build.Options(str(path), Watched(("x",), "k", "t"), None, {"warmup": 100, "false_alarms": 1000}, block_bytes=block)
        source, streams = build.parts(options)
        lines = [event.to_json() for events in watch(source, streams) for event in events]
        return lines, list(streams.faults), streams.rows, [(s.tally.observations, s.tally.missing, s.tally.out_of_order) for s in streams]

    whole = told(1 << 20)
    assert told(block_bytes) == whole
    assert len(whole[0]) >= 4
    assert len(whole[1]) >= 3
    assert sum(out_of_order for _, _, out_of_order in whole[3]) > 200


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["1", "2.5", "-3", "", "x", '"q"', '"a\nb"', "1,2", "NaN", "\u2028", "é"]), max_size=40), st.integers(1, 50))
def test_bad_rows_are_counted_alike_however_the_file_was_cut(tmp_path_factory, rows, block_bytes):
    path = tmp_path_factory.mktemp("cut") / "a.csv"
    path.write_text("x\n" + "\n".join(rows) + "\n", encoding="utf-8")

    def counted(block):
        source, streams = build.parts(build.Options(str(path), Watched(("x",), kind="numeric"), None, {}, block_bytes=block))
        assert not [event for events in watch(source, streams) for event in events]
        return list(streams.faults), streams.rows

    assert counted(block_bytes) == counted(1 << 18)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "is empty"),
        ("\n\n \n", 2, "is empty"),
        ("x\n", 0, "0 rows read"),
        ("y\n1\n", 2, "no column 'x' in the header (it has: y)"),
        ("xx,y\n1,2\n", 2, "did you mean 'xx'?"),
        ("a;x\n1;2\n", 2, "separated by commas"),
        ("x,x\n1,2\n", 2, "appears 2 times"),
        ("\ufeffx\n1\n", 0, "1 observation"),
        (csv_of([5] * 900), 0, "one distinct value (= 5)"),
        (csv_of(["NA"] * 900), 0, "all its values are missing"),
        (csv_of(range(99)), 0, "still learning its reference"),
        (csv_of([*range(700), "12ms", "{}"]), 0, "2 x x: not a number, first in line 702: '12ms'"),
        (csv_of([*range(700), "1e400", "-1e400", "9" * 5000]), 0, "703 observations\n"),
        (csv_of(["login", "cart"]), 2, "column 'x' holds text ('login' in line 2); to watch it as categories: --kind categorical"),
        (csv_of(["a"] * 5000), 2, "--kind categorical"),
        ("x,y\n1\n1,2,3\n1,2\n", 0, "1 x fewer fields than the header, first in line 2: '1 of 2'"),
        ('x\n1\n"2\n3\n', 0, "1 x quote left open, first in line 3"),
        ("x\n1\r2\n3\n", 0, "not CSV"),
        (b"x,y\n1,\xff\n\xff,2\n", 0, "1 x invalid UTF-8, first in line 3"),
        ("x\n1\n".encode("utf-16"), 2, "iconv"),
        ('{"y":1}\n', 2, "no record has the field 'x'"),
        ('{"x":1e400}\n{"x":' + "9" * 5000 + '}\n{"x":NaN}\n{"x":"7"}\n{"x":true}', 0, "5 observations (1 missing)"),
        ('{"x":[1]}\n{"x":{}}\n{"x":1}', 0, "2 x x: an object or a list, not a value, first in line 1"),
        ('{"x":1}\nnot json\n{"x":\n', 0, "2 x not JSON, first in line 2"),
        ('{"x":1}\n[1]\n', 0, "1 x JSON, but not an object, first in line 2"),
        (b'{"x":1}\n{"x":"\xff"}\n', 0, "1 x invalid UTF-8, first in line 2"),
        ('{"x":1}\n{"x":' + "[" * 100_000 + "\n", 0, "1 x not JSON, first in line 2"),
        ('{"x":"\\ud800"}\n{"x":1}\n', 0, "invalid UTF-8"),
    ],
)
def test_bad_input_is_a_clear_message_or_a_counted_outcome(text, code, said):
    outcome = streamkl("watch", "-", "--value", "x", stdin=text)
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.code == code


def test_a_key_of_70_kb_and_rows_without_a_key_are_counted():
    outcome = streamkl("watch", "-", "--value", "x", "--key", "k", stdin="k,x\n" + "a" * 70_000 + ",1\n,2\nb,3\n")
    assert "1 x k: key longer than 1000 characters, first in line 2" in outcome.err
    assert "1 x k: no key, first in line 3" in outcome.err
    assert len(outcome.err) < 2000
    assert outcome.code == 0


def test_times_that_go_back_are_counted_and_times_not_understood_are_faults():
    text = "t,x\n2026-01-02,1\n2026-01-01T00:00:00+01:00,2\nfoo,3\n,4\n1767400000,5\n"
    outcome = streamkl("watch", "-", "--value", "x", "--time", "t", stdin=text)
    assert "5 observations (1 out of order)" in outcome.err
    assert "1 x t: not a time" in outcome.err


def test_the_time_of_an_event_is_in_utc_whatever_the_clock_of_the_machine():
    values = shifted()
    text = "t,x\n" + "".join(f"2026-03-29T02:{i // 60 % 60:02d}:{i % 60:02d}+02:00,{x}\n" for i, x in enumerate(values))
    events = streamkl("watch", "-", "--value", "x", "--time", "t", "--json", *QUICK, stdin=text).events
    raised = next(event for event in events if event["kind"] == "drift.raised")
    assert raised["at"] == 1774742400000 + raised["index"] * 1000


def test_rows_beyond_the_most_streams_are_counted_not_kept():
    text = "k,x\n" + "".join(f"{i},1\n" for i in range(10_050)) + "3,1\n"
    outcome = streamkl("watch", "-", "--value", "x", "--key", "k", stdin=text)
    assert outcome.code == 0
    assert "10,000 streams" in outcome.err
    assert "50 x k: more than 10000 keys" in outcome.err
    assert "first in line 10,002: '10000'" in outcome.err


def test_categories_that_hardly_repeat_are_said_to_be_useless():
    outcome = streamkl("watch", "-", "--value", "x", "--kind", "categorical", stdin=csv_of(f"user{i}" for i in range(2000)))
    assert "its values hardly repeat" in outcome.err


def test_a_change_of_unit_shows_as_drift_of_missing():
    outcome = streamkl("watch", "-", "--value", "x", *QUICK, stdin=csv_of([*shifted(600, 600), *(f"{i}ms" for i in range(300))]))
    assert "missing 0 % ->" in outcome.out


# ---------------------------------------------------------------- exit codes and the ends of a run


def test_strict_stops_at_the_first_bad_row_and_tells_the_events_before_it():
    values = shifted()
    calm = streamkl("watch", "-", "--value", "x", "--json", *QUICK, stdin=csv_of(values[:800]))
    text = csv_of([*values[:800], "bad", *values[800:], "worse"])
    outcome = streamkl("watch", "-", "--value", "x", "--json", "--strict", *QUICK, stdin=text)
    assert outcome.code == 2
    assert "line 802: x: not a number: 'bad'" in outcome.err
    assert "worse" not in outcome.err
    assert outcome.out == calm.out


def test_fail_on_drift_exits_1_only_where_there_was_drift():
    options = ("--value", "x", "--fail-on-drift", *QUICK)
    assert streamkl("watch", "-", *options, stdin=csv_of(shifted())).code == 1
    assert streamkl("watch", "-", *options, stdin=csv_of(shifted(500, 500))).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--value", "x", "--warmup", 5), "warmup=5"),
        (("--value", "x", "--min-effect", "much"), "--min-effect 'much'"),
        (("--value", "x", "--stride", "few"), "--stride 'few'"),
        (("--value", "x", "--stride", "auto"), "stride"),
        (("--value", "x", "--false-alarms", "never"), "false_alarms"),
        (("--value", "x", "--window", "0"), "window"),
        (("--value", "x", "--kind", "words"), "kind"),
        (("--value", "x", "--reference", "f"), "--reference"),
        (("--value", "x", "--html", "f"), "--html"),
        ((), "--value"),
    ],
)
def test_a_wrong_setting_exits_2_before_the_file_is_opened(arguments, said):
    outcome = streamkl("watch", "/nowhere/at/all.csv", *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert "Traceback" not in outcome.err


def test_a_file_that_cannot_be_read_exits_4_and_names_it(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        outcome = streamkl("watch", path, "--value", "x")
        assert (outcome.code, outcome.err.count("\n")) == (4, 1)
        assert "cannot open" in outcome.err


def test_a_cut_gzip_file_is_summed_up_to_the_cut_and_exits_4():
    stored = gzip.compress(csv_of(shifted(20_000, 20_000)).encode())
    outcome = streamkl("watch", "-", "--value", "x", stdin=stored[: len(stored) // 2])
    assert outcome.code == 4
    assert "rows read, 1 stream" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("streamkl: cannot read standard input to its end")


def test_a_reader_that_leaves_early_ends_the_run_quietly():
    text = csv_of(i % 50 + 1000 * (i // 300) for i in range(200_000)).encode()
    program = [*COMMAND, "watch", "-", "--value", "x", "--json", *map(str, QUICK)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.close()
        try:
            run.stdin.write(text)
            run.stdin.close()
        except BrokenPipeError:
            pass
        assert run.stderr.read() == b""
    assert run.returncode == 0


def test_ctrl_c_prints_the_summary_so_far_and_exits_130():
    program = [*COMMAND, "watch", "-", "--value", "x", "--json", *map(str, QUICK)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdin.write(csv_of(shifted()).encode())
        run.stdin.flush()
        assert b"reference.learned" in run.stdout.readline()  # events come while the pipe is open
        run.send_signal(signal.SIGINT)
        said = run.stderr.read().decode()
        run.stdin.close()
        run.stdout.read()
    assert run.returncode == 130
    assert "before it was interrupted, 1 stream" in said
    assert "Traceback" not in said


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said_in_one_line():
    program = [*COMMAND, "watch", "-", "--value", "x", "--json", *map(str, QUICK)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(program, input=csv_of(shifted()).encode(), stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr.count(b"\n")) == (4, 1)
    assert b"No space left" in done.stderr


def test_a_closed_standard_input_is_said_in_one_line():
    done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "watch", "-", "--value", "x"], capture_output=True)
    assert (done.returncode, done.stderr) == (4, b"streamkl: standard input is closed\n")


def test_version_and_help_are_there():
    assert streamkl("--version").out.startswith("streamkl ")
    assert "--value" in streamkl("watch", "--help").out


def test_watch_loads_nothing_heavy():
    heavy = "{'rich', 'pydantic', 'kafka', 'river', 'scipy', 'pandas', 'structlog'}"
    code = f"import sys; import streamkl.app.cli; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True).stdout == "set()\n"


# ---------------------------------------------------------------- a terminal


def test_on_a_terminal_there_is_a_bar_and_elsewhere_none(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of(shifted()))
    leader, follower = os.openpty()
    program = [*COMMAND, "watch", str(path), "--value", "x", *map(str, QUICK)]
    with subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm"}) as run:
        os.close(follower)
        seen = b""
        try:
            while block := os.read(leader, 65536):
                seen += block
        except OSError:  # the terminal is gone
            pass
    os.close(leader)
    assert run.returncode == 0
    assert b"\x1b[" in seen
    assert b"DRIFT" in seen
    quiet = streamkl("watch", path, "--value", "x", *QUICK)
    assert "\x1b" not in quiet.err + quiet.out
