"""Report: what was seen in one file, for a person.

Rule 1: streams with episodes come first; what does not fit is counted, never dropped in silence.
Rule 2: a stream that could not have alarmed says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from streamkl.app.event_line import alarm, changed, far, moment, place
from streamkl.app.label import label
from streamkl.detect.detector import Detector
from streamkl.service.streams import Stream, Streams
from streamkl.service.tally import Episode

STREAMS_SHOWN = 20
EPISODES_SHOWN = 10
ENDINGS = {"drift.resolved": "resolved", "reference.rebaselined": "rebaselined"}


def report(streams: Streams, name: str, is_interrupted: bool = False) -> str:
    """Return the summary of a source, several lines, the last one ended."""
    all_streams = list(streams)
    drifted = [stream for stream in all_streams if stream.tally.raised]
    calm = [stream for stream in all_streams if not stream.tally.raised]
    stopped = " before it was interrupted" if is_interrupted else ""
    lines = [
        f"{label(name)}: {counted(streams.rows, 'row')} read{stopped}, "
        f"{counted(len(all_streams), 'stream')}, {len(drifted):,} with drift"
    ]
    shown = (drifted + calm)[:STREAMS_SHOWN]
    for stream in shown:
        lines += [f"  {line}" for line in _stream_lines(stream)]
    lines += _rest_lines((drifted + calm)[len(shown) :])
    lines += _fault_lines(streams)
    return "\n".join(lines) + "\n"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "row"), counted(12345, "row")
    ('1 row', '12,345 rows')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def notes(detector: Detector, observations: int, missing: int) -> Iterator[str]:
    """Yield why a stream could not have alarmed, or hardly."""
    if missing == observations:
        yield "all its values are missing: there is nothing to learn a reference from"
        return
    if detector.state == "learning":
        yield "still learning its reference: no alarm was possible; give it more rows, or a smaller --warmup"
        return
    histogram = detector.histogram()
    named = [name for name, n in zip(histogram.labels, histogram.reference, strict=True) if n and name not in ("other", "missing")]
    if not named:
        yield "its values hardly repeat: the reference keeps only `other` and `missing`, so it cannot alarm; watch something coarser"
    elif len(named) == 1:
        yield f"its reference has one distinct value ({label(named[0])}): only another value, or a missing one, can be drift"


def _stream_lines(stream: Stream) -> Iterator[str]:
    detector, tally = stream
    asides = [f"{tally.missing:,} missing"] if tally.missing else []
    asides += [f"{tally.out_of_order:,} out of order"] if tally.out_of_order else []
    aside = f" ({', '.join(asides)})" if asides else ""
    yield f"{label(tally.stream)}: {detector.state}, {counted(tally.observations, 'observation')}{aside}"
    if detector.state != "learning":
        yield "  now " + far({"kl": detector.divergence("kl"), "js": detector.divergence("js")})
    for note in notes(detector, tally.observations, tally.missing):
        yield f"  note: {note}"
    for episode in tally.episodes[:EPISODES_SHOWN]:
        yield from (f"  {line}" for line in _episode_lines(episode))
    if tally.raised > EPISODES_SHOWN:
        yield f"  and {counted(tally.raised - EPISODES_SHOWN, 'more episode')}"


def _episode_lines(episode: Episode) -> Iterator[str]:
    raised, ended = episode.raised, episode.ended
    if ended is None:
        span = f"{place(raised)}, still open"
    else:
        until = "" if ended.at is None else f" at {moment(ended.at)}"
        span = f"{place(raised)} to line {ended.position:,}{until}, {ENDINGS.get(ended.kind, ended.kind)}"
    yield f"episode {raised.episode}: {span}"
    yield f"  {alarm(raised)}"
    yield f"  over the last {raised.window_n:,}: {far(raised.divergence)}; {changed(raised.bins)}"


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
        yield f"    {fault.number:,} x {label(fault.reason, 160)}, first in line {fault.first_line:,}{example}"
