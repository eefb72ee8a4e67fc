"""Diagnosis: what a stream's reference is worth, in sentences: what was found, what it means, what would help.

Rule 1: the first sentence is always there; every other one is a warning that names its number.
Rule 2: it is about the reference, not about the window: it stays the same until another reference is learnt.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np

from streamkl.detect.autocorrelation import WEAK
from streamkl.detect.criterion import CEILING, FACTOR, LEAST_WINDOW
from streamkl.detect.guarantee import is_capped
from streamkl.detect.learning import Learning
from streamkl.detect.maturing import Maturing
from streamkl.detect.study import COVERAGE, LEAST_COVERAGE, LONGEST_LAG, covers
from streamkl.detect.watching import Watching
from streamkl.sketch.bins import LEAST_REFERENCE

SHORT = 1000                # observations below which a reference is called short
RESTLESS = 0.7              # share of the ceiling above which a reference is not one regime
SEEN_AFTER = 10             # bets that a large change needs before it is seen
HARDLY = 0.9                # share of `other` from which categories hardly repeat


def diagnosis(watching: Watching, maturing: Maturing | None) -> list[str]:
    """Return what the reference is worth: what was found, then warnings. maturing: it still grows."""
    return [_found(watching), *_warnings(watching, maturing)]


def diagnosis_of_learning(learning: Learning) -> list[str]:
    """Return why no alarm is possible yet."""
    return [f"still learning its reference: {learning.seen:,} of {learning.needed:,} observations; no alarm is possible yet", *_delays(learning)]


def _delays(learning: Learning) -> Iterator[str]:
    present = learning.values.present
    if learning.is_extended:
        yield (
            f"the warm-up was extended from {learning.warmup:,} to {learning.needed:,} observations, at most {learning.most:,}: "
            f"they follow each other, and should cover {COVERAGE:.0f} autocorrelation times"
        )
    if present < min(LEAST_REFERENCE, learning.seen):
        yield f"a reference needs {LEAST_REFERENCE} values that are not missing; {present:,} of {learning.seen:,} are there"


def _found(watching: Watching) -> str:
    m, tau = watching.reference.m, watching.study.autocorrelation.tau
    longest = watching.criterion()[0]
    limit = f"alarm above {longest.limit:.3g}" if watching.has_criterion else "no minimum effect"
    if watching.study.variability is None:
        return f"reference: {m:,.0f} observations, given without their order: autocorrelation and natural variability are not known; {limit}"
    times = f"{m / tau:,.0f} autocorrelation times of {tau:.1f}"
    if tau >= m // LONGEST_LAG:
        times = f"less than {LONGEST_LAG} autocorrelation times: it follows itself throughout"
    reference = f"reference: {m:,.0f} observations = {times}"
    is_fed = watching.is_betting or watching.lent_alarm
    fed = f"1 in {watching.stride:,} feeds the alarm" if is_fed else "a fixed threshold raises"
    return f"{reference}; {fed}; natural variability {watching.study.variability[0]:.2f} nats, {limit}"


def _warnings(watching: Watching, maturing: Maturing | None) -> Iterator[str]:
    yield from _of_correlation(watching)
    yield from _of_variability(watching)
    if watching.study.is_extended:
        yield "the warm-up was extended: a change inside it would have been learnt as normal"
    if maturing:
        yield f"the reference matures: it is learnt again once it holds {maturing.next_size:,} observations and nothing is in the air"
    if watching.reference.m < SHORT and watching.has_criterion:
        yield (
            f"a reference of {watching.reference.m:,.0f} observations is short: KL below {watching.criterion()[0].limit:.3g} nats "
            f"is no alarm, and tails rarer than 1 in {watching.reference.m:,.0f} are not known; 1,000 and more show smaller changes"
        )
    yield from _of_values(watching)


def _of_correlation(watching: Watching) -> Iterator[str]:
    found, m, stride = watching.study.autocorrelation, watching.reference.m, watching.stride
    if watching.lent_alarm:
        yield f"{watching.lent_alarm} keeps no budget: how often it raises by chance is not known, and there is no evidence to read"
        if is_capped(watching):
            yield f"the stride was capped at {stride:,}, where {found.lag:,} fits: what the alarm is fed is correlated"
        return
    if not watching.is_betting:
        yield "a threshold has no budget: how often it is crossed by chance is not known"
        return
    if not covers(m, found):
        worth = "is approximate" if covers(m, found, LEAST_COVERAGE) else "does not hold"
        yield f"the reference covers {m / found.tau:.0f} autocorrelation times, not {COVERAGE:.0f}: the budget {worth}"
    if is_capped(watching):
        yield f"the stride was capped at {stride:,}, where {found.lag:,} fits: what is bet on is correlated, and the budget does not hold"
    elif not found.is_weak(stride):
        fitting = max(found.lag, ceil(found.tau / WEAK))
        yield f"observations repeat the last {found.tau:.0f}: at stride {stride:,} the budget does not hold; stride {fitting:,} fits"
    if found.is_seasonal:
        yield f"values come back in seasons (correlation {found.echo:.2f} beyond lag {found.lag:,}): the budget does not hold"
    if stride > 1:
        yield f"an event must last about {SEEN_AFTER * stride:,} observations or more to be seen"


def _of_variability(watching: Watching) -> Iterator[str]:
    variability = watching.study.variability
    if variability is not None and variability[0] > RESTLESS * CEILING and watching.criterion()[0].window >= LEAST_WINDOW:
        most = f", and the alarm asks for {CEILING:.0f} nat, not {FACTOR} times as much" if FACTOR * variability[0] > CEILING else ""
        yield f"the reference is not one regime: windows inside it lie {variability[0]:.2f} nats apart{most}; a longer window, or a season, may help"


def _of_values(watching: Watching) -> Iterator[str]:
    bins = watching.reference.bins
    others = float(bins.counts[-2] / bins.counts.sum())
    met = np.flatnonzero(bins.counts)
    if others >= HARDLY:
        yield f"{100 * others:.0f} % of the reference is `other`: categories hardly repeat, their changes cannot be seen; watch something coarser"
    elif len(met) == 1 and not others:
        yield f"the reference has one distinct value ({bins.labels()[met[0]]}): only another value, or a missing one, can be drift"
