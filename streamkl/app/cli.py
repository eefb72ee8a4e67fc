"""Command line: options in, exit code out.

Rule 1: drift events go to standard output, everything else to standard error.
Rule 2: one line per fault, and no traceback; only an unexpected error - a bug of ours - shows one.
Rule 3: exit codes: 0 fine, 1 drift found where asked, 2 usage or configuration, 3 stored state, 4 unavailable, 130 Ctrl-C, 143 SIGTERM; 70 a bug.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Literal

import typer

from streamkl.app import build
from streamkl.app.check import ConfiguredCommand, check
from streamkl.app.events import events
from streamkl.app.exit_code import EXIT_BUG, EXIT_UNAVAILABLE, EXIT_USAGE, Terminated, exit_code
from streamkl.app.label import label
from streamkl.app.options import DEFAULTS, settings
from streamkl.app.output import forget, open_missing, say
from streamkl.app.session import session
from streamkl.errors import StreamklError
from streamkl.service.observations import Watched

MESSAGE_LENGTH = 1000
WINDOW_HELP = "Values in the sliding window. Default: a quarter of the reference, between 100 and 1000."
MIN_EFFECT_HELP = f"Nats that a change must have to matter. Default: {DEFAULTS['min_effect']}."
EXTEND_HELP = f"Warm-ups at most, where values follow each other; 1: never more than one. Default: {DEFAULTS['extend']}."
MATURE_HELP = f"The reference goes on growing to so many values, while nothing drifts; 0: never. Default: {DEFAULTS['mature_until']}."
ON_DRIFT_HELP = f"Learn the new normal after a while, or not. Default: {DEFAULTS['on_drift']}."
CONFIG = typer.Argument(metavar="CONFIG", help="YAML file of the service.")
STREAMS = typer.Argument(metavar="STREAMS", help="Name of a stream; * is any text: 'payments/*'.")
AFTER = typer.Option("--for", metavar="TIME", help="Only of streams that drift now, and are in that episode still after so long: 30m, 2h, 1d12h.")
REASON = typer.Option("--reason", metavar="TEXT", help="Why; it stands in every event that comes of it, beside who.")
DRY_RUN = typer.Option("--dry-run", help="Send nothing; show each stored stream and its reference before and after.")

app = typer.Typer(name="streamkl", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def main() -> None:
    """Run the command line and exit."""
    open_missing()
    try:
        app()
    except OSError:  # of typer, which could not say how it is used
        forget()
        sys.exit(EXIT_USAGE)


def _version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        print(f"streamkl {version('streamkl')}")
        raise typer.Exit


@app.callback()
def streamkl(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Streaming drift detector: live divergence per stream, and alarms that keep a false-alarm budget."""


