"""Session: one run of `streamkl watch`, from the first byte to the summary.

Rule: the summary comes however the run ends, unless there is nothing to sum up or nobody to read the events asked for more.
"""

from __future__ import annotations

from streamkl.app import build
from streamkl.app.exit_code import EXIT_DRIFT, exit_code
from streamkl.app.label import label
from streamkl.app.output import EventOutput, write_summary
from streamkl.app.progress import Progress
from streamkl.app.report import nothing_watched, report
from streamkl.errors import ConfigError, StreamklError
from streamkl.service.streams import Streams
from streamkl.service.watch import watch


def session(options: build.Options, is_json: bool, is_failing: bool) -> int:
    """Watch a file and return the exit code. is_failing: drift is exit code 1.

    Raises StreamklError as `watch` does, after the summary of what was read; OSError where an output cannot be written.
    """
    source, streams = build.parts(options)
    output = EventOutput(is_json)
    end: StreamklError | KeyboardInterrupt | None = None
    try:
        with Progress(label(source.name), is_wanted=not is_json) as progress:
            for events in watch(source, streams, options.is_strict):
                if lines := output.lines(events):
                    with progress.hidden():
                        output.write(lines)
                if not output.is_read and not is_failing:
                    return 0  # nobody listens, and nobody asks for more
                progress.show(*source.progress(), streams.rows)
    except (StreamklError, KeyboardInterrupt) as error:
        end = error
    return _ended(streams, source.name, end, is_failing)


def _ended(streams: Streams, name: str, end: StreamklError | KeyboardInterrupt | None, is_failing: bool) -> int:
    is_stopped = isinstance(end, KeyboardInterrupt)
    if end is None or is_stopped or (streams.rows and not isinstance(end, ConfigError)):
        write_summary(report(streams, name, is_stopped))
    if isinstance(end, StreamklError):
        raise end
    if end is not None:
        return exit_code(end)
    if reason := nothing_watched(streams):
        raise ConfigError(f"{name}: {reason}")
    return EXIT_DRIFT if is_failing and any(stream.tally.raised for stream in streams) else 0
