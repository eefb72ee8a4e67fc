"""Report: what was seen in one file, for a person.

Rule 1: streams with episodes come first; what does not fit is counted, never dropped in silence.
Rule 2: a stream that could not have alarmed says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from streamkl.app.event_line import alarm, changed, changed_in, far, moment, place
from streamkl.app.label import label
from streamkl.app.notes import notes
from streamkl.service.streams import Stream, Streams
from streamkl.service.tally import Episode
from streamkl.sketch.histogram import Histogram

STREAMS_SHOWN = 20
EPISODES_SHOWN = 10
FOLDED_FROM = 4  # learning streams of the same note
NAMES_SHOWN, NAME_LENGTH = 3, 30
ENDINGS = {"drift.resolved": "resolved", "reference.rebaselined": "rebaselined"}


def report(streams: Streams, name: str, is_interrupted: bool = False) -> str:
    """Return the summary of a source, several lines, the last one ended."""
    all_streams = list(streams)
    drifted = [stream for stream in all_streams if stream.tally.raised]
    calm = [stream for stream in all_streams if not stream.tally.raised]
    stopped = " before it was interrupted" if is_interrupted else ""
    read = f"{counted(streams.rows, 'row')} read{stopped}, {counted(len(all_streams), 'stream')}, {len(drifted):,} with drift"
    lines = [f"{label(name)}: {read if streams.rows or is_interrupted else 'no rows after the header'}"]
    folded, single = _folded(calm)
    told = drifted + single
    for stream in told[:STREAMS_SHOWN]:
        lines += [f"  {line}" for line in _stream_lines(stream)]
    lines += [f"  {line}" for line in folded]
    lines += _rest_lines(told[STREAMS_SHOWN:])
    lines += _fault_lines(streams)
    return "\n".join(lines) + "\n"


def nothing_watched(streams: Streams) -> str:
    """Return why not one value was watched though there were rows, and what to do; "" where all is well."""
    if not streams.rows or any(True for _ in streams):
        return ""
    reasons = [fault.reason for fault in streams.faults]
    if all(reason.startswith(("not JSON", "JSON, but")) for reason in reasons):
        return "nothing was watched, no line is a JSON object; if it is CSV: --format csv; if one document: jq -c '.[]' makes it one object a line"
    return f"nothing was watched, not one of {counted(streams.rows, 'row')} could be used ({'; '.join(reasons)}); is the --format right?"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "row"), counted(12345, "row")
    ('1 row', '12,345 rows')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _folded(calm: list[Stream]) -> tuple[list[str], list[Stream]]:
    """Return one line for each note that several learning streams have, and the streams that it does not cover."""
    by_note: dict[str, list[Stream]] = {}
    single = []
    for stream in calm:
        if stream.detector.state == "learning":
            by_note.setdefault("; ".join(notes(stream)), []).append(stream)
        else:
            single.append(stream)
    lines: list[str] = []
    for note, streams in by_note.items():
        if len(streams) < FOLDED_FROM or len(lines) == STREAMS_SHOWN:
            single += streams
            continue
        names = ", ".join(label(stream.tally.stream, NAME_LENGTH) for stream in streams[:NAMES_SHOWN])
        lines.append(f"{len(streams):,} streams ({names}, ...): {note}")
    return lines, single


def _stream_lines(stream: Stream) -> Iterator[str]:
    detector, tally = stream
    asides = [f"{tally.missing:,} missing"] if tally.missing else []
    asides += [f"{tally.out_of_order:,} out of order"] if tally.out_of_order else []
    aside = f" ({', '.join(asides)})" if asides else ""
    yield f"{label(tally.stream)}: {detector.state}, {counted(tally.observations, 'observation')}{aside}"
    if detector.state != "learning" and not _stands_still(detector.histogram()):
        seen = f"; the alarm looks at {detector.criterion()[0].kl:.3g}" if detector.criterion()[0].source != "raise_at" else ""
        yield "  now " + far({"kl": detector.divergence("kl"), "js": detector.divergence("js")}) + seen
    if detector.state != "learning":
        yield f"  {detector.diagnosis()[0]}"
    for note in notes(stream):
        yield f"  note: {note}"
    for episode in tally.episodes[:EPISODES_SHOWN]:
        yield from (f"  {line}" for line in _episode_lines(episode))
    if tally.raised > EPISODES_SHOWN:
        yield f"  and {counted(tally.raised - EPISODES_SHOWN, 'more episode')}"


def _stands_still(histogram: Histogram) -> bool:
    """Return whether the window and the reference hold one and the same value: no number says that better."""
    is_seen = histogram.reference > 0
    return int(is_seen.sum()) == 1 and bool((is_seen == (histogram.window > 0)).all())


def _episode_lines(episode: Episode) -> Iterator[str]:
    raised, ended = episode.raised, episode.ended
    if ended is None:
        span = f"{place(raised)}, still open"
    else:
        until = "" if ended.at is None else f" at {moment(ended.at)}"
        span = f"{place(raised)} to line {ended.position:,}{until}, {ENDINGS.get(ended.kind, ended.kind)}"
    yield f"episode {raised.episode}: {span}"
    yield from (f"  {line}" for line in (alarm(raised), changed(raised.changed, changed_in(raised))) if line)


def _rest_lines(rest: list[Stream]) -> Iterator[str]:
    if not rest:
        return
    drifted = sum(1 for stream in rest if stream.tally.raised)
    learning = sum(1 for stream in rest if stream.detector.state == "learning")
    yield f"  and {counted(len(rest), 'more stream')}: {drifted:,} with drift, {learning:,} still learning"


def _fault_lines(streams: Streams) -> Iterator[str]:
    if not len(streams.faults):
        return
    yield "  bad rows and values:"
    for fault in streams.faults:
        example = f": '{label(fault.example)}'" if fault.example else ""
        yield f"    {counted(fault.number, 'time')}, {label(fault.reason, 160)}, first in line {fault.first_line:,}{example}"
