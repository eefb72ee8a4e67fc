"""The first signal asks for an end in order; who sends it twice at once, as `timeout` does, asked once; a later one ends at once."""

import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from streamkl.app.stop_signal import stopped_by_signals

CHILD = """
    import sys, time
    from streamkl.app.stop_signal import stopped_by_signals
    asked = []
    with stopped_by_signals(asked.append):
        print("ready", flush=True)
        until = time.monotonic() + {seconds}
        while time.monotonic() < until:
            if asked:
                print("asked", flush=True)
                asked.clear()
            time.sleep(0.02)
    print("done", flush=True)
"""


def child(seconds):
    code = textwrap.dedent(CHILD.format(seconds=seconds))
    process = subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_is_sent_twice_at_once_asks_once(number):
    process = child(2.0)
    process.send_signal(number)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(number)
    printed, errors = process.communicate(timeout=10)
    assert (process.returncode, printed, errors) == (0, "done\n", "")


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "Terminated"), (signal.SIGINT, "KeyboardInterrupt")])
def test_a_second_one_later_ends_at_once(number, name):
    process = child(60.0)
    process.send_signal(number)
    assert process.stdout.readline() == "asked\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode != 0
    assert name in errors.splitlines()[-1]


def test_handlers_are_put_back_and_other_threads_leave_them_alone():
    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_signals(lambda name: None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    found = []

    def elsewhere():
        with stopped_by_signals(lambda name: None):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [before]
