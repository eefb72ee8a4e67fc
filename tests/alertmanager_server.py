"""A real Alertmanager for tests: Prometheus' own program on loopback, routed as deploy/alertmanager.yaml says, with shorter waits.

Rule: where there is none, the test is skipped with the reason - or fails, where STREAMKL_REQUIRE_ALERTMANAGER=1.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from receiver import Receiver

EXAMPLE = Path(__file__).resolve().parent.parent / "deploy" / "alertmanager.yaml"
REQUIRED = "STREAMKL_REQUIRE_ALERTMANAGER"
PROGRAMS = ("prometheus-alertmanager", "alertmanager")       # Debian's name, and its own
GROUP_WAIT_SECONDS = 6


class AlertmanagerServer:
    """Runs until it is closed. channel: gets its notifications."""

    def __init__(self, folder: Path) -> None:
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            reason = f"there is no {' or '.join(PROGRAMS)}; Debian: apt-get install prometheus-alertmanager"
            if os.environ.get(REQUIRED) == "1":
                pytest.fail(f"{REQUIRED}=1, but {reason}", pytrace=False)
            pytest.skip(reason)
        self.channel = Receiver()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (folder / "config.yaml").write_text(yaml.safe_dump(self._config()))
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [program, f"--config.file={folder / 'config.yaml'}", f"--storage.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}",
             "--cluster.listen-address=", "--log.level=debug"], stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.until(lambda: self._ask("/-/ready") is not None, "Alertmanager is ready", 30)

    def _config(self) -> dict[str, Any]:
        made: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
        (route,) = made["route"]["routes"]
        made["global"] = {"resolve_timeout": "1s"}           # of an alert that says no end of its own
        route["group_wait"], route["group_interval"] = f"{GROUP_WAIT_SECONDS}s", "2s"
        made["receivers"][1]["webhook_configs"][0]["url"] = self.channel.url
        return made

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def alerts(self) -> list[dict[str, Any]]:
        """What fires now."""
        found: list[dict[str, Any]] = json.loads(self._ask("/api/v2/alerts") or "[]")
        return found

    def notifications(self, group: str) -> list[dict[str, Any]]:
        """What the channel was told of one group, in order."""
        told = [json.loads(request.body) for request in self.channel.requests]
        return [one for one in told if one["groupLabels"].get("group") == group]

    def until(self, is_done: Callable[[], bool], what: str, seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not is_done():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
            time.sleep(0.05)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
        self.channel.close()

    def _ask(self, path: str) -> bytes | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read() if answer.status == 200 else None
        except OSError:
            return None
        finally:
            connection.close()
