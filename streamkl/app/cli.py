"""Command line: options in, exit code out.

Rule 1: drift events go to standard output, everything else to standard error.
Rule 2: one line per fault, and no traceback; only an unexpected error - a bug of ours - shows one.
Rule 3: exit codes: 0 fine, 1 drift found where asked, 2 usage or configuration, 3 stored state, 4 unavailable, 130 Ctrl-C; 70 a bug.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Literal

import typer

from streamkl.app import build
from streamkl.app.event_line import event_line, is_told
from streamkl.app.label import label
from streamkl.app.progress import Progress
from streamkl.app.report import report
from streamkl.detect.event import DriftEvent
from streamkl.errors import ConfigError, StateError, StreamklError, Unavailable
from streamkl.service.streams import Streams, Watched
from streamkl.service.watch import watch

EXIT_DRIFT, EXIT_USAGE, EXIT_STATE, EXIT_UNAVAILABLE, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 4, 70, 130
MESSAGE_LENGTH = 1000

app = typer.Typer(name="streamkl", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


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


@app.command("watch", options_metavar="[OPTIONS] --value COL")
def watch_command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or JSON Lines, gzip of either, or - for standard input.")],
    value: Annotated[list[str], typer.Option("--value", metavar="COL...", help="Column to watch; several may follow, or repeat it.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="COL", hidden=True)] = None,
    key: Annotated[str | None, typer.Option(metavar="COL", help="One stream per value of this column, KEY/COL.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COL", help="Event time: ISO 8601 (UTC unless it says otherwise) or epoch.")] = None,
    kind: Annotated[Literal["numeric", "categorical"] | None, typer.Option(help="What the values are.")] = None,
    format: Annotated[Literal["csv", "jsonl"] | None, typer.Option(help="By name and first byte if not given.")] = None,
    false_alarms: Annotated[str | None, typer.Option(metavar="TEXT", help='Per stream, e.g. "1 per 1000000 events".')] = None,
    warmup: Annotated[int | None, typer.Option(metavar="N", help="Observations learnt as the reference.")] = None,
    window: Annotated[int | None, typer.Option(metavar="N", help="Observations in the sliding window.")] = None,
    min_effect: Annotated[str | None, typer.Option(metavar="X|none", help="Nats that a change must have to matter.")] = None,
    stride: Annotated[str | None, typer.Option(metavar="N|auto", help="Thinning of the evidence.")] = None,
    on_drift: Annotated[Literal["rebaseline", "hold"] | None, typer.Option(help="Learn the new normal after a while, or not.")] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Every drift event as one JSON object a line.")] = False,
    is_strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row, exit 2.")] = False,
    is_failing: Annotated[bool, typer.Option("--fail-on-drift", help="Exit 1 if there was drift.")] = False,
) -> None:
    """Find drift in a file: events to standard output, a summary to standard error.

    Exit codes: 0 fine, 1 drift with --fail-on-drift, 2 usage or configuration, 4 the file cannot be read, 130 Ctrl-C.
    """
    columns = tuple(dict.fromkeys((*value, *(more or ()))))

    def run() -> int:
        typed = {
            "false_alarms": None if false_alarms is None else build.false_alarms(false_alarms),
            "warmup": warmup,
            "window": window,
            "stride": None if stride is None else build.stride(stride),
            "on_drift": on_drift,
        }
        settings: dict[str, object] = {name: setting for name, setting in typed.items() if setting is not None}
        if min_effect is not None:
            settings["min_effect"] = build.min_effect(min_effect)
        return _watch(build.Options(file, Watched(columns, key, time, kind), format, settings, is_strict), is_json, is_failing)

    raise typer.Exit(_guarded(run))


def _watch(options: build.Options, is_json: bool, is_failing: bool) -> int:
    source, streams = build.parts(options)
    fault: StreamklError | None = None
    is_interrupted = False
    try:
        with Progress(label(source.name)) as progress:
            for events in watch(source, streams, options.is_strict):
                _tell(events, is_json)
                progress.show(*source.progress(), streams.rows)
    except StreamklError as error:
        fault = error
    except KeyboardInterrupt:
        is_interrupted = True
    if fault is None or (streams.rows and not isinstance(fault, ConfigError)):
        sys.stderr.write(report(streams, source.name, is_interrupted))
    if fault is not None:
        raise fault
    if is_interrupted:
        return EXIT_INTERRUPTED
    return EXIT_DRIFT if is_failing and _has_drift(streams) else 0


def _tell(events: list[DriftEvent], is_json: bool) -> None:
    for event in events:
        if is_json:
            print(event.to_json())
        elif is_told(event):
            print(event_line(event))
    if events:
        sys.stdout.flush()


def _has_drift(streams: Streams) -> bool:
    return any(stream.tally.raised for stream in streams)


def _guarded(run: Callable[[], int]) -> int:
    """Return the exit code of a command; say in one line what went wrong."""
    try:
        code = run()
        sys.stdout.flush()
        return code
    except StreamklError as error:
        print(f"streamkl: {label(str(error), MESSAGE_LENGTH)}", file=sys.stderr)
        return EXIT_STATE if isinstance(error, StateError) else EXIT_UNAVAILABLE if isinstance(error, Unavailable) else EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return 0
    except OSError as error:  # of standard output: those of a source are Unavailable by now
        _forget_output()
        print(f"streamkl: cannot write: {error.strerror or error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except Exception:
        traceback.print_exc()
        print("streamkl: this is a bug in streamkl; please report it with the lines above", file=sys.stderr)
        return EXIT_BUG


def _forget_output() -> None:
    """Let the interpreter's last flush go nowhere: nobody can take it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
