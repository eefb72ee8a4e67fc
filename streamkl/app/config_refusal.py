"""Refusal: what pydantic says of a configuration -> faults in our words.

Rule: no value is repeated but numbers and the operator's choice among a few words, and nothing at all below `source.security`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from streamkl.app.config_application import Config
from streamkl.app.config_fault import PRIVATE, Fault, Path, did_you_mean
from streamkl.app.config_model import Model, models_at
from streamkl.app.label import label

SHAPES = {
    "model_type": "must be a mapping of settings",
    "model_attributes_type": "must be a mapping of settings",
    "dict_type": "must be a mapping of names",
    "mapping_type": "must be a mapping of names",
    "list_type": "must be a list, each entry after a dash",
    "string_type": "must be text; put it into quotes",
}


def refusal(error: ValidationError, tree: Mapping[str, object]) -> list[Fault]:
    """Return one fault for each path that pydantic refused."""
    found: dict[Path, Fault] = {}
    for details in error.errors(include_url=False, include_input=False):
        fault = _fault(details, tree)
        found.setdefault(fault.path, fault)
    return list(found.values())


def _fault(details: ErrorDetails, tree: Mapping[str, object]) -> Fault:
    kind, context = details["type"], details.get("ctx", {})
    path, value = _place(details, tree)
    if kind == "extra_forbidden":
        return Fault(path, f"unknown key; {did_you_mean(str(path[-1]), _known(path[:-1], tree))}")
    if kind == "missing":
        return Fault(path, f"is missing; {_description(path)}")
    if kind == "union_tag_not_found" and not isinstance(value, Mapping):
        return Fault(path, SHAPES["model_type"])
    if kind == "union_tag_not_found":
        return Fault((*path, "kind"), f"is missing; {_kinds(path)}")
    if kind == "union_tag_invalid":
        return Fault((*path, "kind"), f"is unknown; use {_kinds(path)}")
    if kind == "value_error":
        return Fault(path, str(context.get("error", details["msg"])))
    if kind == "literal_error":
        shown = f"{label(str(value))!r} is unknown" if isinstance(value, str) and path[:2] != PRIVATE else "is unknown"
        return Fault(path, f"{shown}; use {context.get('expected')}")
    if kind in SHAPES:
        return Fault(path, SHAPES[kind] + (f", it is {value}" if _is_number(value) and path[:2] != PRIVATE else ""))
    said = details["msg"].replace("Input should", "must").replace("must be a valid", "must be a")
    return Fault(path, f"{said[:1].lower()}{said[1:]}" + (f", not {value}" if _is_number(value) and path[:2] != PRIVATE else "") + "; correct it")


def _place(details: ErrorDetails, tree: Mapping[str, object]) -> tuple[Path, object]:
    """Return the path as it was written, without what pydantic adds to it, and what stands there."""
    path: Path = ()
    node: object = tree
    for number, part in enumerate(details["loc"], 1):
        if part == "[key]":
            break
        if (isinstance(node, Mapping) and part in node) or (isinstance(node, list) and isinstance(part, int)):
            node = _below(node, part)
            path = (*path, part)
        elif details["type"] == "missing" and number == len(details["loc"]):
            return (*path, part), None
    return path, node


def _below(node: object, part: str | int) -> object:
    return node[part] if isinstance(node, list) and isinstance(part, int) else node[part] if isinstance(node, Mapping) else None


def _known(path: Path, tree: Mapping[str, object]) -> list[str]:
    """Return the keys that may stand in a mapping; of a source or a corrector those of its kind."""
    models = models_at(Config, path)
    node: object = tree
    for part in path:
        node = _below(node, part)
    if isinstance(node, Mapping) and len(models) > 1:
        models = [model for model in models if _is_of(model, str(node.get("kind")))] or models
    return list(dict.fromkeys(_names(models)))


def _kinds(path: Path) -> str:
    """Return the kinds of what stands at a path, in words."""
    known = [kind for model in models_at(Config, path) for kind in get_args(model.model_fields["kind"].annotation)]
    return " or ".join(known) + ("" if path == ("source",) else ", or the dotted name of a module of your own")


def _is_of(model: type[Model], kind: str) -> bool:
    words = get_args(model.model_fields["kind"].annotation)
    return kind in words or (not words and "." in kind)


def _names(models: list[type]) -> Iterator[str]:
    for model in models:
        yield from model.model_fields  # type: ignore[attr-defined]


def _description(path: Path) -> str:
    for model in models_at(Config, path[:-1]):
        if (field := model.model_fields.get(str(path[-1]))) is not None and field.description:
            return field.description
    return "add it"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
