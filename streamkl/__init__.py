"""streamkl: a streaming drift detector for event pipelines.

KL(window || reference) says in nats how far a stream has moved; evidence says whether that is drift, within a false-alarm budget.
"""

from typing import TYPE_CHECKING, Any

from streamkl import divergence
from streamkl.detect import Detector, DetectorPool, DriftEvent
from streamkl.divergence import Estimate
from streamkl.errors import ConfigError, RecordError, StateError, StreamklError, Unavailable
from streamkl.sketch import Reference

__version__ = "0.1.0"

if TYPE_CHECKING:
    from streamkl.app.build_subscription import subscription
    from streamkl.app.control import Control
    from streamkl.app.subscribe import subscribe
    from streamkl.service.subscription import Subscription

__all__ = [
    "ConfigError", "Control", "Detector", "DetectorPool", "DriftEvent", "Estimate", "RecordError", "Reference", "StateError", "StreamklError",
    "Subscription", "Unavailable", "divergence", "subscribe", "subscription",
]

LAZY = {
    "Control": "streamkl.app.control",
    "Subscription": "streamkl.service.subscription",
    "subscribe": "streamkl.app.subscribe",
    "subscription": "streamkl.app.build_subscription",
}


def __getattr__(name: str) -> Any:
    """Load what is heavier than numpy when it is asked for."""
    if name not in LAZY:
        raise AttributeError(f"module 'streamkl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY})
