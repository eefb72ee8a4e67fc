"""The documents under deploy/schemas/, which tell others what streamkl publishes. `python tests/schemas.py` writes them anew."""

from __future__ import annotations

import json
from pathlib import Path

from streamkl.service import alerts

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "schemas"


def documents() -> dict[str, str]:
    """File name -> text, as the models generate it."""
    generated = {
        "drift-event.v1.json": alerts.json_schema(alerts.DriftEventData),
        "reading.v1.json": alerts.json_schema(alerts.ReadingData),
        "asyncapi.v1.json": alerts.async_api(),
    }
    return {name: json.dumps(document, indent=2) + "\n" for name, document in generated.items()}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (FOLDER / name).write_text(text)
