"""Build alarm: what stands under `alarm` of a configuration -> an alarm.

Rule: only who asks for a detector of river loads river.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamkl.app.config_document import plain
from streamkl.app.config_fault import Fault
from streamkl.detect.alarm import Alarm

WHAT_TO_WRITE = "write evidence, threshold, or e.g. {river: ADWIN, delta: 0.002}"


def with_alarm(settings: Mapping[str, object]) -> dict[str, Any]:
    """Return the keyword arguments of Detector with the alarm that they describe. Raises ConfigError."""
    return {**settings, "alarm": alarm_of(settings["alarm"])}


def alarm_of(setting: object) -> str | Alarm:
    """Return the alarm of a setting: a name of ours as it is, one of river as an object. Raises ConfigError."""
    if not isinstance(setting, Mapping):
        return str(setting)
    from streamkl.adapters.river_drift import Wrong, river_alarm

    given = {str(name): plain(value) if isinstance(value, str) else value for name, value in setting.items()}
    name = given.pop("river", None)
    if not isinstance(name, str):
        raise Wrong(None, f"names no detector of river; {WHAT_TO_WRITE}")
    return river_alarm(name, given)


def alarm_fault(setting: object) -> Fault | None:
    """Return what is wrong with a setting, its path below `alarm`; None where nothing is."""
    if not isinstance(setting, Mapping):
        return None
    from streamkl.adapters.river_drift import Wrong

    try:
        alarm_of(setting)
    except Wrong as error:
        place = error.setting if error.setting in setting else "river" if "river" in setting else None
        return Fault(() if place is None else (place,), str(error))
    return None
