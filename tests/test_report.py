"""What a person reads: foreign text is harmless, numbers are those of the events, nothing is dropped in silence."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from program import QUICK, csv_of, streamkl

from streamkl import Detector
from streamkl.app.event_line import changed, moment
from streamkl.app.label import label
from streamkl.detect.event import BinChange
from streamkl.errors import ConfigError
from streamkl.service.faults import Faults, Reject
from streamkl.service.kind_check import KindCheck
from streamkl.service.times import NO_TIME, millisecond, milliseconds
from streamkl.service.values import is_missing, numbers


@given(st.text(), st.integers(10, 80))
def test_a_label_is_one_printable_line_of_bounded_length(text, length):
    shown = label(text, length)
    assert shown.isprintable()
    assert len(shown) <= length
    assert shown == text or not text.isprintable() or len(text) > length


@given(st.integers(40, 100_000))
def test_a_long_label_keeps_both_ends(n):
    assert label("begin" + "x" * n + "end", 20).startswith("begin")
    assert label("begin" + "x" * n + "end", 20).endswith("end")


def test_what_a_file_contains_cannot_command_the_terminal():
    evil = "\x1b]0;pwned\x07\x1b[2J\u202e"
    text = f"k,x,{evil}\n" + "".join(f"{evil},{evil if i > 300 else 'calm'}\n" for i in range(600)).replace("\n", ",1\n")
    outcome = streamkl("watch", "-", "--value", "x", "--key", "k", "--kind", "categorical", *QUICK, stdin=text)
    assert "DRIFT" in outcome.out
    for said in (outcome.out, outcome.err):
        assert all(line.isprintable() for line in said.splitlines())
    refused = streamkl("watch", "-", "--value", evil + "x", stdin=text)
    assert all(line.isprintable() for line in refused.err.splitlines())


def test_the_line_of_an_alarm_says_where_what_how_far_and_how_sure():
    values = [i % 10 for i in range(600)] + [i % 3 for i in range(300)]
    expected = next(e for e in Detector(name="x", warmup=100, false_alarms=1000).update_many(values) if e.kind == "drift.raised")
    text = "t,x\n" + "".join(f"{1_767_225_600 + i},{value}\n" for i, value in enumerate(values))
    outcome = streamkl("watch", "-", "--value", "x", "--time", "t", *QUICK, stdin=text)
    line = outcome.out.splitlines()[0]
    at = datetime.fromtimestamp(1_767_225_600 + expected.index, UTC)
    assert line.startswith(f"line {expected.index + 2} at {at:%Y-%m-%d %H:%M:%S}Z  DRIFT        x: KL ")
    assert any(f"KL {w.kl:.3g} nats over the last {w.window}, limit {w.limit:.3g} ({w.source}); " in line for w in expected.criterion if w.open)
    assert f"evidence {expected.evidence:.3g}, budget 1e+03" in line
    opened = {w.window for w in expected.criterion if w.open}
    assert f": {expected.changed[0].label} " in line
    windows = [int(n.replace(",", "")) for n in re.findall(r"changed most in the last ([\d,]+): ", outcome.err)]
    assert windows
    assert windows[0] in opened
    assert f"over the last {windows[0]:,}, limit" in line
    assert all(len(line) < 200 for line in outcome.out.splitlines())
    assert "JS" not in "".join(line for line in outcome.err.splitlines() if "now" not in line)


def test_what_changed_most_names_no_bin_that_did_not_change_and_quotes_labels_that_hold_commas():
    bins = [BinChange("a, b 3 % -> 4 %", 0.5, 0.25, 0.1), BinChange("(1.5, 2]", 0.5, 0.75, 0.1), BinChange("x", 0.1, 0.1, 0.0)]
    assert changed(bins, 40) == "changed most in the last 40: 'a, b 3 % -> 4 %' 50 % -> 25 %, (1.5, 2] 50 % -> 75 %"
    assert changed([BinChange("x", 0.1, 0.1, 0.0)], 40) == ""


def test_the_summary_gives_each_episode_its_first_and_last_line():
    values = [i % 10 for i in range(600)] + [i % 3 for i in range(600)] + [i % 10 + 20 for i in range(250)]
    outcome = streamkl("watch", "-", "--value", "x", *QUICK, stdin=csv_of(values))
    events = Detector(name="x", warmup=100, false_alarms=1000).update_many(values)
    raised = [event.index + 2 for event in events if event.kind == "drift.raised"]
    ended = [event.index + 2 for event in events if event.kind in ("drift.resolved", "reference.rebaselined")]
    spans = re.findall(r"episode \d+: line ([\d,]+)(?: to line ([\d,]+))?", outcome.err)
    assert [int(first.replace(",", "")) for first, _ in spans] == raised
    assert [int(last.replace(",", "")) for _, last in spans if last] == ended
    assert "1,450 rows read, 1 stream, 1 with drift" in outcome.err


def test_of_many_streams_those_with_drift_come_first_and_the_rest_are_counted():
    rows = [(f"calm{k}", i % 10) for i in range(200) for k in range(30)] + [("bad", i % 10 if i < 300 else 99) for i in range(600)]
    outcome = streamkl("watch", "-", "--value", "x", "--key", "k", *QUICK, stdin="k,x\n" + "".join(f"{k},{x}\n" for k, x in rows))
    lines = outcome.err.splitlines()
    assert "31 streams, 1 with drift" in lines[0]
    assert lines[1].startswith("  bad/x:")
    assert "  and 11 more streams: 0 with drift, 0 still learning" in lines


def test_a_stream_of_one_value_that_stays_is_said_once_without_divergences():
    outcome = streamkl("watch", "-", "--value", "x", stdin=csv_of([5] * 900))
    assert "one distinct value (= 5)" in outcome.err
    assert "now KL" not in outcome.err
    assert "now KL" in streamkl("watch", "-", "--value", "x", stdin=csv_of([5] * 900 + [6] * 20)).err


def test_faults_are_told_by_column_with_their_number():
    outcome = streamkl("watch", "-", "--value", "x", stdin=csv_of([1, "12ms", "13ms"]))
    assert "2 times, column x: not a number, first in line 3: '12ms'" in outcome.err


def test_streams_that_have_but_the_same_note_are_told_in_one_line():
    rows = [f"k{i % 20},{i}" for i in range(400)]
    outcome = streamkl("watch", "-", "--value", "x", "--key", "k", stdin="\n".join(["k,x", *rows]))
    assert outcome.err.count("still learning its reference") == 1
    assert "20 streams (k0/x, k1/x, k2/x, ...): still learning its reference" in outcome.err


def test_a_reference_that_is_complete_near_the_end_is_said():
    outcome = streamkl("watch", "-", "--value", "x", stdin=csv_of(i % 10 for i in range(650)))
    assert "its reference was complete only in line 601: an alarm was possible in the last 50 observations alone" in outcome.err


# ---------------------------------------------------------------- the words it is made of


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.sampled_from(["", "Z", "+00:00", "-05:30", "+02:00"]), st.sampled_from("T "))
def test_a_date_time_is_the_milliseconds_that_datetime_says(naive, offset, between):
    text = naive.isoformat(between) + offset
    moment_of_text = datetime.fromisoformat(text)
    aware = moment_of_text if moment_of_text.tzinfo else moment_of_text.replace(tzinfo=UTC)
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime(1, 1, 1, 0, 0, 0, 1000) - datetime(1, 1, 1))
    assert millisecond(text) == expected
    assert milliseconds("t", [text] * 2, [1, 2])[0].tolist() == [expected] * 2


TIMES = [
    "2026-01-01 00:00:00", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+00:00", "1969-12-31 23:59:59.9999", "2026-02-30 00:00:00", "now", "today",
    "NaT", "", "2026-01-01", "2026-01-01 00:00:00+01:00", "2026-01-01 24:00:00", "-2026-01-01 00:00:00", "1767225600", "1767225600000",
    "2026-01-01 00:00:00:00", "2026-01-01T00:00Z+", "99999-01-01 00:00:00", "1e999", "2026-01-01 00:00:00\n2026-01-01 00:00:00", "20260101T000000",
    "2026-W01-1T00:00:00", "300000-01-01 00:00:00", "-300000-1-01 00:00:00", "20260101", "20260101000000", "20261301", "1_767_225_600",
]  # fmt: skip


@given(st.lists(st.sampled_from(TIMES), min_size=1))
def test_a_time_means_the_same_whatever_stands_beside_it(texts):
    times, rejects = milliseconds("t", texts, range(len(texts)))
    alone = [None if is_missing(text) else millisecond(text) for text in texts]
    assert times.tolist() == [NO_TIME if at is None else at for at in alone]
    assert [reject.line for reject in rejects] == [i for i, text in enumerate(texts) if alone[i] is None and not is_missing(text)]


def test_digits_that_form_a_date_of_our_time_are_that_date():
    expected = [1767225600000, 1767225600000, 20261301000, 1767225661000, None, None]
    assert [millisecond(field) for field in ("20260101", 20260101, "20261301", "20260101000101", "300000-01-01 00:00:00", "1_767")] == expected
    assert milliseconds("t", ["300000-01-01 00:00:00"] * 2, [1, 2])[1]


def test_the_size_of_a_number_tells_its_unit():
    assert [millisecond(text) for text in ("1767225600", "1767225600000", "1767225600000000", "1767225600000000000")] == [1767225600000] * 4
    assert moment(1767225600000) == "2026-01-01 00:00:00Z"


@given(st.lists(st.sampled_from(["1", " 2 ", "1e400", "x", "", "NA", None, 3, 2.5, True, [1], 10**400, float("nan")])))
def test_a_value_means_the_same_whatever_stands_beside_it(fields):
    values, rejects = numbers("x", fields, range(len(fields)))
    alone = [numbers("x", [field], [i]) for i, field in enumerate(fields)]
    np.testing.assert_array_equal(values, [one[0][0] for one in alone])
    assert rejects == [reject for one in alone for reject in one[1]]


@given(st.lists(st.tuples(st.integers(1, 99), st.sampled_from("ab")), min_size=1))
def test_faults_are_counted_by_reason_with_the_lowest_line(found):
    faults = Faults()
    faults.add(Reject(line, reason) for line, reason in found)
    for fault in faults:
        lines = [line for line, reason in found if reason == fault.reason]
        assert (fault.number, fault.first_line) == (len(lines), min(lines))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("login", "holds text ('login' in line 2); to watch it as categories"),
        ("1,000", "holds numbers with commas"),
        ("1,5", "holds numbers with commas"),
        ("1_000", "holds text"),
        ("2026-01-01", "holds times ('2026-01-01' in line 2); watch another column, and this one says when: --time x"),
    ],
)
def test_a_column_that_is_not_of_numbers_is_refused_by_what_it_holds_and_by_its_file(text, said):
    with pytest.raises(ConfigError, match=r"a\.csv: column 'x' ") as refusal:
        KindCheck(["x"], "a.csv").look("x", [text] * 100, range(2, 102))
    assert said in str(refusal.value)


def test_one_number_among_the_first_values_makes_a_column_numeric():
    check = KindCheck(["x"], "a.csv")
    check.look("x", ["a"] * 99 + ["1"] + ["a"] * 500, range(600))
    check.finish()


def test_a_reference_that_matured_near_the_end_was_watched_beside_long_before():
    outcome = streamkl("watch", "-", "--value", "x", stdin=csv_of(np.random.default_rng(3).standard_normal(1250).round(6).tolist()))
    assert "reference: 1,200 observations" in outcome.err
    assert "its reference was complete only" not in outcome.err


def test_the_diagnosis_of_a_stream_stands_once_in_the_summary_and_tells_of_the_stride_that_was_found():
    values, rng = [0.0], np.random.default_rng(8)
    for shock in rng.standard_normal(2500):
        values.append(0.9 * values[-1] + shock)
    arguments = ("watch", "-", "--value", "x", "--on-drift", "hold", "--warmup", "1200", "--mature-until", "0")
    outcome = streamkl(*arguments, stdin=csv_of(values))
    det = Detector(warmup=1200, on_drift="hold", mature_until=0)
    det.update_many(values)
    assert det.stride > 10
    told = [line.strip().removeprefix("note: ") for line in outcome.err.splitlines()]
    for sentence in det.diagnosis():
        assert told.count(sentence) == 1
    assert f"1 in {det.stride} feeds the alarm" in outcome.err
    assert "the budget does not hold" not in outcome.err
    capped = streamkl(*arguments, "--stride", "1", stdin=csv_of(values)).err
    fitting = max(det.autocorrelation.lag, math.ceil(det.autocorrelation.tau / 2))
    assert f"at stride 1 the budget does not hold; stride {fitting} fits" in capped


def test_a_stream_that_waits_for_more_autocorrelation_times_says_how_long_and_extend_1_does_not_wait():
    values = np.repeat(np.random.default_rng(9).standard_normal(50), 20).tolist()
    outcome = streamkl("watch", "-", "--value", "x", stdin=csv_of(values))
    assert "the warm-up was extended from 600 to 1,200 observations, at most 2,400" in outcome.err
    assert "x: watching" in streamkl("watch", "-", "--value", "x", "--extend", "1", stdin=csv_of(values)).err
