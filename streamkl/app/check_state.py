"""Check state: what a restart with a configuration would make of every stored stream.

Rule 1: one line per stream, sorted; of many with the same outcome and reason some are named and the others counted.
Rule 2: nothing is changed, and a service that runs is not disturbed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from streamkl.app.exit_code import EXIT_STATE
from streamkl.app.label import label
from streamkl.errors import StateError
from streamkl.service.feed import Feed
from streamkl.service.record import Partition
from streamkl.service.restoration import Finding, Policy, review, stock

if TYPE_CHECKING:
    from streamkl.app.build_state import StoredState
    from streamkl.app.config import Config

NAMED = 20              # streams of one outcome and reason
REASONS = 20            # of one outcome
LINE_LENGTH = 1000
FAULTS = ("refused", "unusable")
ORDER = ("refused", "unusable", "discarded", "relearned", "not watched any more", "new", "kept with new settings", "kept")
WIDTH = max(map(len, ORDER))


def check_state(config: Config, discard: Sequence[str]) -> int:
    """Print what would become of the stored state, and return the exit code. discard: globs of streams whose state would be given up.

    Raises ConfigError, Unavailable, and StateError where nothing of the state can be used.
    """
    from streamkl.app import build_service
    from streamkl.app.build_state import stored_state

    policy = Policy(config.state.on_incompatible == "relearn", tuple(discard))
    feeds, total = build_service.feeds(config), Counter[str]()
    with stored_state(config) as stored:
        for partition in stored.partitions:
            lines, counts = _partition(config.application, stored, partition, feeds, policy)
            for line in lines:
                print(label(line, LINE_LENGTH), flush=True)
            total.update(counts)
    has_fault = any(total[outcome] for outcome in FAULTS)
    told = ", ".join(f"{total[outcome]:,} {outcome}" for outcome in ORDER if total[outcome])
    print(f"in all: {told or 'nothing is stored'}{'; a restart would be refused' if has_fault else ''}")
    return EXIT_STATE if has_fault else 0


def _partition(
    application: str, stored: StoredState, partition: Partition, feeds: Sequence[Feed], policy: Policy
) -> tuple[list[str], Counter[str]]:
    """Return the lines of a partition, and how many streams have which outcome."""
    restored = stored.restore(partition)
    try:
        held = stock(application, partition, restored, policy)
    except StateError as error:
        return [f"{partition}: {'refused':<{WIDTH}} {error}"], Counter(refused=1)
    counts: Counter[str] = Counter()
    if held.entries.progress is None:
        lines = [f"{partition}: {'all that is stored would be discarded' if restored.entries else 'nothing is stored'}"]
    else:
        behind = held.processed - held.entries.progress.replay_from
        lines = [f"{partition}: replay from {held.replay_from}, processed {held.processed}, {behind:,} to read again"]
    try:
        lines[0] += f"; {stored.reached(partition, held.replay_from)}"
    except StateError as error:
        if not policy.is_all_discarded:             # who discards all begins where there is something to read
            lines.append(f"{partition}: {'refused':<{WIDTH}} {error}")
            counts["refused"] += 1
    findings = sorted(review(feeds, partition, held.entries, policy))
    counts.update(finding.outcome for finding in findings)
    return lines + [f"{partition}: {line}" for line in _told(findings)], counts


def _told(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines of a partition's streams, what needs attention first."""
    groups: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for finding in findings:
        groups[finding.outcome][finding.why].append(finding.stream)
    for outcome in ORDER:
        reasons = sorted(groups[outcome].items())
        for why, streams in reasons[:REASONS]:
            yield from (f"{outcome:<{WIDTH}} {stream}{': ' * bool(why)}{why}" for stream in streams[:NAMED])
            if len(streams) > NAMED:
                yield f"{outcome:<{WIDTH}} and {len(streams) - NAMED:,} more{': ' * bool(why)}{why}"
        if len(reasons) > REASONS:
            yield f"{outcome:<{WIDTH}} and {sum(len(streams) for _, streams in reasons[REASONS:]):,} more, for other reasons"
