"""`streamkl watch`, run for real; what it says is compared with a Detector that is fed the same values one by one."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program import QUICK, csv_of, shifted, streamkl

from streamkl import Detector
from streamkl.app import build
from streamkl.service.observations import Watched
from streamkl.service.watch import watch


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
    kinds = [event["kind"] for event in outcome.events if not event["reason"].startswith("matured")]
    assert kinds[:3] == ["reference.learned", "drift.raised", "reference.rebaselined"]


def test_without_options_the_settings_are_those_of_detector():
    values = shifted(4000, 2000)
    outcome = streamkl("watch", "-", "--value", "x", "--json", stdin=csv_of(values))
    expected = Detector(name="x").update_many(values)
    assert facts(outcome.events) == plain(expected)
    assert expected


def test_every_option_reaches_the_detector():
    values = shifted(2000, 700, 1.0)
    options = ("--warmup", 200, "--false-alarms", "1 per 5000 events", "--window", 80, "--min-effect", "none", "--stride", 2, "--on-drift", "hold")
    options += ("--extend", 2, "--mature-until", 500)
    outcome = streamkl("watch", "-", "--value", "x", "--json", *options, stdin=csv_of(values))
    settings = {"window": 80, "min_effect": None, "stride": 2, "on_drift": "hold", "extend": 2, "mature_until": 500}
    expected = one_by_one(values, name="x", warmup=200, false_alarms="1 per 5000 events", **settings)
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
