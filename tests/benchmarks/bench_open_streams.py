"""What does each part of the rule do on real streams, and what do ADWIN, Page-Hinkley, KSWIN and thresholds on JS do, bare and inside the rule?

One default setting for all streams of at least two warm-ups in the folder that STREAMKL_DATA names (tests/open_data.py scores them), then
seeded changes behind a reference of 4,000, and streams that never change. What would change our mind: a part whose removal costs nothing, or
a wrapped baseline that catches as many with as few alarms outside label windows as the evidence does.
    STREAMKL_DATA=... python tests/benchmarks/bench_open_streams.py [--quick] [--only NAME] [--json FILE]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from river.drift import ADWIN, PageHinkley
from scipy.signal import lfilter

sys.path.insert(0, str(Path(__file__).parents[1]))

import open_data
from alarms import Always, Coin, JsThreshold, OwnEvidence, River, SpecifiedEvidence, js_of_stream, kswin, quick_kswin
from harness import Run, Wrapped, bare, crossings, ruled
from open_data import Stream
from specification import fast_evidence

import streamkl.detect.life
from streamkl import Detector

WARMUP, BUDGET = 600, 1e5
LEARNT, QUIET, CHANGED = 4_000, 1_000, 4_000        # rows of a stream that changes once
UNCHANGED, UNCHANGED_RUNS = 200_000, 5              # rows of one that never does; slow contenders and quick runs: one of them
FULL_RUNS, QUICK_RUNS = 30, 10
NO_CAP = 1e280                                      # times the budget: what a double still holds


class Contender(NamedTuple):
    """name, and what it does with a stream and the Detector's settings. is_slow: not in the quick run. in_seeded: in the last two tables."""

    name: str
    run: Callable[[Stream, dict], Run]
    takes_texts: bool = True
    is_slow: bool = False
    in_seeded: bool = False


def rule(**changed):
    return lambda stream, settings: ruled(stream, settings | changed)


def inside(alarm_of, **more):
    """The rule with another alarm; alarm_of: a stream and the budget -> alarm."""
    return lambda stream, settings: Wrapped(stream, alarm_of(stream, settings["false_alarms"]), settings, **more).run()


def specified(**switches):
    return inside(lambda stream, budget: SpecifiedEvidence(stream, budget, **switches))


def river(make, **more):
    return inside(lambda stream, budget: River(stream, make, **more))


def bare_river(make):
    return lambda stream, settings: bare(stream, make())


def bare_js(bits):
    return lambda stream, settings: crossings(js_of_stream(stream, WARMUP) > bits)


def without_natural_variability(stream, settings):
    study = streamkl.detect.life.study
    with patch.object(streamkl.detect.life, "study", lambda *given: replace(study(*given), variability=None)):
        return ruled(stream, settings)


def without_cap(stream, settings):
    with patch.object(fast_evidence, "WEALTH_CAP", NO_CAP):
        return specified()(stream, settings)


