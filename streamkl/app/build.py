"""Build: what the operator typed -> parts put together.

Rule: the only place that knows which source, which decoder and which detector meet; a wrong setting is refused before anything is read.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from streamkl.adapters.file_head import FORMATS, Format
from streamkl.adapters.file_source import FileSource
from streamkl.adapters.lines import is_unicode
from streamkl.app.label import label
from streamkl.detect.detector import Detector
from streamkl.errors import ConfigError
from streamkl.service.observations import Watched
from streamkl.service.ports import Decoder
from streamkl.service.streams import Streams
from streamkl.service.values import is_number

DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(Detector).parameters.items()}


@dataclass(frozen=True, slots=True)
class Options:
    """What to watch, and how. settings: of `Detector`; what was not typed is left out. block_bytes: None is the source's own."""

    file: str
    watched: Watched
    format: Format | None
    settings: Mapping[str, object]
    is_strict: bool = False
    block_bytes: int | None = None


def parts(options: Options) -> tuple[FileSource, Streams]:
    """Return the source and the streams. Raises ConfigError for a wrong setting."""
    watched = options.watched
    settings: dict[str, Any] = dict(options.settings)
    if watched.kind is not None:
        settings["kind"] = watched.kind

    def detector(name: str) -> Detector:
        return Detector(name=name, **settings)

    for column in watched.fields:
        _refuse_no_column(column)
    try:
        detector(watched.values[0])
    except ConfigError as error:
        raise ConfigError(_in_flags(str(error))) from error
    sizes = {} if options.block_bytes is None else {"block_bytes": options.block_bytes}
    name = "standard input" if options.file == "-" else label(options.file)
    source = FileSource(options.file, partial(_decoder, watched.fields, name), options.format, **sizes)
    return source, Streams(watched, detector, source.name, options.is_strict)


def settings(typed: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that were typed (None: it was not), each read from its text.

    >>> settings({"warmup": 200, "window": None, "min_effect": "none", "stride": "2", "false_alarms": "1 per 10000 events"})
    {'warmup': 200, 'min_effect': None, 'stride': 2, 'false_alarms': '1 per 10000 events'}
    """
    given = {name: value for name, value in typed.items() if value is not None}
    return {name: _read(name, value) if isinstance(value, str) else value for name, value in given.items()}


def _refuse_no_column(name: str) -> None:
    if name.endswith((*FORMATS, ".gz")) and os.path.isfile(name):
        raise ConfigError(f"{name!r} is a file, not a column; one FILE at a time, and first: streamkl watch {name} --value COL")
    if not is_unicode(name):
        raise ConfigError(f"the column name {name!r} is not UTF-8; convert the file first, e.g.: iconv -f LATIN1 -t UTF-8")


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


def _in_flags(message: str) -> str:
    """Return a message about settings of `Detector` in the words of the command line.

    >>> _in_flags("min_effect=-1.0 must be a number of at least 0; correct it")
    '--min-effect -1.0 must be a number of at least 0; see: streamkl watch --help'
    """
    for name in DEFAULTS:
        message = re.sub(rf"\b{name}=", f"{_flag(name)} ", message)
    return message.replace("; correct it", "; see: streamkl watch --help")


def _decoder(fields: tuple[str, ...], name: str, format: Format) -> Decoder:
    if format == "csv":
        from streamkl.adapters.csv_decoder import CsvDecoder

        return CsvDecoder(fields, name)
    from streamkl.adapters.json_decoder import JsonDecoder

    return JsonDecoder(fields, name)
