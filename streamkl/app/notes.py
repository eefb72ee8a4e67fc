"""Notes: why a stream could not have alarmed, or hardly, and what to do about it.

Rule: a note names what was found in this stream, with its numbers, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator

from streamkl.app.label import label
from streamkl.service.streams import Stream

SENTENCE_LENGTH = 200
REFERENCE_NEEDS = 100  # values that are not missing
FEW_WATCHED = 100  # observations after the reference was complete
AS_CATEGORIES = "to watch them as categories: --kind categorical"


def notes(stream: Stream) -> Iterator[str]:
    """Yield why a stream could not have alarmed, or hardly."""
    detector, tally = stream
    if detector.state == "learning":
        yield _learning(stream)
        return
    if tally.learned is not None and (after := tally.observations - tally.learned.index - 1) < FEW_WATCHED:
        yield f"its reference was complete only in line {tally.learned.position:,}: an alarm was possible in the last {after:,} observations alone"
    yield from (label(warning, SENTENCE_LENGTH) for warning in detector.diagnosis()[1:])


def _learning(stream: Stream) -> str:
    detector, tally = stream
    usable = tally.observations - tally.missing
    if not usable and tally.texts == tally.observations:
        return f"not one number among its values ({tally.texts:,} texts); {AS_CATEGORIES}"
    why = f"; {tally.texts:,} are texts: {AS_CATEGORIES}" if 2 * tally.texts >= tally.missing > 0 else ""
    if not usable:
        return f"all its values are missing: there is nothing to learn a reference from{why}"
    if 2 * tally.missing >= tally.observations and usable < REFERENCE_NEEDS:
        missing = f"{tally.missing:,} of {tally.observations:,} values are missing"
        return f"{missing}: {usable:,} can be used, and a reference needs {REFERENCE_NEEDS}{why}"
    if waits := "; ".join(detector.diagnosis()[1:]):
        return f"still learning its reference: no alarm was possible ({waits}); give it more rows, or --extend 1"
    return "still learning its reference: no alarm was possible; give it more rows, or a smaller --warmup (at least 100)"
