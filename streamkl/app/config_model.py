"""Model: what every part of the configuration is made of.

Rule 1: a model is frozen, refuses unknown keys, and never shows its input in an error.
Rule 2: a rule between keys is a method `faults`: it yields every fault with its path below the model, and says why.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

from streamkl.app.config_document import plain
from streamkl.app.config_fault import Fault

NAME_LENGTH = 200
TOPIC_LENGTH = 249


class Model(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, validate_default=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_truth_value_only_where_asked(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and bool not in _alternatives(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("is true or false, which is neither a number nor text; put it into quotes if it is a name")
        return value

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong between the keys of this part."""
        yield from ()


def models_at(part: object, path: Sequence[str | int]) -> list[type[Model]]:
    """Return the models that may stand at a path below a type, e.g. both sources at ("source",)."""
    if not path:
        return models_of(part)
    found: list[type[Model]] = []
    for one in _alternatives(part):
        if isinstance(one, type) and issubclass(one, Model):
            if isinstance(path[0], str) and (field := one.model_fields.get(path[0])) is not None:
                found += models_at(field.annotation, path[1:])
        elif is_mapping(one) or is_list(one):
            found += models_at(get_args(one)[-1], path[1:])
    return found


def models_of(part: object) -> list[type[Model]]:
    """Return the models among what a type may be."""
    return [one for one in _alternatives(part) if isinstance(one, type) and issubclass(one, Model)]


def is_mapping(part: object) -> bool:
    """Return whether a type is a mapping of names chosen by the operator."""
    return _origin(part) in (dict, Mapping)


def is_list(part: object) -> bool:
    """Return whether a type is a list."""
    return _origin(part) in (list, tuple)


def is_file(path: str) -> bool:
    """Return whether a file can be read."""
    return os.path.isfile(path) and os.access(path, os.R_OK)


def _origin(part: object) -> object:
    return getattr(part, "__origin__", None)


def _alternatives(part: object) -> Iterator[object]:
    """Yield what a type may be: itself, or the members of a union, without annotations."""
    if hasattr(part, "__metadata__"):
        yield from _alternatives(_origin(part))
    elif _origin(part) in (dict, Mapping, list, tuple) or isinstance(part, type):
        yield part
    else:
        for one in get_args(part):
            yield from _alternatives(one)


def _plain_name(text: str) -> str:
    if not re.fullmatch(rf"[a-zA-Z0-9._-]{{1,{NAME_LENGTH}}}", text) or text in (".", ".."):
        raise ValueError(f"must be 1 to {NAME_LENGTH} of the characters a-z A-Z 0-9 . _ -, for topics and groups are named after it")
    return text


def _topic(text: str) -> str:
    if not re.fullmatch(rf"[a-zA-Z0-9._-]{{1,{TOPIC_LENGTH}}}", text) or text in (".", ".."):
        raise ValueError(f"is no name of a topic; use 1 to {TOPIC_LENGTH} of the characters a-z A-Z 0-9 . _ -")
    return text


def _segment(text: str) -> str:
    if not 0 < len(text) <= NAME_LENGTH or "/" in text or not text.isprintable() or text != text.strip():
        raise ValueError(f"must be 1 to {NAME_LENGTH} printable characters without /, which parts the names of streams; set path for what it reads")
    return text


def _text(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("must be printable text, not empty")
    return text


def _number_of_text(value: object) -> object:
    """Return the number in a text: an environment variable has nothing else."""
    return plain(value) if isinstance(value, str) else value


PlainName = Annotated[str, AfterValidator(_plain_name)]
Topic = Annotated[str, AfterValidator(_topic)]
Segment = Annotated[str, AfterValidator(_segment)]
Text = Annotated[str, AfterValidator(_text)]
NumberOrText = Annotated[int | float | str, BeforeValidator(_number_of_text)]
CountOrText = Annotated[int | str, BeforeValidator(_number_of_text)]
