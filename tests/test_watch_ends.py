"""How `streamkl watch` ends: exit codes, closed and full outputs, signals, terminals."""

from __future__ import annotations

import gzip
import inspect
import os
import re
import signal
import subprocess
import sys

import pytest
from program import COMMAND, QUICK, csv_of, shifted, streamkl

from streamkl import Detector


def test_strict_stops_at_the_first_bad_row_and_tells_the_events_before_it():
    values = shifted()
    calm = streamkl("watch", "-", "--value", "x", "--json", *QUICK, stdin=csv_of(values[:800]))
    text = csv_of([*values[:800], "bad", *values[800:], "worse"])
    outcome = streamkl("watch", "-", "--value", "x", "--json", "--strict", *QUICK, stdin=text)
    assert outcome.code == 2
    assert "line 802: column x: not a number: 'bad'" in outcome.err
    assert "worse" not in outcome.err
    assert outcome.out == calm.out


def test_strict_tells_the_bad_line_before_what_comes_after_it_and_counts_no_row_beyond(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1\n" + "a,1\n" * 200)
    outcome = streamkl("watch", path, "--value", "x", "--strict")
    assert "line 2: fewer fields than the header: '1 of 2'; without --strict it is counted, and the run goes on" in outcome.err
    assert "1 row read" in outcome.err
    of_text = streamkl("watch", "-", "--value", "x", "--strict", stdin=csv_of(["login"] * 200))
    assert "line 2: column x: not a number: 'login'; if its column holds text: --kind categorical" in of_text.err


def test_fail_on_drift_exits_1_only_where_there_was_drift():
    options = ("--value", "x", "--fail-on-drift", *QUICK)
    assert streamkl("watch", "-", *options, stdin=csv_of(shifted())).code == 1
    assert streamkl("watch", "-", *options, stdin=csv_of(shifted(500, 500))).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--value", "x", "--warmup", 5), "--warmup 5 "),
        (("--value", "x", "--min-effect", "much"), "--min-effect 'much'"),
        (("--value", "x", "--stride", "few"), "--stride 'few'"),
        (("--value", "x", "--extend", "0"), "--extend 0 must be a whole number of at least 1"),
        (("--value", "x", "--false-alarms", "never"), "--false-alarms 'never'"),
        (("--value", "x", "--window", "0"), "--window 0 "),
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


def test_help_says_what_each_setting_is_by_default():
    said = " ".join(streamkl("watch", "--help").out.split())
    for name in ("warmup", "false_alarms", "min_effect", "stride", "on_drift", "kind"):
        assert f"Default: {inspect.signature(Detector).parameters[name].default}" in said
    assert "[COL]" not in said


def test_a_file_given_as_a_column_is_told_where_files_go(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x\n1\n")
    for arguments in ((tmp_path / "a.csv", tmp_path / "b.csv", "--value", "x"), ("--value", "a", "x", tmp_path / "a.csv")):
        outcome = streamkl("watch", *arguments)
        assert outcome.code == 2
        assert "one FILE at a time, and first" in outcome.err


def test_watch_loads_nothing_heavy():
    heavy = "{'rich', 'pydantic', 'kafka', 'river', 'scipy', 'pandas', 'structlog'}"
    code = f"import sys; import streamkl.app.cli; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True).stdout == "set()\n"


# ---------------------------------------------------------------- outputs that are closed, full or left


def shell(script, *arguments, stdin=b""):
    """Run `script` in a shell in which "$@" is streamkl with these arguments; a shell says how each of its programs ended."""
    command = ["bash", "-c", script, "bash", *COMMAND, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("options", "text", "code"),
    [(("--value", "x"), "x\n1\n", 4), (("--value", "y"), "x\n1\n", 2), (("--value", "x", "--warmup", 1), "x\n1\n", 2), (("--wrong",), "", 2)],
)
def test_a_standard_error_that_cannot_be_written_is_not_taken_for_drift(options, text, code):
    done = shell('"$@" 2>/dev/full', "watch", "-", *options, stdin=text.encode())
    assert (done.returncode, done.stderr) == (code, b"")


def test_drift_is_told_by_the_exit_code_and_the_summary_though_the_reader_of_the_events_has_left():
    script = '"$@" | head -n 1; exit ${PIPESTATUS[0]}'
    text = csv_of(i % 50 + 1000 * (i // 300) for i in range(200_000)).encode()
    done = shell(script, "watch", "-", "--value", "x", "--fail-on-drift", *QUICK, stdin=text)
    assert done.returncode == 1
    assert done.stdout.count(b"\n") == 1
    assert b"200,000 rows read, 1 stream, 1 with drift" in done.stderr


def test_the_exit_code_stands_though_nobody_reads_the_summary():
    script = '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}'
    text = csv_of(shifted()).encode()
    assert shell(script, "watch", "-", "--value", "x", "--fail-on-drift", *QUICK, stdin=text).returncode == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output_is_as_good_as_none(closed):
    done = shell(f'"$@" {closed}', "watch", "-", "--value", "x", "--fail-on-drift", *QUICK, stdin=csv_of(shifted()).encode())
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert (b"1 with drift" in done.stderr) == (closed == ">&-")


def test_a_terminated_run_prints_the_summary_so_far_and_exits_143():
    program = [*COMMAND, "watch", "-", "--value", "x", "--json", *map(str, QUICK)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdin.write(csv_of(shifted()).encode())
        run.stdin.flush()
        assert b"reference.learned" in run.stdout.readline()
        run.send_signal(signal.SIGTERM)
        said = run.stderr.read().decode()
        run.stdin.close()
        run.stdout.read()
    assert run.returncode == 143
    assert "before it was interrupted, 1 stream" in said


# ---------------------------------------------------------------- a terminal


def on_a_terminal(*arguments):
    """What a terminal of 80 columns gets."""
    leader, follower = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen([*COMMAND, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env=environment) as run:
        os.close(follower)
        seen = b""
        try:
            while block := os.read(leader, 65536):
                seen += block
        except OSError:  # the terminal is gone
            pass
    os.close(leader)
    assert run.returncode == 0
    return seen.decode()


def test_on_a_terminal_an_event_is_the_same_line_as_elsewhere(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of(shifted()))
    elsewhere = streamkl("watch", path, "--value", "x", *QUICK).out.splitlines()
    seen = on_a_terminal("watch", path, "--value", "x", *QUICK)
    assert elsewhere
    assert all(f"{line}\r\n" in seen for line in elsewhere)


def test_json_on_a_terminal_is_one_object_a_line_and_no_bar(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of(shifted()))
    elsewhere = streamkl("watch", path, "--value", "x", "--json", *QUICK)
    assert on_a_terminal("watch", path, "--value", "x", "--json", *QUICK).replace("\r\n", "\n") == elsewhere.out + elsewhere.err


def test_the_bar_fits_a_terminal_of_80_columns(tmp_path):
    path = tmp_path / ("a_rather_long_name_of_a_file" * 3 + ".csv")
    path.write_text(csv_of(i % 10 for i in range(300_000)))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", on_a_terminal("watch", path, "--value", "x"))
    bars = [line for line in re.split("[\r\n]+", shown) if " rows" in line and "read" not in line]
    assert any("300,000 rows" in bar or "rows 0:00:0" in bar for bar in bars)
    assert all("…" not in bar and "?" not in bar for bar in bars)


def test_on_a_terminal_there_is_a_bar_and_elsewhere_none(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of(shifted()))
    seen = on_a_terminal("watch", path, "--value", "x", *QUICK)
    assert "\x1b[" in seen
    assert "DRIFT" in seen
    quiet = streamkl("watch", path, "--value", "x", *QUICK)
    assert "\x1b" not in quiet.err + quiet.out
