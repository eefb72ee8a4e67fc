"""Secret settings: read from the environment or from a file, never from the configuration itself.

Rule: what stands where a secret's place belongs is never repeated, in no message: it may be the secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from streamkl.service.secret import Secret

ENVIRONMENT = "environment"         # key of the validation context: the variables that secrets are read from
SECRET_BYTES_MAX = 65_536
PLACE = "must say where the secret is, {env: NAME} or {file: PATH}; a secret itself never stands in a configuration"


class _FromPlace:
    """Tells pydantic how a Secret is read."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        shown = core_schema.plain_serializer_function_ser_schema(repr, when_used="always")
        return core_schema.with_info_plain_validator_function(_secret, serialization=shown)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        places = {"env": "Name of an environment variable.", "file": "Path of a file; a line feed at its end is left out."}
        one = [
            {"type": "object", "properties": {name: {"type": "string", "description": text}}, "required": [name], "additionalProperties": False}
            for name, text in places.items()
        ]
        return {"oneOf": one}


SecretSetting = Annotated[Secret, _FromPlace]


def is_secret(part: object) -> bool:
    """Return whether a type is a secret, or may be left out."""
    return part in (SecretSetting, Secret) or SecretSetting in get_args(part) or Secret in get_args(part)


def _secret(place: object, info: ValidationInfo) -> Secret:
    if isinstance(place, Secret):
        return place
    if not isinstance(place, dict) or len(place) != 1 or not isinstance(value := place.get("env", place.get("file")), str):
        raise ValueError(PLACE)
    if "file" in place:
        return _of_file(value)
    variables: Mapping[str, str] = (info.context or {}).get(ENVIRONMENT, {})
    return _of_variable(value, variables)


def _of_variable(name: str, variables: Mapping[str, str]) -> Secret:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("env must be the name of an environment variable: letters, digits and _; a secret itself never stands in a configuration")
    if not variables.get(name):
        what = "empty" if name in variables else "not set"
        raise ValueError(f"the environment variable {name} is {what}; set it, or use {{file: PATH}}")
    return Secret(variables[name], f"the environment variable {name}")


def _of_file(path: str) -> Secret:
    reason = ""
    try:
        with open(path, "rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
        text = content.decode().removesuffix("\n").removesuffix("\r")
        if len(content) <= SECRET_BYTES_MAX and text and text.isprintable():
            return Secret(text, f"the file {path}")
        reason = "must hold one line of printable text"
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}"
    raise ValueError(f"the file {path} of a secret {reason}; correct the path or the file")
