"""streamkl: a streaming drift detector for event pipelines.

KL(window || reference) says in nats how far a stream has moved; evidence says whether that is drift, within a false-alarm budget.
"""

from typing import NoReturn

from streamkl import divergence
from streamkl.detect import Detector, DetectorPool, DriftEvent
from streamkl.divergence import Estimate
from streamkl.errors import ConfigError, RecordError, StateError, StreamklError, Unavailable
from streamkl.sketch import Reference

__version__ = "0.1.0"

__all__ = [
    "ConfigError", "Detector", "DetectorPool", "DriftEvent", "Estimate", "RecordError", "Reference", "StateError", "StreamklError", "Unavailable",
    "divergence",
]

NOT_BUILT = ("subscribe",)


def __getattr__(name: str) -> NoReturn:
    if name in NOT_BUILT:
        raise ConfigError(f"streamkl.{name} is not built yet; read the drift-event topic with: streamkl events")
    raise AttributeError(f"module 'streamkl' has no attribute {name!r}")
