"""Configuration: a YAML file and the environment -> settings that can be trusted.

Rule 1: every fault is told, one line each, before anything is opened or connected.
Rule 2: no fault, no text and no schema ever shows a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from streamkl.app.config_application import Config
from streamkl.app.config_document import Document
from streamkl.app.config_environment import override, variables
from streamkl.app.config_fault import Fault, Path, refuse
from streamkl.app.config_refusal import refusal
from streamkl.app.config_rules import faults
from streamkl.app.config_secret import ENVIRONMENT

__all__ = ["Config", "json_schema", "load", "variable_names"]

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def load(path: str, environment: Mapping[str, str], *, with_correctors: bool = False) -> Config:
    """Return the settings of a YAML file, overridden by STREAMKL__... of the environment. Raises ConfigError, one line per fault.

    with_correctors: read them too; else there are none: who detects has neither their secrets nor their programs.
    """
    document = Document.of(path)
    override(document, environment)
    if not with_correctors:
        document.tree.pop("correctors", None)
    config, found = _checked(document.tree, environment)
    found = [*document.faults, *found]
    if config is None or found:
        raise refuse(path, document.origins, found)
    return config


def json_schema() -> dict[str, object]:
    """Return the JSON Schema of the file, for editors and checks."""
    return {"$schema": SCHEMA_DIALECT, **Config.model_json_schema(mode="validation"), "title": "streamkl configuration"}


def variable_names() -> list[str]:
    """Return the environment variables that override the file; 0 stands for any index, NAME for any name."""
    return list(variables(Config))


def _checked(tree: Mapping[str, object], environment: Mapping[str, str]) -> tuple[Config | None, list[Fault]]:
    """Return the settings, if there are any, and the faults: of shape, and those between what has a good shape."""
    config, shape = _validated(tree, environment)
    if config is None:
        config, _ = _validated(_without(tree, {fault.path for fault in shape}), environment)
    if config is None:
        return None, shape
    return config, [*shape, *(fault for fault in faults(config) if not _may_follow(fault, shape))]


def _may_follow(fault: Fault, shape: Iterable[Fault]) -> bool:
    """Return whether a fault between parts may only be there because one beside or below it was refused."""
    return any(one.path[:-1] == fault.path[:-1] or one.path[: len(fault.path)] == fault.path for one in shape)


def _validated(tree: object, environment: Mapping[str, str]) -> tuple[Config | None, list[Fault]]:
    try:
        return Config.model_validate(tree, context={ENVIRONMENT: environment}), []
    except ValidationError as error:
        return None, refusal(error, tree if isinstance(tree, Mapping) else {})


def _without(node: object, refused: Iterable[Path], path: Path = ()) -> object:
    """Return a tree without the parts that were refused."""
    if isinstance(node, Mapping):
        return {key: _without(value, refused, (*path, key)) for key, value in node.items() if (*path, key) not in refused}
    if isinstance(node, list):
        return [_without(value, refused, (*path, number)) for number, value in enumerate(node)]
    return node
