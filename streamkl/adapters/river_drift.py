"""StreamKL: a Detector that river's models and pipelines take as one of their drift detectors."""

from __future__ import annotations

from collections.abc import Sequence

from river import base

from streamkl.detect import Detector
from streamkl.sketch import Reference


class StreamKL(base.DriftDetector):
    """Detect drift of one numeric or categorical stream, within a budget of false alarms.

    Parameters are those of `streamkl.Detector`, whose object is `detector`. `drift_detected` tells of the last update only.
    Missing values (None, NaN) are counted as such; they never silence it. Raises ConfigError for a wrong setting,
    TypeError for one that does not exist.

    >>> import random
    >>> rng = random.Random(12345)
    >>> stream = rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)
    >>> drift = StreamKL()
    >>> for i, value in enumerate(stream):
    ...     drift.update(value)
    ...     if drift.drift_detected:
    ...         print("drift at", i)
    drift at 1003
    """

    def __init__(self, reference: Reference | Sequence[object] | None = None, **settings: object) -> None:
        super().__init__()
        if reference is not None and not isinstance(reference, Reference):
            reference = Reference.fit(reference, str(settings.get("kind", "numeric")))
        self.reference, self.settings = reference, settings
        self.detector = Detector(reference, **settings)  # type: ignore[arg-type]

    def update(self, x: float | int | str | None) -> None:
        """Take one observation."""
        event = self.detector.update(x)
        self._drift_detected = event is not None and event.kind == "drift.raised"
