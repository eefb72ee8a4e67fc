"""Life of a stream: learning its reference, watching, drifting in an episode, watching again.

Rule 1: a verdict of the current phase turns the page; each turn is told by exactly one event.
Rule 2: nothing here depends on how observations were batched.
"""

from __future__ import annotations

from functools import partial

from streamkl.detect.alarm import Alarm
from streamkl.detect.episode import Episode
from streamkl.detect.event import DriftEvent
from streamkl.detect.former import Former, Formers
from streamkl.detect.given import Given
from streamkl.detect.guarantee import VOID, guarantee
from streamkl.detect.kernel import Step, Tracker
from streamkl.detect.learning import Learning
from streamkl.detect.maturing import Maturing
from streamkl.detect.origin import Origin
from streamkl.detect.recent import Recent
from streamkl.detect.settings import Settings
from streamkl.detect.state import LifeState, check_counters
from streamkl.detect.study import study
from streamkl.detect.verdict import Verdict
from streamkl.detect.watching import Watching

EVENT_MEASURES = ("kl", "js", "kl_reverse", "psi", "total_variation", "hellinger", "chi_square")
EVENT_BINS = 5
KINDS = {
    Verdict.LEARNED: "reference.learned", Verdict.REBASELINED: "reference.rebaselined",
    Verdict.RAISED: "drift.raised", Verdict.RESOLVED: "drift.resolved", Verdict.MATURED: "reference.learned",
}


