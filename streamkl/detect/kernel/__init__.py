"""Kernel: the native part, what every single event changes."""

try:
    from streamkl.detect.kernel.entry import Entry, Step
    from streamkl.detect.kernel.fleet import Fleet
    from streamkl.detect.kernel.order import largest_inside, matches
    from streamkl.detect.kernel.tracker import Tracker
except ModuleNotFoundError as error:
    raise ImportError(
        "streamkl's native part is not built here: this is a source tree, not the installed package; "
        "leave this folder (or run python -P), or build it in place with: pip install -e ."
    ) from error
from streamkl.detect.kernel.state import EvidenceState, GaugeReading, TrackerState

__all__ = ["Entry", "EvidenceState", "Fleet", "GaugeReading", "Step", "Tracker", "TrackerState", "largest_inside", "matches"]
