"""Kernel: the native part, what every single event changes."""

from streamkl.detect.kernel.state import EvidenceState, TrackerState
from streamkl.detect.kernel.tracker import Tracker

__all__ = ["EvidenceState", "Tracker", "TrackerState"]
