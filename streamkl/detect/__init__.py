"""Detect: when has a stream drifted, within a budget of false alarms."""

from streamkl.detect.detector import Detector
from streamkl.detect.event import DriftEvent

__all__ = ["Detector", "DriftEvent"]