class Life:
    """Where a stream is in its life, and what comes next.

    phase: what takes observations now; step: its `update`, one observation to a verdict. learning, watching, maturing, episode: the parts
    that there are now: learning alone, or watching, with a reference that matures or not, with an episode or not.
    last_raised: index of the last alarm, -1 before.
    """

    __slots__ = (
        "_alarm", "_before", "_formers", "_origin", "_settings", "episode", "episode_number", "last_raised", "learning", "maturing", "phase", "step",
        "watching",
    )
    phase: Learning | Watching | Maturing | Episode

    def __init__(self, settings: Settings, given: Given | None, alarm: Alarm | None = None) -> None:
        self.step = Step()
        self._settings, self._alarm = settings, alarm
        self._before = 0                        # observations before the current counter began
        self._origin: Origin | None = None      # once another reference has taken its place
        self._formers: Formers | None = None    # once there was a rebaseline
        self.episode_number = 0
        self.last_raised = -1
        if given is None:
            self._learn(Learning(settings, settings.warmup))
        else:
            self._watch(Watching(settings, given.reference, given.study, is_given=True, alarm=alarm))

    @property
    def state(self) -> str:
        """"learning", "watching" or "drifting"."""
        return "learning" if self.learning else "drifting" if self.episode else "watching"

    @property
    def is_numeric(self) -> bool:
        """Whether the stream is one of numbers."""
        return self._settings.kind == "numeric"

    @property
    def n(self) -> int:
        """Observations seen."""
        return self._before + (self._watching.tracker if self.watching else self._learning).seen

    @property
    def evidence(self) -> float:
        """stride * S, as compared with the budget; 0 while learning or drifting."""
        return self._watching.stride * self._watching.tracker.evidence if self.state == "watching" else 0.0

    def turn(self, verdict: int, at: int | None = None, position: int | None = None) -> DriftEvent:
        """Begin the part of life that a verdict leads to; return the event that tells of it."""
        if verdict == Verdict.RAISED:
            self.episode_number += 1
            self._watching.raised += 1
            if self.maturing:
                self.maturing.forget_change()
            event = self._tell(KINDS[Verdict.RAISED], at, position)
            self.last_raised = event.index
            self._drift(Episode.begin(self._settings, self._watching))
            return event
        reason = by = ""
        if verdict == Verdict.RESOLVED:
            self._watching.tracker.end_episode()
            if self.maturing:
                self.maturing.wait()
            self._watch(self._watching, self.maturing)
        elif verdict == Verdict.MATURED:
            reason = self._grow()
        else:
            reason, by = self._learn_reference()
        return self._tell(KINDS[Verdict(verdict)], at, position, reason, by)

    def rebaseline(self, reason: str, by: str = "") -> DriftEvent | None:
        """Learn a new reference as soon as enough was seen: since the alarm, or from now on where nothing drifts."""
        if self.episode:
            return self.turn(Verdict.REBASELINED) if self.episode.rebaseline(reason, by) else None
        if self.watching:
            self._before = self.n
            self._leave()
            self._learn(Learning(self._settings, self._watching.base, is_rebaseline=True, reason=reason, by=by))
        return None

    @property
    def former(self) -> Former | None:
        """The reference before the last rebaseline that was not taken back."""
        return self._formers.newest() if self._formers else None

    def take_back(self, reason: str, by: str = "") -> DriftEvent | None:
        """Watch beside the former reference again, with an empty window; an open episode is over. None where there is none."""
        former = self.former
        if former is None or self._formers is None:
            return None
        self._formers.pop()
        self._before = self.n
        self._watch(former.watching(self._settings, self._origin, self._alarm))
        return self._tell(KINDS[Verdict.REBASELINED], None, None, reason, by)

    def remark(self, kind: str, reason: str, by: str) -> DriftEvent:
        """Return an event of another kind that tells how the stream stands now; its evidence is the budget while an episode is open."""
        return self._tell(kind, None, None, reason, by)

    def to_state(self) -> LifeState:
        """Return plain values from which `restore` goes on."""
        return LifeState(
            before=self._before, episode_number=self.episode_number, last_raised=self.last_raised,
            learning=self.learning.to_state() if self.learning else None,
            watching=self.watching.to_state() if self.watching else None,
            maturing=self.maturing.to_state() if self.maturing else None,
            episode=self.episode.to_state() if self.episode else None,
            origin=self._origin.to_state() if self._origin else None,
            formers=self._formers.blobs if self._formers else [], formers_end=self._formers.end if self._formers else 0,
        )

    def restore(self, given: Given | None, state: LifeState) -> None:
        """Take over a state; raises ValueError or StateError where its parts do not fit each other."""
        if (state.learning is None) == (state.watching is None) or ((state.episode or state.maturing) and not state.watching):
            raise ValueError("it neither learns nor watches, or both")
        check_counters(state.before, state.episode_number, state.last_raised + 1)
        self._before, self.episode_number, self.last_raised = state.before, state.episode_number, state.last_raised
        if state.watching and state.watching.tracker.is_drifting != (state.episode is not None):
            raise ValueError("it has an episode and does not drift, or drifts without one")
        if state.learning:
            self._learn(Learning.from_state(self._settings, state.learning))
        if state.origin:
            self._origin = Origin.from_state(given.reference if given else None, state.origin, self._settings.kind)
        if state.watching:
            watching = Watching.from_state(self._settings, given, state.watching, self._origin, self._alarm)
            self._watch(watching, Maturing.from_state(self._settings, watching, state.maturing) if state.maturing else None)
        if state.episode:
            self._drift(Episode.from_state(self._settings, self._watching, state.episode))
        if state.formers_end or state.formers:
            self._formers = Formers(state.formers, state.formers_end)
            self._formers.check(self._settings)
        if self.last_raised >= max(self.n, 1):
            raise ValueError("its last alarm lies in the future")

    def _learn(self, learning: Learning) -> None:
        self.learning: Learning | None = learning
        self.watching: Watching | None = None
        self.maturing: Maturing | None = None
        self.episode: Episode | None = None
        self.phase = learning
        self.step.follow(learning.update)

    def _watch(self, watching: Watching, maturing: Maturing | None = None) -> None:
        self.learning, self.watching, self.maturing, self.episode = None, watching, maturing, None
        self.phase = maturing or watching
        if maturing or not isinstance(watching.tracker, Tracker):
            self.step.follow(maturing.update if maturing else watching.tracker.update)
        else:
            self.step.track(watching.tracker)

    def _drift(self, episode: Episode) -> None:
        self.episode = episode
        self.phase = episode
        self.step.follow(episode.update)

    def _leave(self) -> None:
        """Another reference will take the place of this one: keep it."""
        self._origin = self._watching.as_origin()
        self._formers = self._formers or Formers()
        self._formers.push(self._watching)

    def _learn_reference(self) -> tuple[str, str]:
        """Make what was collected the reference; return why, and by whom, that was asked for."""
        source = self.episode or self._learning
        if self.watching:
            self._leave()
        reference = source.learn()
        found = study(reference, self._settings.window_for(reference.m), source.is_extended, source.correlation)
        self._begin(Watching(self._settings, reference, found, origin=self._origin, alarm=self._alarm), source.values)
        return source.reason, source.by

    def _grow(self) -> str:
        """Learn the reference again, of all its values; return the reason."""
        old, maturing = self._watching, self.maturing
        assert maturing is not None
        self._origin = old.as_origin()
        reference = maturing.learn()
        found = study(reference, self._settings.window_for(reference.m, old.base), old.study.is_extended)
        watching = Watching(self._settings, reference, found, base=old.base, origin=self._origin)
        watching.inherit(old)
        self._begin(watching, maturing.values)
        return f"matured from {old.reference.m:,.0f} observations"

    def _begin(self, watching: Watching, values: Recent) -> None:
        watching.prefill(values)
        self._before = self.n
        self._watch(watching, Maturing.begin(self._settings, watching, values))

    @property
    def _watching(self) -> Watching:
        assert self.watching is not None
        return self.watching

    @property
    def _learning(self) -> Learning:
        assert self.learning is not None
        return self.learning

    def _tell(self, kind: str, at: int | None, position: int | None, reason: str = "", by: str = "") -> DriftEvent:
        watching, is_raised = self.watching, kind == KINDS[Verdict.RAISED]
        is_open = self.episode is not None and kind not in KINDS.values()
        fact = partial(
            DriftEvent, kind=kind, stream=self._settings.name, index=max(0, self.n - 1), position=position, at=at, episode=self.episode_number,
            evidence=self._settings.budget if is_open else self.evidence if is_raised else 0.0, budget=self._settings.budget, reason=reason, by=by,
        )
        if watching is None:
            return fact(guarantee=VOID, divergence={}, criterion=(), bins=(), window_n=0, reference_n=0)
        return fact(
            guarantee=guarantee(watching, watching.raised, self.maturing is not None),
            divergence=watching.estimates(EVENT_MEASURES), criterion=watching.criterion(),
            bins=tuple(watching.changes("kl")[:EVENT_BINS]), changed=tuple(watching.alarm_changes()[:EVENT_BINS]) if is_raised else (),
            window_n=watching.tracker.filled, reference_n=int(watching.reference.m),
        )