RULE, SPECIFIED = "the rule", "the rule as specified"
CONTENDERS = (
    Contender(RULE, rule(), in_seeded=True),
    Contender(SPECIFIED, specified()),
    Contender("the rule, budget 1e4", rule(false_alarms=1e4)),
    Contender("the rule, budget 1e6", rule(false_alarms=1e6)),
    Contender("the rule, budget 1e9", rule(false_alarms=1e9)),
    Contender("without stride", rule(stride=1)),
    Contender("without extension", rule(extend=1)),
    Contender("without maturing", rule(mature_until=0)),
    Contender("without criterion", rule(min_effect=None), in_seeded=True),
    Contender("without natural variability", without_natural_variability),
    Contender("without evidence", inside(lambda stream, budget: Always()), in_seeded=True),
    Contender("without episodes", inside(lambda stream, budget: OwnEvidence(budget), has_episodes=False)),
    Contender("without rebaselining", rule(on_drift="hold")),
    Contender("without hold_for", rule(hold_for=0)),
    Contender("without rollback", specified(rolls_back=False), is_slow=True),
    Contender("without wealth cap", without_cap, is_slow=True),
    Contender("without frozen reference", specified(freezes=False), is_slow=True),
    Contender("bare JS > .1 bit", bare_js(0.1)),
    Contender("bare JS > .2 bit", bare_js(0.2)),
    Contender("wrapped JS > .1 bit", inside(lambda stream, budget: JsThreshold(stream, 0.1))),
    Contender("wrapped JS > .2 bit", inside(lambda stream, budget: JsThreshold(stream, 0.2))),
    Contender("wrapped coin", river(Coin), in_seeded=True),
    Contender("bare ADWIN", bare_river(ADWIN), takes_texts=False, in_seeded=True),
    Contender("bare PageHinkley", bare_river(PageHinkley), takes_texts=False, in_seeded=True),
    Contender("bare KSWIN", bare_river(kswin), takes_texts=False, is_slow=True, in_seeded=True),
    Contender("wrapped ADWIN", river(ADWIN), takes_texts=False, in_seeded=True),
    Contender("wrapped ADWIN, delta .03", river(lambda: ADWIN(delta=0.03)), takes_texts=False),
    Contender("wrapped ADWIN, every row", river(ADWIN, is_strided=False), takes_texts=False),
    Contender("wrapped PageHinkley", river(PageHinkley), takes_texts=False, in_seeded=True),
    Contender("wrapped PageHinkley, z", river(PageHinkley, is_scaled=True), takes_texts=False),
    Contender("wrapped PageHinkley, z > 20", river(lambda: PageHinkley(threshold=20), is_scaled=True), takes_texts=False),
    Contender("wrapped KSWIN", river(kswin, memory=200), takes_texts=False, is_slow=True, in_seeded=True),
)


# ---------------------------------------------------------------- open streams


def open_streams(contenders):
    streams = open_data.streams(2 * WARMUP)
    numeric = [stream for stream in streams if stream.kind == "numeric"]
    print(f"{len(streams)} streams, {sum(len(stream.values) for stream in streams):,} rows, default settings, budget {BUDGET:,.0f}")
    found, all_rows, numeric_rows = {}, [], []
    for contender in contenders:
        begin = time.perf_counter()
        taken = streams if contender.takes_texts else numeric
        runs = found[contender.name] = {stream.name: contender.run(stream, {"false_alarms": BUDGET}) for stream in taken}
        seconds = time.perf_counter() - begin
        tell(f"{contender.name}: {len(taken)} streams, {sum(len(run.raised) for run in runs.values()):,} alarms, {seconds:.1f} s")
        numeric_rows.append(row_of(contender.name, numeric, runs, seconds))
        all_rows += [row_of(contender.name, streams, runs, seconds)] if contender.takes_texts else []
    show("All streams. outside: alarms per 10,000 rows; silent: streams with none outside; up: share of watched rows with the alarm up;\n"
         "luck: how often an earlier window as long as that of a must-alert point holds an alarm", all_rows)
    show("Numeric streams (the seconds are those of all streams that a contender takes)", numeric_rows)
    result = {"all": all_rows, "numeric": numeric_rows}
    if {RULE, SPECIFIED} <= found.keys():
        result["disagreements"] = others = [name for name, run in found[RULE].items() if run[:2] != found[SPECIFIED][name][:2]]
        alarms = sum(len(run.raised) for run in found[RULE].values())
        print(f"\nHarness check (its bets begin anew when a reference matures, the Detector's go on with their wealth): inside it, "
              f"the specification's evidence raises and ends in exactly the rows of the Detector on "
              f"{len(streams) - len(others)} of {len(streams)} streams ({alarms} alarms) {others or ''}")
    return result


