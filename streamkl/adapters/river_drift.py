"""River's drift detectors and ours, either in the place of the other.

`StreamKL`: a Detector that river's models and pipelines take as one of their drift detectors.
`RiverAlarm`: a drift detector of river that a Detector takes as its alarm, behind stride, criterion and episodes.

Rule: an alarm is a function of its values: a detector that draws lots without a seed, or whose state has no plain form, is refused when it is given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Any

from river import base, drift

from streamkl.adapters.river_state import FAILURES, Unknown, encoded, fill, rehearse
from streamkl.detect import Detector
from streamkl.errors import ConfigError, StateError
from streamkl.sketch import Reference

TRIED = [float(i * i % 7) for i in range(40)]
RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {        # what river takes without a word, and later fails of
    "ADWIN": {"delta": (1e-300, 0.999), "clock": (1, 10**9), "max_buckets": (2, 1000), "min_window_length": (1, 10**9), "grace_period": (0, 10**9)},
    "KSWIN": {"alpha": (0, 1), "window_size": (2, 100_000), "stat_size": (1, 50_000)},
    "PageHinkley": {"min_instances": (0, 10**9), "delta": (0, 1e100), "threshold": (0, 1e100), "alpha": (0, 1)},
    "DummyDriftDetector": {"t_0": (1, 10**9), "w": (0, 10**9)},
}
KINDS: Mapping[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,), type(None): (int, type(None))}
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "nothing"}


class StreamKL(base.DriftAndWarningDetector):
    """Detect drift of one numeric or categorical stream, within a budget of false alarms.

    Parameters are those of `streamkl.Detector`, whose object is `detector`. `drift_detected` tells of the last update only. `warning_detected`:
    the evidence is half way to the budget, on the scale on which it grows (its logarithm), and KL half way to its limit, and drift is not
    raised; never with another alarm.
    Missing values (None, NaN) are counted as such; they never silence it. Raises ConfigError for a wrong setting,
    TypeError for one that does not exist.

    >>> import random
    >>> rng = random.Random(12345)
    >>> stream = rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)
    >>> drift = StreamKL()
    >>> for i, value in enumerate(stream):
    ...     drift.update(value)
    ...     if drift.drift_detected:
    ...         print("drift at", i)
    drift at 1003
    """

    def __init__(self, reference: Reference | Sequence[object] | None = None, **settings: object) -> None:
        super().__init__()
        if reference is not None and not isinstance(reference, Reference):
            reference = Reference.fit(reference, str(settings.get("kind", "numeric")))
        self.reference, self.settings = reference, settings
        self.detector = Detector(reference, **settings)  # type: ignore[arg-type]
        self._warned_at = self.detector.budget**0.5

    def update(self, x: float | int | str | None) -> None:
        """Take one observation."""
        event = self.detector.update(x)
        self._drift_detected = event is not None and event.kind == "drift.raised"
        is_likely = self.detector.evidence >= self._warned_at       # 0 from the alarm to the end of the episode
        self._warning_detected = is_likely and any(reading.kl > reading.limit / 2 for reading in self.detector.criterion())


class RiverAlarm:
    """A drift detector of river as the alarm of a Detector.

    detector: one of river's that takes numbers; its settings count, what it has seen does not. Raises ConfigError for one that takes
    truth values, or draws lots without a seed, or cannot be stored.

    >>> import random
    >>> from river.drift import ADWIN
    >>> rng = random.Random(12345)
    >>> stream = rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)
    >>> detector = Detector(alarm=RiverAlarm(ADWIN(delta=0.002)))
    >>> [(event.kind, event.index) for event in detector.update_many(stream)][:2], detector.guarantee
    ([('reference.learned', 599), ('drift.raised', 1023)], 'void')
    """

    def __init__(self, detector: base.DriftDetector) -> None:
        _refuse_what_is_none(detector)
        self.name = _name(detector)
        self._pattern = self._detector = detector.clone()
        try:
            is_repeatable = encoded(self._pattern, self._pattern) == encoded(self._pattern.clone(), self._pattern)
            rehearse(self._pattern, TRIED)
            self.fresh().restore(self.to_state())
        except (Unknown, StateError) as error:
            raise ConfigError(f"{self.name} cannot be stored, and a restart would lose what it learnt: {error}; use another detector") from error
        except FAILURES as error:
            raise ConfigError(f"{self.name} fails: {error}; correct its settings") from error
        if not is_repeatable:
            raise ConfigError(f"{self.name} is another one each time it is cloned; use one without random settings")

    def fresh(self) -> RiverAlarm:
        """Return one with the same settings that has seen nothing."""
        made = RiverAlarm.__new__(RiverAlarm)
        made.name, made._pattern, made._detector = self.name, self._pattern, self._pattern.clone()
        return made

    def update(self, x: float) -> bool:
        """Take one number; return whether the detector says drift."""
        self._detector.update(x)
        return bool(self._detector.drift_detected)

    def to_state(self) -> bytes:
        """Return all that the detector has learnt, as plain values."""
        return encoded(self._detector, self._pattern)

    def restore(self, state: bytes) -> None:
        """Take over what `to_state` returned. Raises StateError for what is damaged, or of other settings."""
        fill(self._detector, state)

    def __repr__(self) -> str:
        return f"<RiverAlarm {self.name}>"


class Wrong(ConfigError):
    """An alarm of river that cannot be had. setting: the one that is wrong, None: which detector was asked for."""

    def __init__(self, setting: str | None, sentence: str) -> None:
        super().__init__(sentence)
        self.setting = setting

    def __reduce__(self) -> tuple[Callable[..., Wrong], tuple[str | None, str]]:
        return Wrong, (self.setting, str(self))


def detectors() -> dict[str, type[base.DriftDetector]]:
    """Return the drift detectors of river.drift that can be alarms, by name.

    >>> sorted(detectors())
    ['ADWIN', 'DummyDriftDetector', 'KSWIN', 'NoDrift', 'PageHinkley']
    """
    found = ((name, thing) for name, thing in vars(drift).items() if inspect.isclass(thing) and issubclass(thing, base.DriftDetector))
    return {name: thing for name, thing in found if not inspect.isabstract(thing)}


def river_alarm(name: str, settings: Mapping[str, object]) -> RiverAlarm:
    """Return the alarm of a name and settings as somebody wrote them. Raises Wrong.

    >>> river_alarm("ADWIN", {"delta": 0.01}).name
    'river ADWIN(clock=32, delta=0.01, grace_period=10, max_buckets=5, min_window_length=5)'
    """
    known = detectors()
    if name not in known:
        raise Wrong(None, _why_unknown(name, list(known)))
    parameters = inspect.signature(known[name]).parameters
    for setting, value in settings.items():
        if setting not in parameters:
            raise Wrong(setting, f"unknown key; {_nearest(setting, list(parameters))}")
        kinds = KINDS.get(type(parameters[setting].default), ())
        if type(value) not in kinds or (parameters[setting].default is None and setting != "seed"):
            raise Wrong(setting, f"cannot be {_word(type(value))}; {_what_instead(setting, kinds)}")
        if fault := _out_of_range(name, setting, value):
            raise Wrong(setting, fault)
    try:
        return RiverAlarm(known[name](**settings))
    except ConfigError as error:
        raise Wrong(getattr(error, "setting", None), str(error)) from error
    except FAILURES as error:
        raise Wrong(None, f"{name} refuses its settings: {error}; correct them") from error


def _refuse_what_is_none(detector: object) -> None:
    if isinstance(detector, base.BinaryDriftDetector):
        raise ConfigError(f"{type(detector).__name__} takes truth values (whether a model erred), and a stream has numbers; use one of {_names()}")
    if not isinstance(detector, base.DriftDetector):
        raise ConfigError(f"{detector!r:.60} is no drift detector of river for one stream of numbers; use one of {_names()}")
    name = type(detector).__name__
    for setting, value in detector._get_params().items():
        if type(detector).__module__.startswith("river.") and (fault := _out_of_range(name, setting, value)):
            raise Wrong(setting, f"{setting}={value!r} {fault}")
        if not isinstance(value, (bool, int, float, str, type(None))) and (isinstance(value, base.Base) or len(value)):
            raise Wrong(setting, f"{setting} cannot be given to {name} as an alarm: it is fed the reference's values; leave it out")
    if detector._is_stochastic:
        raise Wrong("seed", f"seed is missing: without one {name} draws other lots after a restart, and finds other drift; give seed=1")
    if getattr(detector, "dynamic_cloning", False):
        raise Wrong("dynamic_cloning", "dynamic_cloning must be false: each reference begins with a clone, which must be an equal one")
    if name == "KSWIN" and detector.window_size < 2 * detector.stat_size:       # type: ignore[attr-defined]
        raise Wrong("window_size", f"window_size={detector.window_size} must be at least twice stat_size; KSWIN compares two samples of it")  # type: ignore[attr-defined]


def _out_of_range(name: str, setting: str, value: Any) -> str:
    low, high = RANGES.get(name, {}).get(setting, (None, None))
    if low is None or high is None:
        return "must be finite; correct it" if isinstance(value, float) and not isfinite(value) else ""
    return "" if isinstance(value, (int, float)) and low <= value <= high else f"must lie between {low:g} and {high:g}; correct it"


def _name(detector: base.DriftDetector) -> str:
    """Return what a detector is, with all its settings."""
    kind, given = type(detector), detector._get_params()
    settings = ", ".join(f"{name}={given[name]!r}" for name in sorted(given) if isinstance(given[name], (bool, int, float, str)))
    return f"{'river ' if kind.__module__.startswith('river.') else f'{kind.__module__}.'}{kind.__name__}({settings})"


def _why_unknown(name: str, known: Sequence[str]) -> str:
    if name in vars(drift.binary):
        return f"{name} takes truth values (whether a model erred), and a stream has numbers; use one of {', '.join(known)}"
    if inspect.isclass(vars(drift).get(name)):
        return f"{name} of river.drift is no drift detector; use one of {', '.join(known)}"
    return f"{name[:60]!r} is no drift detector of river; {_nearest(name, known)}"


def _what_instead(setting: str, kinds: Sequence[type]) -> str:
    """Return what to write where a setting has a value of the wrong kind; one that is no plain value is left out."""
    wanted = [_word(kind) for kind in kinds if kind is not type(None) and (kind is not int or float not in kinds)]
    return f"give {' or '.join(wanted)}" if wanted and setting != "window" else "leave it out"


def _word(kind: type) -> str:
    return WORDS.get(kind, f"a {kind.__name__}")


def _nearest(name: str, known: Sequence[str]) -> str:
    by_lower = {one.lower(): one for one in known}
    found = get_close_matches(name.lower(), by_lower, 1)
    return f"did you mean {by_lower[found[0]]}?" if found else f"known here: {', '.join(known) or 'none'}"


def _names() -> str:
    return ", ".join(detectors())
