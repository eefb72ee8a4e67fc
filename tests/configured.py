"""Configurations for tests: one that is right, and what becomes of it with some parts changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from streamkl.app.config import Config, load
from streamkl.errors import ConfigError

KAFKA: dict[str, Any] = {
    "application": "payments",
    "source": {"kind": "kafka", "bootstrap_servers": ["broker:9092"]},
    "streams": [
        {"topic": "payments", "key": {"field": "customer.region"}, "fields": {"amount": {"path": "payload.amount"}, "method": "categorical"}},
    ],
}
FILE: dict[str, Any] = {
    "application": "payments",
    "source": {"kind": "file", "path": "-"},
    "streams": [{"fields": {"amount": "numeric"}}],
}


def changed(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with other values at dotted paths; ... takes a part away."""
    made = copy.deepcopy(dict(tree))
    for path, value in changes.items():
        *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        node: Any = made
        for part in above:
            node = node.setdefault(part, {}) if isinstance(node, dict) else node[part]
        if value is ...:
            del node[last]
        else:
            node[last] = value
    return made


def write(folder: Path, tree: object, name: str = "config.yaml") -> str:
    text = tree if isinstance(tree, str) else yaml.safe_dump(tree, sort_keys=False)
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def loaded(folder: Path, tree: object, environment: Mapping[str, str] | None = None) -> Config:
    return load(write(folder, tree), environment or {})


def faults(folder: Path, tree: object, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the faults of a configuration, each without the file's name and line."""
    try:
        loaded(folder, tree, environment)
    except ConfigError as error:
        return [line.split(": ", 1)[1] for line in str(error).splitlines()]
    return []
