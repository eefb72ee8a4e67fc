"""Build: what the operator typed -> parts put together.

Rule: the only place that knows which source, which decoder and which detector meet; a wrong setting is refused before anything is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from streamkl.adapters.file_source import FileSource, Format
from streamkl.app.label import label
from streamkl.detect.detector import Detector
from streamkl.errors import ConfigError
from streamkl.service.ports import Decoder
from streamkl.service.streams import Streams, Watched


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

    detector(watched.values[0])
    sizes = {} if options.block_bytes is None else {"block_bytes": options.block_bytes}
    name = "standard input" if options.file == "-" else label(options.file)
    source = FileSource(options.file, partial(_decoder, watched.fields, name), options.format, **sizes)
    return source, Streams(watched, detector, source.name, options.is_strict)


def min_effect(text: str) -> float | None:
    """Return --min-effect as a setting.

    >>> min_effect("0.1"), min_effect("none")
    (0.1, None)
    """
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--min-effect {text!r} is neither a number of nats nor none") from None


def stride(text: str) -> int | str:
    """Return --stride as a setting: a number of observations, or "auto"."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--stride {text!r} is neither a number of observations nor auto") from None


def false_alarms(text: str) -> float | str:
    """Return --false-alarms as a setting: a number of observations per false alarm, or a sentence.

    >>> false_alarms("10000"), false_alarms("1 per 10000 events")
    (10000.0, '1 per 10000 events')
    """
    try:
        return float(text)
    except ValueError:
        return text


def _decoder(fields: tuple[str, ...], name: str, format: Format) -> Decoder:
    if format == "csv":
        from streamkl.adapters.csv_decoder import CsvDecoder

        return CsvDecoder(fields, name)
    from streamkl.adapters.json_decoder import JsonDecoder

    return JsonDecoder(fields, name)
