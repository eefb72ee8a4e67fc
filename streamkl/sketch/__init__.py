"""Sketch: values become bins, bins become counts, learnt from a reference."""

from streamkl.sketch.bins import NumericBins
from streamkl.sketch.categories import CategoricalBins
from streamkl.sketch.histogram import Histogram
from streamkl.sketch.reference import Reference

__all__ = ["CategoricalBins", "Histogram", "NumericBins", "Reference"]
