"""Notes: why a stream could not have alarmed, or hardly, and what to do about it.

Rule: a note names what was found in this stream, with its numbers, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator

from streamkl.app.event_line import share
from streamkl.app.label import label
from streamkl.detect.detector import Detector
from streamkl.detect.watching import LONGEST_LAG
from streamkl.service.streams import Stream
from streamkl.service.tally import Tally

REFERENCE_NEEDS = 100  # values that are not missing
USELESS_SHARE = 0.9  # of `other` in a reference: what changes among the rest hardly moves the divergence
FEW_WATCHED = 100  # observations after the reference was complete
AS_CATEGORIES = "to watch them as categories: --kind categorical"


def notes(stream: Stream) -> Iterator[str]:
    """Yield why a stream could not have alarmed, or hardly."""
    detector, tally = stream
    if detector.state == "learning":
        yield _learning(tally)
        return
    if tally.learned is not None and (after := tally.observations - tally.learned.index - 1) < FEW_WATCHED:
        yield f"its reference was complete only in line {tally.learned.position:,}: an alarm was possible in the last {after:,} observations alone"
    yield from _correlation(detector)
    labels, _, reference = detector.histogram()
    counts = {name: n for name, n in zip(labels, reference.tolist(), strict=True) if n}
    named = [name for name in counts if name not in ("other", "missing")]
    other = counts.get("other", 0) / sum(counts.values())
    if other >= USELESS_SHARE:
        yield f"{share(other)} of its reference is `other`: its values hardly repeat, so changes among them cannot alarm; watch something coarser"
    elif len(named) == 1 and not other:
        yield f"its reference has one distinct value ({label(named[0])}): only another value, or a missing one, can be drift"


def _correlation(detector: Detector) -> Iterator[str]:
    found, reference = detector.autocorrelation, detector.reference
    if found is None or reference is None or found.is_weak(detector.stride):
        return
    if found.lag >= int(reference.m) // LONGEST_LAG:
        yield f"its values follow each other throughout the reference's {reference.m:,.0f}: no budget holds; a longer --warmup may name a --stride"
    else:
        yield f"its values follow each other (for about {found.tau:.0f}): expect more alarms than the budget; --stride {found.lag} fits better"


def _learning(tally: Tally) -> str:
    usable = tally.observations - tally.missing
    if not usable and tally.texts == tally.observations:
        return f"not one number among its values ({tally.texts:,} texts); {AS_CATEGORIES}"
    why = f"; {tally.texts:,} are texts: {AS_CATEGORIES}" if 2 * tally.texts >= tally.missing > 0 else ""
    if not usable:
        return f"all its values are missing: there is nothing to learn a reference from{why}"
    if 2 * tally.missing >= tally.observations and usable < REFERENCE_NEEDS:
        missing = f"{tally.missing:,} of {tally.observations:,} values are missing"
        return f"{missing}: {usable:,} can be used, and a reference needs {REFERENCE_NEEDS}{why}"
    return "still learning its reference: no alarm was possible; give it more rows, or a smaller --warmup"