def row_of(name, streams, runs, seconds):
    """Return one row of a table, over those streams."""
    scores = [(stream, open_data.score(stream, runs[stream.name].raised, runs[stream.name].ended)) for stream in streams]
    luck = [share for stream in streams for share in runs[stream.name].luck(stream)]
    return {
        "contender": name, **open_data.total(scores), "luck": float(np.mean(luck)), "silent": sum(not score.outside for _, score in scores),
        "streams": len(streams), "seconds": seconds, "missed": [stream.name for stream, one in scores if one.caught < len(stream.must_alert)],
        "up": float(np.average([runs[stream.name].up for stream in streams], weights=[len(stream.values) for stream in streams])),
    }


def show(title, rows):
    print(f"\n{title}\n{'':30}{'caught':>7}{'delay':>7}{'outside':>9}{'silent':>8}{'in episodes':>13}{'up':>8}{'luck':>7}{'seconds':>9}")
    for row in rows:
        episodes = "" if row["contender"] in ("bare ADWIN", "bare PageHinkley", "bare KSWIN") else f"{row['in_episodes']:.1%}"
        print(
            f"{row['contender']:30}{row['caught']:4.0f}/{row['points']:.0f}{row['median_delay']:7.0f}{row['outside_per_10000']:9.2f}"
            f"{row['silent']:5}/{row['streams']}{episodes:>13}{share(row['up']):>8}{row['luck']:7.2f}{row['seconds']:9.1f}"
        )


def share(up):
    return "" if np.isnan(up) else f"{up:.1%}"


