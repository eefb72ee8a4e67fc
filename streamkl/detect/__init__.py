"""Detect: when has a stream drifted, within a budget of false alarms."""

from streamkl.detect.detector import Detector
from streamkl.detect.event import DriftEvent
from streamkl.detect.pool import DetectorPool

__all__ = ["Detector", "DetectorPool", "DriftEvent"]