@app.command("watch", options_metavar="[OPTIONS] --value COL", context_settings={"allow_extra_args": True})
def watch_command(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or JSON Lines, gzip of either, or - for standard input.")],
    value: Annotated[list[str], typer.Option("--value", metavar="COL...", help="Column to watch; several may follow, or repeat it.")],
    key: Annotated[str | None, typer.Option(metavar="COL", help="One stream per value of this column, KEY/COL.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COL", help="Event time: ISO 8601 (UTC unless it says otherwise) or epoch.")] = None,
    kind: Annotated[Literal["numeric", "categorical"] | None, typer.Option(help=f"What the values are. Default: {DEFAULTS['kind']}.")] = None,
    format: Annotated[Literal["csv", "jsonl"] | None, typer.Option(help="Default: by name and first byte.")] = None,
    false_alarms: Annotated[str | None, typer.Option(metavar="TEXT", help=f"Per stream. Default: {DEFAULTS['false_alarms']}.")] = None,
    warmup: Annotated[int | None, typer.Option(metavar="N", help=f"Values learnt as the reference. Default: {DEFAULTS['warmup']}.")] = None,
    window: Annotated[int | None, typer.Option(metavar="N", help=WINDOW_HELP)] = None,
    min_effect: Annotated[str | None, typer.Option(metavar="X|none", help=MIN_EFFECT_HELP)] = None,
    extend: Annotated[int | None, typer.Option(metavar="N", help=EXTEND_HELP)] = None,
    mature_until: Annotated[int | None, typer.Option(metavar="N", help=MATURE_HELP)] = None,
    stride: Annotated[str | None, typer.Option(metavar="N|auto", help=f"Bet on every N-th value only. Default: {DEFAULTS['stride']}.")] = None,
    on_drift: Annotated[Literal["rebaseline", "hold"] | None, typer.Option(help=ON_DRIFT_HELP)] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Every drift event as one JSON object a line.")] = False,
    is_strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row, exit 2.")] = False,
    is_failing: Annotated[bool, typer.Option("--fail-on-drift", help="Exit 1 if there was drift.")] = False,
) -> None:
    """Find drift in a file: events to standard output, a summary to standard error.

    Exit codes: 0 fine, 1 drift with --fail-on-drift, 2 usage or configuration, 4 the file cannot be read, 130 Ctrl-C, 143 SIGTERM.
    """
    columns = tuple(dict.fromkeys((*value, *context.args)))
    typed = {
        "false_alarms": false_alarms, "warmup": warmup, "extend": extend, "mature_until": mature_until, "window": window,
        "min_effect": min_effect, "stride": stride, "on_drift": on_drift,
    }
    watched = Watched(columns, key, time, kind)

    def run() -> int:
        return session(build.Options(file, watched, format, settings(typed), is_strict), is_json, is_failing)

    raise typer.Exit(_guarded(run))


@app.command("run", cls=ConfiguredCommand)
def run_command(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file; streamkl check CONFIG finds its faults.")],
    discard: Annotated[
        list[str] | None, typer.Option("--discard-state", metavar="STREAMS", help="Give up the stored state of these streams; * is any text.")
    ] = None,
) -> None:
    """Consume topics, or a file, and publish drift events until SIGTERM or Ctrl-C, which finish the unit of work.

    Exit codes: 0 fine, 2 configuration, 3 stored state unusable, 4 a service is unavailable.
    """
    from streamkl.app.run import run

    raise typer.Exit(_guarded(lambda: run(config, discard or [])))


@app.command("correct", cls=ConfiguredCommand)
def correct_command(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file with a section correctors.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Correctors of it. Default: all.", show_default=False)] = None,
) -> None:
    """Tell the correctors of a configuration of drift events, until SIGTERM or Ctrl-C, which finish the event that each has.

    Exit codes: 0 fine, 2 configuration, 3 the store of a corrector is unusable, 4 a service is unavailable.
    """
    from streamkl.app.correct import correct

    raise typer.Exit(_guarded(lambda: correct(config, names or [])))


@app.command("check", cls=ConfiguredCommand)
def check_command(
    config: Annotated[str | None, typer.Argument(metavar="CONFIG", help="YAML file; with --schema it may be left out.", show_default=False)] = None,
    is_connecting: Annotated[bool, typer.Option("--connect", help="Also ask the broker: topics, partitions, rights, a sample of records.")] = False,
    is_schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the file.")] = False,
    is_state: Annotated[bool, typer.Option("--state", help="Also tell what a restart would make of each stored stream; a service may run.")] = False,
    discard: Annotated[
        list[str] | None, typer.Option("--discard-state", metavar="STREAMS", help="With --state: what `run` would make of it with this option.")
    ] = None,
) -> None:
    """Find every fault of a configuration, one line each, or say what it would run.

    Exit codes: 0 fine, 2 faults, 3 stored state would be refused, 4 the broker or the state is away.
    """
    raise typer.Exit(_guarded(lambda: check(config, is_connecting, is_schema, is_state, discard or [])))


