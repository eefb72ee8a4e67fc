"""Given: a reference that was not learnt from the stream, and what its order told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from streamkl.detect.settings import Settings
from streamkl.detect.state import DetectorState
from streamkl.detect.study import Study, study
from streamkl.errors import ConfigError
from streamkl.sketch.reference import Reference


class Given(NamedTuple):
    """reference: without its order, which the study has told all of."""

    reference: Reference
    study: Study

    @classmethod
    def of(cls, reference: object, settings: Settings) -> Given | None:
        """Return what a user gave as `reference`, None for None; raises ConfigError for what is none, ValueError for too few values."""
        if isinstance(reference, Reference) and reference.kind != settings.kind:
            raise ConfigError(f"reference is {reference.kind}, kind={settings.kind!r}; pass kind={reference.kind!r}, or another reference")
        if reference is None:
            return None
        if isinstance(reference, (str, bytes)) or not isinstance(reference, (Reference, Iterable, np.ndarray)):
            raise ConfigError(f"reference must be a Reference, a sequence of values or None, got a {type(reference).__name__}; read the file first")
        whole = reference if isinstance(reference, Reference) else Reference.fit(reference, settings.kind)
        return cls(whole.without_order(), study(whole, settings.window_for(whole.m)))

    @classmethod
    def from_state(cls, settings: Settings, state: DetectorState) -> Given | None:
        """Return what was stored; raises ValueError or StateError where its parts do not fit."""
        if (state.given is None) != (state.given_study is None):
            raise ValueError("its given reference, or what was found in it, is missing")
        if state.given is None or state.given_study is None:
            return None
        reference = Reference.from_state(state.given)
        if reference.kind != settings.kind:
            raise ValueError("its given reference is of another kind")
        state.given_study.check(reference.m, settings.window_for(reference.m))
        return cls(reference, state.given_study)
