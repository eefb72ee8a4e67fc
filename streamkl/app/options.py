"""Options: what was typed on the command line of `watch`, read from text; and faults of settings, said in its words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping

from streamkl.detect.detector import Detector
from streamkl.errors import ConfigError
from streamkl.service.values import is_number

DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(Detector).parameters.items()}


def settings(typed: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that were typed (None: it was not), each read from its text.

    >>> settings({"warmup": 200, "window": None, "min_effect": "none", "stride": "2", "false_alarms": "1 per 10000 events"})
    {'warmup': 200, 'min_effect': None, 'stride': 2, 'false_alarms': '1 per 10000 events'}
    """
    given = {name: value for name, value in typed.items() if value is not None}
    return {name: _read(name, value) if isinstance(value, str) else value for name, value in given.items()}


def _read(name: str, text: str) -> object:
    """Return a number, or what else the option takes."""
    if name == "min_effect" and text.lower() == "none":
        return None
    if name == "stride" and text != "auto":
        return _number(name, text, int, "a whole number of observations")
    if name == "min_effect":
        return _number(name, text, float, "a number of nats, nor none")
    return float(text) if name == "false_alarms" and is_number(text) else text


def _number(name: str, text: str, read: Callable[[str], float], what: str) -> float:
    try:
        return read(text)
    except ValueError:
        raise ConfigError(f"{_flag(name)} {text!r} is not {what}") from None


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def in_flags(message: str) -> str:
    """Return a message about settings of `Detector` in the words of the command line.

    >>> in_flags("min_effect=-1.0 must be a number of at least 0; correct it")
    '--min-effect -1.0 must be a number of at least 0; see: streamkl watch --help'
    """
    for name in DEFAULTS:
        message = re.sub(rf"\b{name}=", f"{_flag(name)} ", message)
    return message.replace("; correct it", "; see: streamkl watch --help")