@app.command("rebaseline", cls=ConfiguredCommand)
def rebaseline_command(
    config: Annotated[str, CONFIG], streams: Annotated[str, STREAMS], for_: Annotated[str | None, AFTER] = None,
    reason: Annotated[str | None, REASON] = None, is_dry_run: Annotated[bool, DRY_RUN] = False,
    is_undo: Annotated[bool, typer.Option("--undo", help="Take the last rebaseline back: the reference before it is the reference again.")] = False,
) -> None:
    """Make the new normal the reference: of a stream that drifts what was seen since the alarm, else what comes next.

    Exit codes: 0 fine, 2 usage or configuration, 3 the state cannot be read, 4 a service is unavailable.
    """
    _command(config, "undo" if is_undo else "rebaseline", streams, for_, reason, is_dry_run)


@app.command("silence", cls=ConfiguredCommand)
def silence_command(
    config: Annotated[str, CONFIG], streams: Annotated[str, STREAMS],
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="So long, in event time: 30m, 2h, 1d12h.")],
    reason: Annotated[str | None, REASON] = None, is_dry_run: Annotated[bool, DRY_RUN] = False,
) -> None:
    """Let correctors leave streams alone for a while; detection goes on. Exit codes as of rebaseline."""
    _command(config, "silence", streams, for_, reason, is_dry_run)


@app.command("unsilence", cls=ConfiguredCommand)
def unsilence_command(
    config: Annotated[str, CONFIG], streams: Annotated[str, STREAMS], reason: Annotated[str | None, REASON] = None,
    is_dry_run: Annotated[bool, DRY_RUN] = False,
) -> None:
    """End a silence now. Exit codes as of rebaseline."""
    _command(config, "unsilence", streams, None, reason, is_dry_run)


@app.command("forget", cls=ConfiguredCommand)
def forget_command(
    config: Annotated[str, CONFIG], streams: Annotated[str, STREAMS], reason: Annotated[str | None, REASON] = None,
    is_dry_run: Annotated[bool, DRY_RUN] = False,
) -> None:
    """Give up all that is known of streams; they begin anew with their next records. Exit codes as of rebaseline."""
    _command(config, "forget", streams, None, reason, is_dry_run)


@app.command("events")
def events_command(
    url: Annotated[str, typer.Argument(metavar="URL", help="kafka://HOST:PORT[,HOST:PORT]/TOPIC, sqlite:///PATH or file:///PATH (JSON lines).")],
    is_following: Annotated[bool, typer.Option("--follow", help="After the newest wait for more, until Ctrl-C.")] = False,
    is_json: Annotated[bool, typer.Option("--json", help="Every drift event as one JSON object a line.")] = False,
    config: Annotated[str | None, typer.Option(metavar="CONFIG", help="YAML file of the service, for its security settings of Kafka.")] = None,
) -> None:
    """Tell the drift events that a service published, oldest first, each once.

    Exit codes: 0 fine, 2 usage or configuration, 4 they cannot be read, 130 Ctrl-C, 143 SIGTERM.
    """
    raise typer.Exit(_guarded(lambda: events(url, is_following, is_json, config)))


def _command(config: str, name: str, streams: str, for_text: str | None, reason: str | None, is_dry_run: bool) -> None:
    from streamkl.app.command import command

    raise typer.Exit(_guarded(lambda: command(config, name, streams, for_text, reason, is_dry_run)))


def _guarded(run: Callable[[], int]) -> int:
    """Return the exit code of a command; say in one line what went wrong."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return run()
    except StreamklError as error:
        for line in getattr(error, "lines", (str(error),)):
            say(f"streamkl: {label(line, MESSAGE_LENGTH)}")
        return exit_code(error)
    except KeyboardInterrupt as error:
        return exit_code(error)
    except OSError as error:  # of an output: those of a source are Unavailable by now
        forget()
        say(f"streamkl: cannot write: {error.strerror or error}")
        return EXIT_UNAVAILABLE
    except Exception:
        say(f"{traceback.format_exc()}streamkl: this is a bug in streamkl; please report it with the lines above")
        return EXIT_BUG


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
