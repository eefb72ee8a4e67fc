"""The command corrector, with real programs: what they get, how they end, and what they leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from receiver import RAISED, event

from streamkl.adapters.command import KEPT_BYTES, Command
from streamkl.errors import ConfigError, RecordError, Unavailable

PYTHON = [sys.executable, "-I", "-c"]


def program(code: str, *arguments: str) -> list[str]:
    return [*PYTHON, code, *arguments]


def refusal(command: Command) -> Exception:
    with pytest.raises((RecordError, Unavailable)) as caught:
        command(RAISED)
    return caught.value


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def dies(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process that was killed is gone: a busy machine takes a moment."""
    until = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not is_alive(pid)


def written(path: Path, seconds: float = 10.0) -> str:
    until = time.monotonic() + seconds
    while not path.exists() or not path.read_text():
        assert time.monotonic() < until, f"{path} was not written"
        time.sleep(0.01)
    return path.read_text()


# ---------------------------------------------------------------- what it gets


def test_the_program_reads_the_event_as_json_from_standard_input(tmp_path):
    Command(program("import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(tmp_path / "got")))(RAISED)
    assert json.loads((tmp_path / "got").read_text()) == RAISED.to_dict()
    assert (tmp_path / "got").read_text().count("\n") == 1


def test_no_shell_reads_anything(tmp_path, monkeypatch):
    """Neither the arguments, nor an event whose names are made of a shell's words."""
    monkeypatch.chdir(tmp_path)
    evil = "$(touch pwned); `touch pwned` && touch pwned | touch pwned\n touch pwned"
    code = "import sys, json; open('got', 'w').write(json.dumps([sys.argv[1:], json.load(sys.stdin)['stream']]))"
    Command(program(code, "$HOME", evil, "*", "~"))(event(stream=evil, group=evil, reason=evil))
    assert json.loads((tmp_path / "got").read_text()) == [["$HOME", evil, "*", "~"], evil]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["got"]


def test_the_environment_is_minimal_and_holds_no_secret(tmp_path, monkeypatch):
    for name in ("KAFKA_PASSWORD", "STREAMKL__SOURCE__GROUP", "LD_PRELOAD_NOT", "WANTED", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("TZ", "UTC")
    code = "import os, sys, json; open(sys.argv[1], 'w').write(json.dumps(dict(os.environ)))"
    Command(program(code, str(tmp_path / "got")), environment=["WANTED", "NOT_THERE"])(RAISED)
    found = json.loads((tmp_path / "got").read_text())
    assert found.pop("WANTED") == "hunter2"
    assert "hunter2" not in found.values()
    assert set(found) <= {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}
    assert found["TZ"] == "UTC"


def test_no_file_of_ours_is_open_in_the_program(tmp_path):
    with open(tmp_path / "secret", "w") as secret:
        os.set_inheritable(secret.fileno(), True)
        code = "import os, sys; open(sys.argv[1], 'w').write(' '.join(os.listdir('/proc/self/fd')))"
        Command(program(code, str(tmp_path / "got")))(RAISED)
        assert str(secret.fileno()) not in (tmp_path / "got").read_text().split()[:3]
    assert len((tmp_path / "got").read_text().split()) <= 5     # three, the folder that is listed, and the file that is written


def test_a_program_that_does_not_read_is_fine_however_long_the_event():
    Command(program("pass"))(event(reason="x" * 1_000_000))


def test_the_program_starts_where_it_is_told(tmp_path):
    Command(program("open('got', 'w').write('1')"), folder=str(tmp_path))(RAISED)
    assert (tmp_path / "got").exists()


# ---------------------------------------------------------------- how it ends


@pytest.mark.parametrize(("code", "kind"), [(0, None), (65, RecordError), (1, Unavailable), (75, Unavailable), (2, Unavailable), (127, Unavailable)])
def test_the_exit_code_says_what_becomes_of_the_event(code, kind):
    command = Command(program(f"import sys; sys.stderr.write('no\\x1b[31m model\\nhere'); sys.exit({code})"))
    if kind is None:
        command(RAISED)
        return
    error = refusal(command)
    assert type(error) is kind
    assert f"exit code {code}: no [31m model here" in str(error)


def test_the_code_that_means_never_again_can_be_chosen():
    three = program("raise SystemExit(3)")
    assert isinstance(refusal(Command(three, never_again=3)), RecordError)
    assert isinstance(refusal(Command(three, never_again=None)), Unavailable)
    assert isinstance(refusal(Command(program("raise SystemExit(65)"), never_again=None)), Unavailable)


def test_a_program_that_a_signal_ends_is_tried_again():
    error = refusal(Command(program("import os; os.kill(os.getpid(), 9)")))
    assert isinstance(error, Unavailable)
    assert "signal 9" in str(error)


def test_a_program_that_is_not_there_is_tried_again(tmp_path):
    (tmp_path / "data").write_text("no program")
    for path in (tmp_path / "missing", tmp_path / "data", tmp_path):
        error = refusal(Command([str(path)]))
        assert isinstance(error, Unavailable)
        assert "cannot be started" in str(error)


def test_what_it_writes_is_kept_up_to_a_bound_and_never_holds_it_up():
    floods = "for _ in range(2000): sys.stderr.write('x' * 10_000)\nfor _ in range(2000): sys.stdout.write('y' * 10_000)"
    code = f"import sys\n{floods}\nsys.stderr.write('the end')\nsys.exit(1)"
    tracemalloc.start()
    error = refusal(Command(program(code)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(error).endswith("xxxthe end")
    assert len(str(error)) < KEPT_BYTES
    assert most < 1_000_000                          # of 20 million that were written


# ---------------------------------------------------------------- time


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-I', '-c', {child!r}, sys.argv[1]]); time.sleep(60)"
    began = time.monotonic()
    error = refusal(Command(program(parent, str(tmp_path / "pid")), timeout_seconds=3.0))
    assert 2.9 < time.monotonic() - began < 12
    assert isinstance(error, Unavailable)
    assert "took more than 3 s" in str(error)
    assert dies(int(written(tmp_path / "pid")))


def test_a_program_that_will_not_be_ended_is_killed(tmp_path):
    deaf = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    code = f"{deaf}; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    began = time.monotonic()
    refusal(Command(program(code, str(tmp_path / "pid")), timeout_seconds=2.0))
    assert time.monotonic() - began < 12
    assert dies(int(written(tmp_path / "pid")))


def test_a_program_that_ends_in_order_when_asked_to_may_say_why():
    end = "def end(*_):\n    sys.stderr.write('half of it')\n    sys.exit(0)"
    code = f"import signal, sys, time\n{end}\nsignal.signal(signal.SIGTERM, end)\ntime.sleep(60)"
    error = refusal(Command(program(code), timeout_seconds=2.0))
    assert isinstance(error, Unavailable)             # it was not done, whatever its code
    assert "half of it" in str(error)


def test_what_a_program_leaves_running_on_purpose_is_not_waited_for_and_lives_on(tmp_path):
    child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-I', '-c', {child!r}, sys.argv[1]]); sys.exit(0)"
    began = time.monotonic()
    Command(program(parent, str(tmp_path / "pid")), timeout_seconds=30.0)(RAISED)
    assert time.monotonic() - began < 10
    pid = int(written(tmp_path / "pid"))
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_close_ends_what_runs(tmp_path):
    command = Command(program("import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)", str(tmp_path / "pid")))
    errors: list[Exception] = []
    thread = threading.Thread(target=lambda: errors.append(refusal(command)))
    thread.start()
    pid = int(written(tmp_path / "pid"))
    command.close()
    thread.join(10)
    assert dies(pid)
    assert "signal 9" in str(errors[0])
    command.close()


def test_nothing_is_left_open(tmp_path):
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    commands = [Command(program("raise SystemExit(1)")), Command(program("pass")), Command([str(tmp_path / "missing")])]
    for command in commands:
        with contextlib.suppress(Unavailable):
            command(RAISED)
    before = open_files()
    for command in commands * 3:
        with contextlib.suppress(Unavailable):
            command(RAISED)
    assert open_files() == before


@pytest.mark.parametrize(("arguments", "settings"), [
    ("rm -rf /", {}), ([], {}), (["a\0b"], {}), ([7], {}), (["true"], {"timeout_seconds": 0}), (["true"], {"never_again": 0}),
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(arguments, settings):
    with pytest.raises(ConfigError):
        Command(arguments, **settings)