def tell(progress):
    print(progress, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- seeded changes


def normal(rng, count):
    return rng.standard_normal(count)


def mixed(part, other):
    return lambda rng, count: np.where(rng.random(count) < part, other(rng, count), rng.standard_normal(count))


def texts(*shares):
    return lambda rng, count: rng.choice(["DELETE", "GET", "HEAD", "PUT"], count, p=shares).tolist()


def ar(rho):
    return lambda rng, count: lfilter([1.0], [1.0, -rho], rng.standard_normal(count))


CHANGES = {
    "mean + .5 sigma": (normal, lambda rng, count: rng.standard_normal(count) + 0.5),
    "variance x 1.5": (normal, lambda rng, count: rng.standard_normal(count) * 1.5**0.5),
    "sigma x 1.5": (normal, lambda rng, count: rng.standard_normal(count) * 1.5),
    "normal -> uniform": (normal, lambda rng, count: rng.uniform(-(3**0.5), 3**0.5, count)),
    "normal -> two humps": (normal, lambda rng, count: rng.choice([-0.9, 0.9], count) + rng.standard_normal(count) * 0.19**0.5),
    "5 % outliers, -6 or 6": (normal, mixed(0.05, lambda rng, count: rng.choice([-6.0, 6.0], count))),
    "5 % outliers, 6": (normal, mixed(0.05, lambda rng, count: np.full(count, 6.0))),
    "missing 0 -> 10 %": (normal, mixed(0.1, lambda rng, count: np.full(count, np.nan))),
    "categories": (texts(0.5, 0.3, 0.1, 0.1), texts(0.3, 0.3, 0.3, 0.1)),
    "categories, equal mean code": (texts(0.4, 0.1, 0.1, 0.4), texts(0.2, 0.3, 0.3, 0.2)),
}
STILL = {"normal": (normal, LEARNT), "normal, 600": (normal, WARMUP), "AR(1) .9, 600": (ar(0.9), WARMUP), "AR(1) .99, 600": (ar(0.99), WARMUP)}


def changing(seed, before, after):
    """Return a stream that changes once; an alarm catches it anywhere after that."""
    rng, change = np.random.default_rng(seed), LEARNT + QUIET
    first, second = before(rng, change), after(rng, CHANGED)
    is_text = isinstance(first, list)
    values = [*first, *second] if is_text else np.concatenate([first, second])
    return Stream("", "categorical" if is_text else "numeric", values, ((change, change + CHANGED - 1),), ())


def size_nats(seed, before, after):
    """Return KL of what comes after a change, by 20,000 values of each."""
    rng, count = np.random.default_rng(seed), 20_000
    reference = before(rng, count)
    detector = Detector(reference, kind="categorical" if isinstance(reference, list) else "numeric", window=count, on_drift="hold")
    detector.update_many(after(rng, count))
    return detector.divergence("kl").value


def changes(contenders, repeats):
    contenders = [contender for contender in contenders if contender.in_seeded and not contender.name.startswith("bare")]
    result = {}
    print(f"\nSeeded changes, {repeats} runs each, {LEARNT:,} learnt, {QUIET:,} quiet, {CHANGED:,} changed: caught, median delay, (alarms before)")
    print(f"{'':28}{'KL':>7}" + "".join(f"{contender.name:>21}" for contender in contenders))
    for number, (name, (before, after)) in enumerate(CHANGES.items()):
        streams = [changing([number, run], before, after) for run in range(repeats)]
        cells = result[name] = {"kl_nats": size_nats(number, before, after)}
        for contender in contenders:
            runs = [contender.run(stream, {"false_alarms": BUDGET, "warmup": LEARNT}) for stream in streams]
            scores = [open_data.score(stream, *run[:2]) for stream, run in zip(streams, runs, strict=True)]
            delays = [delay for score in scores for delay in score.delays]
            cells[contender.name] = len(delays) / repeats, float(np.median(delays or [np.nan])), sum(score.outside for score in scores)
            tell(f"{name}, {contender.name}")
        print(f"{name:28}{cells['kl_nats']:7.3f}" + "".join(cell(*cells[contender.name]) for contender in contenders), flush=True)
    return result


def cell(caught, delay, early):
    return f"{caught:11.0%}{'' if np.isnan(delay) else f'{delay:.0f}':>5}{f'({early})' if early else '':>5}"


def still(contenders, repeats):
    contenders = [contender for contender in contenders if contender.in_seeded]
    print(f"\nNo change at all: false alarms per 100,000 rows, share of watched rows with the alarm up; {repeats} x {UNCHANGED:,} rows, KSWIN 1 x")
    print(f"{'':23}" + "".join(f"{name:>20}" for name in STILL))
    result = {}
    streams = [
        [Stream("", "numeric", values(np.random.default_rng([len(CHANGES), number, run]), warmup + UNCHANGED), (), ()) for run in range(repeats)]
        for number, (values, warmup) in enumerate(STILL.values())
    ]
    for contender in contenders:
        cells = result[contender.name] = []
        for of_kind, (_, warmup) in zip(streams, STILL.values(), strict=True):
            taken = of_kind[: 1 if contender.is_slow else None]
            runs = [contender.run(stream, {"false_alarms": BUDGET, "warmup": warmup}) for stream in taken]
            cells.append((sum(len(run.raised) for run in runs) * 1e5 / UNCHANGED / len(runs), float(np.mean([run.up for run in runs]))))
        tell(f"no change, {contender.name}")
        print(f"{contender.name:23}" + "".join(f"{alarms:13.1f}{share(up):>7}" for alarms, up in cells), flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="without KSWIN and other slow rows; fewer seeded runs")
    parser.add_argument("--only", default="", metavar="NAME", help="only contenders with this in their name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    options = parser.parse_args()
    if reason := open_data.why_absent():
        parser.error(reason)
    contenders = [one for one in CONTENDERS if options.only.lower() in one.name.lower() and not (options.quick and one.is_slow)]
    if not contenders:
        parser.error(f"--only {options.only}: no such contender; there are {', '.join(one.name for one in CONTENDERS)}")
    with quick_kswin():
        result = {
            "open": open_streams(contenders),
            "changes": changes(contenders, QUICK_RUNS if options.quick else FULL_RUNS),
            "still": still(contenders, 1 if options.quick else UNCHANGED_RUNS),
        }
    if options.json:
        plain = json.loads(json.dumps(result), parse_constant=lambda number: None)       # JSON has no NaN
        options.json.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
