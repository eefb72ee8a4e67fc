"""Environment: STREAMKL__SOURCE__GROUP=x stands in the place of source.group, whatever the file says.

Rule 1: a name that leads nowhere is put into the configuration like any other, and refused there as an unknown key.
Rule 2: a value is text; one that begins with [ or { is read as YAML, null and nothing at all mean null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from streamkl.app.config_document import Document
from streamkl.app.config_fault import Fault, Path, dotted
from streamkl.app.config_model import Model, is_list, is_mapping, models_of
from streamkl.app.config_secret import is_secret
from streamkl.errors import ConfigError

PREFIX = "STREAMKL__"
DELIMITER = "__"


def override(document: Document, environment: Mapping[str, str]) -> None:
    """Put the variables of the environment into a document; what cannot be is a fault of it."""
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        path: Path = ()
        try:
            path = _put(document.tree, variable.removeprefix(PREFIX).split(DELIMITER), _value(environment[variable]))
        except ConfigError as error:
            path = (variable,)
            document.faults.append(Fault(path, str(error)))
        document.origins.override(path, variable)


def variables(model: type[Model], prefix: str = PREFIX) -> Iterator[str]:
    """Yield the names of all variables; lists have an index, NAME stands for names that the operator chose."""
    for name, field in model.model_fields.items():
        yield from _variables(field.annotation, field.metadata, prefix + name.upper())


def _variables(part: object, metadata: object, name: str) -> Iterator[str]:
    if is_mapping(part):
        yield from _variables(get_args(part)[-1], (), f"{name}{DELIMITER}NAME")
    elif is_list(part) and is_secret(get_args(part)[0]):
        yield from _variables(get_args(part)[0], (), f"{name}{DELIMITER}0")
    elif is_secret(part):
        yield from (f"{name}{DELIMITER}{place}" for place in ("ENV", "FILE"))
    elif models := models_of(get_args(part)[0] if is_list(part) else part):
        deeper = f"{name}{DELIMITER}0{DELIMITER}" if is_list(part) else f"{name}{DELIMITER}"
        yield from dict.fromkeys(variable for model in models for variable in variables(model, deeper))
    else:
        yield name


def _put(node: object, parts: list[str], value: object) -> Path:
    """Put a value where the parts lead; return the path. Raises ConfigError where something else stands in the way."""
    path: Path = ()
    for depth, part in enumerate(parts):
        place = _place(node, part, path)
        path = (*path, place)
        if depth == len(parts) - 1:
            node[place] = value  # type: ignore[index]
        elif isinstance(node, dict):
            if node.get(place) is None:
                node[place] = {}
            node = node[place]
        else:
            node = node[place]  # type: ignore[index]
    return path


def _place(node: object, part: str, path: Path) -> str | int:
    """Return the key or the index that a part of a name means; case tells nothing apart, as names of variables are capitals."""
    if not part:
        raise ConfigError(f"is not the name of a setting; write e.g. {PREFIX}SOURCE{DELIMITER}GROUP")
    if isinstance(node, list):
        if part.isascii() and part.isdigit() and int(part[:6]) < len(node):
            return int(part)
        raise ConfigError(f"{dotted(path)} has {len(node)} entries; use a number from 0 to {len(node) - 1}")
    if isinstance(node, dict):
        return next((key for key in node if key.lower() == part.lower()), part.lower())
    raise ConfigError(f"{dotted(path)} has no parts where it is written; write it out there, or set it whole")


def _value(text: str) -> object:
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return Document.value_of(text)
        except ConfigError as error:
            raise ConfigError(f"the value begins like YAML, but {str(error).split(': ', 1)[-1]}") from None
    return None if text.strip() in ("", "null", "~") else text
