"""A configuration that changed under a stored state: what is kept goes on with the new value, what cannot be is refused or learnt anew."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from flow import APPLICATION, Crash, Steps, life
from structlog.testing import capture_logs

from streamkl import Detector
from streamkl.adapters.json_record_decoder import JsonRecordDecoder
from streamkl.adapters.memory import MemoryCheckpoint, MemoryLog, MemorySource, MemoryStore
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
from streamkl.detect.event_time import NO_TIME
from streamkl.detect.pieces import KEPT, join, kept, under
from streamkl.detect.settings import Settings
from streamkl.detect.slots import Slots
from streamkl.errors import RecordError, StateError, Unavailable
from streamkl.service.entries import CRC, PROGRESS_KEY, SETTINGS_KEY, Progress, StoredRow, encoded, row_key, understood
from streamkl.service.feed import Feed, Field
from streamkl.service.pace import Pace
from streamkl.service.record import Partition
from streamkl.service.restoration import Policy, review, stock

PLACE = Partition("pay", 0)
BASE = {"kind": "numeric", "warmup": 100, "mature_until": 400, "false_alarms": 300, "extend": 1, "on_drift": "hold", "min_effect": 0.05, "stride": 1}
QUIET = Pace(commit_every_seconds=1e9, commit_every_records=50, learning_seconds=10, state_share=0.0, replay_records=10**9, readings_every_seconds=0)
RELEARN = Policy(is_relearning=True)


def feed(*fields: str, name: str = "pay", path: str | None = None, key: str | None = "k", **settings) -> Feed:
    """A feed of fields x, y ... by key k; `path`: where all of them stand."""
    watched = tuple(Field(field, path or field, Detector(**{**BASE, **settings})) for field in fields or ("x",))
    return Feed("pay", name, watched, JsonRecordDecoder(["k", *{field.path for field in watched}]), key_path=key)


def log_of(values, keys: int = 1) -> MemoryLog:
    log = MemoryLog()
    log.create(PLACE)
    for i, x in enumerate(values):
        log.append(PLACE, json.dumps({"k": f"k{i % keys}", "x": float(x), "y": -float(x), "z": {"x": float(x)}}).encode())
    return log


def live(store, log, *feeds: Feed, policy: Policy = Policy(), dies_at_commit: int | None = None, pace: Pace = QUIET, checkpoint=None):  # noqa: B008
    """One life, to the end of the log or the death before a commit (from 0): then nothing of any sketch was saved."""
    steps = Steps([] if dies_at_commit is None else [8 * dies_at_commit])
    checkpoint = checkpoint(steps) if checkpoint else MemoryCheckpoint(store, steps)
    worker = life(MemorySource(log, (37,), ends=True), checkpoint, pace, feeds, policy)
    try:
        with suppress(Crash):
            worker.run()
        assert bool(steps.died_at) == (dies_at_commit is not None)
    finally:
        checkpoint.close()


def state_of(store: MemoryStore, key: str = "k0", field: str = "x"):
    return join(understood(PLACE, store.entries[PLACE]).rows["pay", key].pieces[field])


def detector_of(store: MemoryStore, key: str = "k0", field: str = "x") -> Detector:
    return Detector.of_state(state_of(store, key, field))


def told(store: MemoryStore) -> list[tuple[str, int]]:
    return [(event.kind, event.source["last_offset"]) for event in store.events]


def normal(n, at=None, by=3.0, seed=1):
    values = np.random.default_rng(seed).normal(size=n)
    values[n if at is None else at:] += by
    return values


PHASES = {          # values so far, settings
    "learning": (normal(60), {}), "maturing": (normal(170), {}), "watching": (normal(300), {"mature_until": 0}),
    "drifting": (normal(300, 250), {"mature_until": 0}), "origin": (normal(500), {"mature_until": 200}),
    "drifting with origin": (normal(700, 650), {"mature_until": 200}),
}  # fmt: skip
CHANGES = {
    "budget": {"false_alarms": 5e7}, "min_effect": {"min_effect": None}, "on_drift": {"on_drift": "rebaseline"}, "hold_for": {"hold_for": 5000},
    "raise_at": {"raise_at": 0.3}, "resolve_at": {"resolve_at": 0.01},
}  # fmt: skip


def test_every_setting_that_is_kept_is_tried():
    assert set(CHANGES) == set(KEPT) - {"name"}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("setting", CHANGES)
def test_a_setting_that_may_change_is_taken_over_and_nothing_is_learnt_anew(phase, setting):
    values, settings = PHASES[phase][0], {**PHASES[phase][1], "false_alarms": 1e6}      # large: none of the changes raises by itself
    more = [*values, *normal(5, seed=2)]
    plain, store = MemoryStore(), MemoryStore()
    for one in (plain, store):
        live(one, log_of(values), feed(**settings))
    assert detector_of(store).state == {"maturing": "watching", "origin": "watching"}.get(phase, phase.split()[0])
    assert (state_of(store).life.origin is not None) == ("origin" in phase)
    assert (state_of(store).life.maturing is not None) == (phase == "maturing")
    new = {**settings, **CHANGES[setting]}
    entries = stock(APPLICATION, PLACE, MemoryCheckpoint(store).restore(PLACE), Policy()).entries
    (finding,) = review([feed(**new)], PLACE, entries, Policy())
    assert (finding.outcome, finding.why.split()[0]) == ("kept with new settings", setting)
    live(plain, log_of(more), feed(**settings))
    live(store, log_of(more), feed(**new))
    old, now = state_of(plain), state_of(store)
    assert now.settings == replace(Detector(**{**BASE, **new}).settings, name="pay/k0/x")
    assert told(store) == told(plain)
    for part in ("learning", "maturing", "episode", "origin", "before", "episode_number"):
        assert getattr(now.life, part) == getattr(old.life, part)
    assert detector_of(store).n == len(more)
    if old.life.watching:
        assert now.life.watching.reference == old.life.watching.reference


@pytest.mark.parametrize(("before", "after", "change"), [
    ({}, {"false_alarms": 1e12}, "later"), ({"false_alarms": 1e12}, {"false_alarms": 50}, "earlier"),
    ({"min_effect": 0.01}, {"min_effect": 50.0}, "never"), ({"min_effect": 50.0}, {"min_effect": None}, "earlier"),
    ({"alarm": "threshold", "raise_at": 0.1}, {"alarm": "threshold", "raise_at": 0.2}, "later"),
    ({"alarm": "threshold", "raise_at": 0.2}, {"alarm": "threshold", "raise_at": 0.1}, "earlier"),
])  # fmt: skip
def test_the_new_value_of_a_setting_is_in_force(before, after, change):
    values = normal(700, 320, by=1.5)
    raised = []
    for settings in (before, after):
        store = MemoryStore()
        live(store, log_of(values[:300]), feed(mature_until=0, **before))
        live(store, log_of(values), feed(mature_until=0, **settings))
        raised.append(next((offset for kind, offset in told(store) if kind == "drift.raised" and offset >= 300), 10**9))
    assert {"later": raised[0] < raised[1] < 10**9, "earlier": raised[1] < raised[0], "never": raised[0] < 10**9 == raised[1]}[change], raised


def test_an_open_episode_is_rebaselined_once_the_policy_says_so_and_held_again_once_it_does_not():
    values = normal(900, 250)
    store, held = MemoryStore(), MemoryStore()
    live(store, log_of(values[:300]), feed(mature_until=0))
    assert told(store)[-1][0] == "drift.raised"
    live(store, log_of(values), feed(mature_until=0, on_drift="rebaseline"))
    assert told(store)[-1][0] == "reference.rebaselined"
    live(held, log_of(values[:300]), feed(mature_until=0, on_drift="rebaseline"))
    live(held, log_of(values), feed(mature_until=0, on_drift="hold"))
    assert told(held)[-1][0] == "drift.raised"


def test_resolve_at_of_an_open_episode_is_in_force():
    values = normal(900, 250, by=2.0)
    values[350:] = normal(900, seed=3)[350:] + 0.7
    settings = {"alarm": "threshold", "raise_at": 0.15, "mature_until": 0, "resolve_at": 0.001}
    ends = []
    for resolve_at in (0.001, 0.14):
        store = MemoryStore()
        live(store, log_of(values[:330]), feed(**settings))
        live(store, log_of(values), feed(**{**settings, "resolve_at": resolve_at}))
        ends.append(told(store)[-1][0])
    assert ends == ["drift.raised", "drift.resolved"]


BOUND = {
    "kind": {"kind": "categorical"}, "warmup": {"warmup": 120}, "window": {"window": 60}, "extend": {"extend": 2},
    "mature_until": {"mature_until": 300},
    "stride": {"stride": 2}, "alarm": {"alarm": "threshold"}, "measure": {"measure": "kl"},
}  # fmt: skip


def test_every_setting_that_is_not_kept_is_tried():
    assert set(BOUND) == set(Settings.__dataclass_fields__) - set(KEPT)


@pytest.mark.parametrize("setting", BOUND)
def test_any_other_setting_is_refused_with_both_values_or_learnt_anew(setting):
    values = normal(500)
    store = MemoryStore()
    live(store, log_of(values[:200]), feed())
    before = dict(store.entries[PLACE])
    with pytest.raises(StateError, match=f"pay/k0/x.*{setting} was .*, is .*state.on_incompatible: relearn.*--discard-state 'pay/k0/x'"):
        live(store, log_of(values), feed(**BOUND[setting]))
    assert store.entries[PLACE] == before
    live(store, log_of(values), feed(**BOUND[setting]), policy=RELEARN)
    fresh = Detector(**{**BASE, **BOUND[setting]}).clone("pay/k0/x")
    fresh.update_many([float(x) for x in values[200:]])
    assert detector_of(store).to_bytes() == fresh.to_bytes()


# ---------------------------------------------------------------- what begins anew, in the middle of what is replayed


@pytest.mark.parametrize("again", [None, 1, 2, 4])
@pytest.mark.parametrize("how", ["discarded", "relearned", "added"])
def test_what_begins_anew_begins_behind_what_was_processed_and_tells_all_that_it_finds(how, again):
    values = normal(900, 600)
    log, store = log_of(values), MemoryStore()
    saving = QUIET._replace(state_share=100.0)
    live(store, log, feed(*("x" if how == "added" else "xy")), dies_at_commit=4, pace=saving)
    live(store, log, feed(*("x" if how == "added" else "xy")), dies_at_commit=4)       # saved up to the first life's end, replayed from there
    progress = understood(PLACE, store.entries[PLACE]).progress
    assert 0 < progress.replay_from < progress.processed
    then = feed("x", "y")
    policy = Policy(discard=("pay/*/y",)) if how == "discarded" else Policy()
    if how == "relearned":
        y = Field("y", "y", Detector(**{**BASE, "warmup": 110}))
        then, policy = then._replace(fields=(then.fields[0], y)), RELEARN
    if again is not None:
        live(store, log, then, policy=policy, dies_at_commit=again)
        policy = Policy()                           # the second time nobody says it
    live(store, log, then, policy=policy)
    expected = then.fields[1].fresh.clone("pay/k0/y")
    at = progress.processed
    events = expected.update_many(-values[at:])
    assert detector_of(store, field="y").to_bytes() == expected.to_bytes()
    offsets = [(event.kind, event.position + at) for event in events]
    assert offsets
    assert [(e.kind, e.source["last_offset"]) for e in store.events if e.stream == "pay/k0/y" and e.source["first_offset"] >= at] == offsets
    kept = feed().fields[0].fresh.clone("pay/k0/x")
    kept.update_many(values)
    assert detector_of(store).to_bytes() == kept.to_bytes()


@pytest.mark.parametrize(("glob", "given_up"), [
    ("pay/*/x", {("k0", "x"), ("k1", "x")}), ("pay/k1/y", {("k1", "y")}), ("pay/k1/*", {("k1", "x"), ("k1", "y")}),
    ("pay/*", {(key, field) for key in ("k0", "k1") for field in "xy"}), ("nobody/*", set()),
])  # fmt: skip
def test_discarded_streams_learn_anew_others_go_on_and_what_was_stored_is_gone_at_once(glob, given_up):
    values = normal(700)
    log, store = log_of(values, keys=2), MemoryStore()
    live(store, log_of(values[:650], keys=2), feed("x", "y"))       # learning, with whole chunks of values
    sketches = {(key, field): state_of(store, key, field) for key in ("k0", "k1") for field in "xy"}
    live(store, log, feed("x", "y"), policy=Policy(discard=(glob,)), dies_at_commit=1)
    rows = understood(PLACE, store.entries[PLACE]).rows
    for (key, field), state in sketches.items():
        pieces = rows["pay", key].pieces[field]
        assert (pieces is None) == ((key, field) in given_up)
        assert pieces is None or join(pieces) == state
    live(store, log, feed("x", "y"))
    for key, field in sketches:
        assert detector_of(store, key, field).n == (25 if (key, field) in given_up else 350)


def test_discarding_everything_begins_at_the_committed_offset_and_leaves_nothing():
    values = normal(400)
    store = MemoryStore()
    live(store, log_of(values[:300], keys=3), feed("x"))
    live(store, log_of(values), feed("x"), policy=Policy(discard=("*",)))
    entries = understood(PLACE, store.entries[PLACE])
    assert set(entries.rows) == {("pay", "k0")}
    assert len(store.entries[PLACE]) == 4           # progress, settings, row, sketch
    assert detector_of(store).n == 100


def test_a_discard_whose_commit_failed_is_not_forgotten():
    class Failing(MemoryCheckpoint):
        def commit(self, work):
            if not store.events or is_failing.pop():
                raise Unavailable("for once")
            super().commit(work)

    values, store, is_failing = normal(500), MemoryStore(), [False] * 50 + [True]
    live(store, log_of(values[:300]), feed("x"))
    live(store, log_of(values), feed("x"), policy=Policy(discard=("pay/*",)), checkpoint=lambda steps: Failing(store, steps))
    assert detector_of(store).n == 200


# ---------------------------------------------------------------- settings that changed while something was to be replayed

DEAF, KEEN = {"mature_until": 0, "min_effect": 50.0}, {"mature_until": 0, "min_effect": 0.05}


def drifting(n=600):
    """A step of three standard deviations at record 250, so that whoever listens raises before record 350."""
    return normal(n, 250)


def crashed(log, settings=DEAF, commits=7, **kwargs) -> MemoryStore:
    """A store after a life that died with so many commits, none of a sketch."""
    store = MemoryStore()
    live(store, log, feed(**settings, **kwargs), dies_at_commit=commits)
    progress = understood(PLACE, store.entries[PLACE]).progress
    assert progress.replay_from == 0 < progress.processed
    return store


def processed(store) -> int:
    return understood(PLACE, store.entries[PLACE]).progress.processed


def test_an_alarm_that_only_the_new_settings_find_is_not_lost_in_what_is_replayed():
    log = log_of(drifting())
    store = crashed(log)
    at = processed(store)
    assert at > 350
    live(store, log, feed(**KEEN))
    raised = [offset for kind, offset in told(store) if kind == "drift.raised"]
    assert raised == [at]                                   # the first record that is observed under them
    assert understood(PLACE, store.entries[PLACE]).progress.replay_from == 600


def test_an_alarm_that_was_told_stands_in_the_state_though_the_new_settings_would_not_raise_it():
    log = log_of([*drifting(600), *normal(400, seed=3)])
    store = crashed(log, KEEN)
    assert [kind for kind, _ in told(store)] == ["reference.learned", "drift.raised"]
    live(store, log, feed(**DEAF))
    assert [kind for kind, _ in told(store)] == ["reference.learned", "drift.raised", "drift.resolved"]


def test_the_settings_in_force_are_written_once_and_again_when_they_change():
    written, store = [], MemoryStore()

    class Watched(MemoryCheckpoint):
        def commit(self, work):
            written.append(SETTINGS_KEY in work.changes[PLACE])
            super().commit(work)

    for size, settings in ((200, DEAF), (400, DEAF), (600, KEEN)):
        live(store, log_of(drifting(size)), feed(**settings), checkpoint=lambda steps: Watched(store, steps))
        (stored,) = understood(PLACE, store.entries[PLACE]).settings.fields
        assert stored.values == {name: getattr(Detector(**{**BASE, **settings}).settings, name) for name in KEPT if name != "name"}
    assert sum(written) == 2
    assert written[0]
    assert len(written) > 10


def test_in_a_state_without_settings_those_of_now_count():
    log = log_of(drifting())
    store = crashed(log)
    entries = store.entries[PLACE]
    old = understood(PLACE, entries).progress
    del entries[SETTINGS_KEY]
    entries[PROGRESS_KEY] = encoded(PROGRESS_KEY, Progress(1, old.replay_from, old.processed, old.application))
    assert len(entries[PROGRESS_KEY]) < 40
    live(store, log, feed(**KEEN))
    assert [kind for kind, _ in told(store)] == ["reference.learned"]       # what the new ones find in the replay is not told
    assert detector_of(store).state == "drifting"
    assert SETTINGS_KEY in store.entries[PLACE]


def test_settings_of_another_commit_are_refused():
    log = log_of(drifting())
    store, other = crashed(log), crashed(log, KEEN)
    store.entries[PLACE][SETTINGS_KEY] = other.entries[PLACE][SETTINGS_KEY]
    with pytest.raises(StateError, match=r"settings are not those that belong.*--discard-state"):
        live(store, log, feed(**DEAF))


@pytest.mark.parametrize("ends", [True, False])
def test_the_new_settings_take_hold_though_the_last_records_of_the_replay_are_gone(ends):
    """As compaction does: records go, the offsets of others stay."""
    log = log_of(drifting())
    store = crashed(log)
    at, thin = processed(store), MemoryLog()
    for record in log.read(PLACE, 0, at if ends else 10**9):
        if record.offset >= at - 20 and record.offset < at:
            thin.skip(PLACE, 1)
        else:
            thin.append(PLACE, record.value)
    live(store, thin, feed(**KEEN))
    if ends:
        assert processed(store) == at
        for record in log.read(PLACE, at, 10**9):
            thin.append(PLACE, record.value)
        live(store, thin, feed(**KEEN))
    assert [offset for kind, offset in told(store) if kind == "drift.raised"] == [at]
    assert detector_of(store).n == 580


def test_a_bad_record_behind_the_replay_stops_the_run_only_after_what_lies_before_it():
    log = log_of(drifting())
    store = crashed(log)
    at = processed(store)
    values = [record.value for record in log.read(PLACE, 0, 10**9)]
    values[at + 5] = b"{"
    bad = MemoryLog()
    for value in values:
        bad.append(PLACE, value)
    for _ in range(2):
        with pytest.raises(RecordError, match=f"offset {at + 5}"):
            live(store, bad, feed(**KEEN), pace=QUIET._replace(on_bad_record="stop"))
        assert (processed(store), detector_of(store).n) == (at + 5, at + 5)
        assert told(store)[-1] == ("drift.raised", at)


def test_what_is_saved_before_the_new_settings_take_hold_is_committed_a_little_at_a_time():
    keys, sizes, new = 4000, list[int](), list[bool]()

    class Watched(MemoryCheckpoint):
        def commit(self, work):
            new.append(SETTINGS_KEY in work.changes[PLACE])
            sizes.append(sum(map(len, filter(None, work.changes[PLACE].values()))))
            super().commit(work)

    log, pace = log_of(normal(keys + 100), keys=keys), QUIET._replace(commit_every_records=500)
    store = MemoryStore()
    live(store, log, feed("x", "y"), pace=pace, dies_at_commit=7)
    live(store, log, feed("x", "y", false_alarms=5), pace=pace, checkpoint=lambda steps: Watched(store, steps))
    sizes = sizes[:new.index(True)]
    assert sum(sizes) > 3 << 20
    assert max(sizes) < (1 << 20) + 100_000


def test_what_comes_with_the_end_of_the_replay_and_of_the_log_is_not_left_out():
    """The log ends before all is saved; what came with its end was not taken."""
    keys, store = 4000, MemoryStore()
    pace = QUIET._replace(commit_every_records=500)
    live(store, log_of(normal(keys), keys=keys), feed("x", "y"), pace=pace, dies_at_commit=7)
    at = processed(store)
    source = MemorySource(log_of(normal(at + 10), keys=keys), (at + 10,), ends=True)
    life(source, MemoryCheckpoint(store), pace, [feed("x", "y", false_alarms=5)]).run()
    assert processed(store) == at + 10
    assert sum(map(len, store.entries[PLACE].values())) > 2 << 20


def test_it_is_told_until_where_former_settings_are_used_and_which_they_are():
    log = log_of(drifting())
    store = crashed(log)
    at = processed(store)
    with capture_logs() as logs:
        live(store, log, feed(**KEEN))
    (told_of,) = [entry for entry in logs if entry["event"] == "settings.postponed"]
    assert (told_of["partition"], told_of["until"], told_of["changes"]) == ("pay[0]", at, ["pay/x: min_effect was 50.0, is 0.05"])
    restored = [(entry["replay_from"], entry["processed"]) for entry in logs if entry["event"] == "state.restored"]
    assert restored == [(0, at), (at, at)]


def test_where_nothing_is_to_be_replayed_the_new_settings_hold_at_once():
    store = MemoryStore()
    live(store, log_of(drifting(400)), feed(**DEAF))
    with capture_logs() as logs:
        live(store, log_of(drifting()), feed(**KEEN))
    assert {"state.restored"} <= {entry["event"] for entry in logs}
    assert not [entry for entry in logs if entry["event"] == "settings.postponed"]
    assert told(store)[-1] == ("drift.raised", 400)


@pytest.mark.parametrize("reference", [None, normal(500)])
def test_a_fresh_detector_under_other_settings_is_one_that_was_made_with_them(reference):
    made = Detector(reference, **{**BASE, **DEAF})
    other = under(made, kept(Detector(**{**BASE, **KEEN}).settings))
    assert other.to_bytes() == Detector(reference, **{**BASE, **KEEN}).to_bytes()
    assert under(made, {"a setting of a later release": 7, "name": "x"}).to_bytes() == made.to_bytes()


# ---------------------------------------------------------------- other fields, entries and places


def test_a_field_that_is_removed_is_given_up_and_begins_anew_when_it_is_back():
    values = normal(900)
    store = MemoryStore()
    live(store, log_of(values[:700]), feed("x", "y", warmup=600))
    both = len(store.entries[PLACE])
    live(store, log_of(values[:700]), feed("x", warmup=600))             # no record, and yet it is gone
    assert len(store.entries[PLACE]) < both
    live(store, log_of(values[:800]), feed("x", warmup=600))
    live(store, log_of(values), feed("y", "x", warmup=600))
    assert (detector_of(store, field="x").n, detector_of(store, field="y").n) == (900, 100)


def test_an_entry_that_is_removed_is_given_up():
    store = MemoryStore()
    live(store, log_of(normal(300), keys=4), feed("x"), feed("y", name="other"))
    live(store, log_of(normal(300), keys=4), feed("y", name="other"))
    assert {name for name, _ in understood(PLACE, store.entries[PLACE]).rows} == {"other"}
    assert len(store.entries[PLACE]) == 2 + 2 * 4


def test_another_place_in_the_record_is_kept_and_another_way_of_keys_is_not():
    values = normal(300)
    store = MemoryStore()
    live(store, log_of(values[:200]), feed("x"))
    live(store, log_of(values), feed("x", path="z.x"))
    assert detector_of(store).n == 300
    live(store, log_of([*values, 0.0]), feed("x", key=None))
    assert [(key, detector_of(store, key).n) for _, key in understood(PLACE, store.entries[PLACE]).rows] == [("", 1)]


def test_an_offset_that_was_set_by_hand_is_refused_and_one_that_expired_is_not_needed():
    values = normal(300)
    store = MemoryStore()
    live(store, log_of(values[:200]), feed("x"))
    store.replay_from[PLACE] = 17
    with pytest.raises(StateError, match=r"the committed offset of pay\[0\] is 17, its state was stored with 200.*set it back.*--discard-state"):
        live(store, log_of(values), feed("x"))
    del store.replay_from[PLACE]
    live(store, log_of(values), feed("x"))
    assert detector_of(store).n == 300


def test_a_committed_offset_beside_which_nothing_is_stored_is_refused():
    values = normal(300)
    store = MemoryStore(replay_from={PLACE: 200})
    with pytest.raises(StateError, match=r"offset of pay\[0\] is 200, but nothing is stored.*--discard-state '\*'"):
        live(store, log_of(values), feed("x"))
    live(store, log_of(values), feed("x"), policy=Policy(discard=("*",)))
    assert detector_of(store).n == 100


def test_records_that_are_gone_are_refused_and_discarding_everything_begins_with_the_oldest():
    values = normal(300)
    store, log = MemoryStore(), log_of(values)
    live(store, log_of(values[:200]), feed("x"))
    log.cut(PLACE, 250)
    with pytest.raises(StateError, match="retention"):
        live(store, log, feed("x"))
    live(store, log, feed("x"), policy=Policy(discard=("*",)))
    assert detector_of(store).n == 50


# ---------------------------------------------------------------- what is stored of values, and how often something is told


def test_values_are_taken_away_once_they_were_learnt_from():
    store, saving = MemoryStore(), QUIET._replace(state_share=1e6)
    live(store, log_of(normal(1100)), feed("x", warmup=1200, mature_until=0), pace=saving)
    assert len(store.entries[PLACE]) == 4 + 2                               # progress, settings, row, sketch, two chunks of 512
    live(store, log_of(normal(1300)), feed("x", warmup=1200, mature_until=0), pace=saving)
    assert detector_of(store).state == "watching"
    assert len(store.entries[PLACE]) == 4


def test_values_that_gave_way_to_newer_ones_are_stored_anew():
    log, store = MemoryLog(), MemoryStore()
    values = [*normal(40), *[None] * 2600, *normal(60)]        # too few to learn from, until the last ones; the newest 2,000 are held
    for number, x in enumerate(values):
        log.append(PLACE, json.dumps({"k": "k0", "x": x if x is None else float(x) + number}).encode())
    live(store, log, feed("x"), dies_at_commit=30, pace=QUIET._replace(state_share=1e6))
    live(store, log, feed("x"))
    calm = feed("x").fields[0].fresh.clone("pay/k0/x")
    calm.update_many([x if x is None else float(x) + number for number, x in enumerate(values)])
    assert detector_of(store).to_bytes() == calm.to_bytes()


def test_a_stream_that_learns_in_the_unit_of_work_of_its_birth_still_begins_at_its_birth():
    calm, store = MemoryStore(), MemoryStore()
    pace = QUIET._replace(commit_every_records=200)
    live(calm, log_of(normal(500, 350)), feed("x"), pace=pace)
    live(store, log_of(normal(500, 350)), feed("x"), pace=pace, dies_at_commit=1)
    assert told(store)[0] == ("reference.learned", 99)
    live(store, log_of(normal(500, 350)), feed("x"), pace=pace)
    assert [event.to_dict() for event in store.events] == [event.to_dict() for event in calm.events]
    assert store.entries == calm.entries


def test_a_commit_that_stands_though_its_answer_was_lost_is_told_once():
    class Deaf(MemoryCheckpoint):
        def commit(self, work):
            super().commit(work)
            if work.events and not deaf:
                deaf.append(work)
                raise Unavailable("no answer")

    deaf, store, calm = [], MemoryStore(), MemoryStore()
    live(calm, log_of(normal(500, 350)), feed("x"))
    live(store, log_of(normal(500, 350)), feed("x"), checkpoint=lambda steps: Deaf(store, steps))
    assert deaf
    assert told(store) == told(calm)
    assert store.entries == calm.entries


def test_what_a_stream_held_goes_with_it():
    slots = Slots()
    first = slots.add([Detector(warmup=100)])
    many = np.arange(130)
    slots.take(np.full(130, first), normal(130), np.full(130, NO_TIME), many, is_postponing=True)
    assert slots.held == 1
    slots.discard(first, 1)
    assert (slots.held, slots.learn(), slots.is_held(first, 1)) == (0, [], False)


# ---------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def stored() -> MemoryStore:
    store = MemoryStore()
    live(store, log_of(normal(1300)), feed("x", warmup=1500), feed("y", name="other"))
    assert sum(b"\xa1v" in key for key in store.entries[PLACE]) == 2     # chunks of values
    return store


@pytest.mark.parametrize("newer", ["row", "progress"])
def test_a_newer_format_is_refused_by_its_number(stored, newer):
    store = MemoryStore(entries={PLACE: dict(stored.entries[PLACE])})
    key, entry = (PROGRESS_KEY, Progress(2, 1, 1)) if newer == "progress" else (row_key("pay", "k0"), StoredRow(2, 5, []))
    store.entries[PLACE][key] = encoded(key, entry)
    with pytest.raises(StateError, match="format version 2, this release reads 1"):
        live(store, log_of(normal(1400)), feed("x", warmup=1500), feed("y", name="other"))


def test_whatever_byte_of_whatever_entry_is_damaged_it_is_refused_with_the_remedy(stored):
    feeds, log = (feed("x", warmup=1500), feed("y", name="other")), log_of(normal(1340))
    tried = 0
    for key, value in stored.entries[PLACE].items():
        damaged = [(key[:i] + bytes([key[i] ^ mask]) + key[i + 1:], value) for i in range(len(key)) for mask in (1, 0x80)]
        places = range(len(value)) if len(value) < 80 else range(0, len(value), len(value) // 40)
        damaged += [(key, value[:i] + bytes([value[i] ^ mask]) + value[i + 1:]) for i in places for mask in (1, 0x80)]
        damaged += [(key, b""), (key, value[:-1]), (key, value + b"\0"), (b"", value)]
        for other, bad in damaged:
            entries = {name: held for name, held in stored.entries[PLACE].items() if name != key}
            with pytest.raises(StateError, match="--discard-state"):
                live(MemoryStore(entries={PLACE: {**entries, other: bad}}), log, *feeds)
        tried += len(damaged)
    assert tried > 400


def test_an_entry_that_is_missing_is_refused(stored):
    for key in stored.entries[PLACE]:
        entries = {name: value for name, value in stored.entries[PLACE].items() if name != key}
        with pytest.raises(StateError, match="--discard-state"):
            live(MemoryStore(entries={PLACE: entries}), log_of(normal(1340)), feed("x", warmup=1500), feed("y", name="other"))


def test_two_chunks_of_values_in_each_others_place_are_refused(stored):
    entries = dict(stored.entries[PLACE])
    one, other = (key for key in entries if b"\xa1v" in key)
    entries[one], entries[other] = entries[other], entries[one]
    with pytest.raises(StateError, match="--discard-state 'pay/k0/x'"):
        live(MemoryStore(entries={PLACE: entries}), log_of(normal(1340)), feed("x", warmup=1500), feed("y", name="other"))


def test_the_checksum_of_a_row_covers_its_key():
    one, other = row_key("pay", "a"), row_key("pay", "b")
    row = StoredRow(1, 5, [])
    assert encoded(one, row)[:-CRC.size] == encoded(other, row)[:-CRC.size]
    with pytest.raises(StateError, match="checksum"):
        understood(PLACE, {PROGRESS_KEY: encoded(PROGRESS_KEY, Progress(1, 5, 5)), other: encoded(one, row)})


def test_a_file_keeps_what_memory_keeps(tmp_path):
    values, path = normal(700), str(tmp_path / "state.db")
    store = MemoryStore()
    for size, settings, policy in ((300, {}, Policy()), (500, {"false_alarms": 50}, Policy()), (700, {"warmup": 150}, RELEARN)):
        live(store, log_of(values[:size]), feed("x", **settings), policy=policy)
        live(None, log_of(values[:size]), feed("x", **settings), policy=policy, checkpoint=lambda steps: SqliteCheckpoint(path, "test", steps))
    file = SqliteCheckpoint(path, "test")
    assert file.restore(PLACE) == MemoryCheckpoint(store).restore(PLACE)
    file.close()
