"""Jars: what a Kafka broker is made of, fetched once from Maven Central into a cache.

Rule 1: standard library only; needs `java` (17 or newer) always, `mvn` only until the cache is filled.
Rule 2: a cache is complete or absent: it is filled beside its place and then renamed, so that two processes may fetch at once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
LEAST_JAVA = 17


class LocalKafkaError(Exception):
    """No broker can be had; the message says what is missing and what to do."""


def version() -> str:
    """Return Kafka's version, as pom.xml says it."""
    found = re.search(r"<kafka\.version>([^<]+)<", POM.read_text(encoding="utf-8"))
    if found is None:
        raise LocalKafkaError(f"{POM} names no kafka.version; restore the file")
    return found[1]


def cache() -> Path:
    """Return the folder of the jars, there or not: $XDG_CACHE_HOME/streamkl/kafka-<version>, by default below ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "streamkl" / f"kafka-{version()}"


def java() -> str:
    """Return the path of a java that can run the broker. Raises LocalKafkaError where there is none, or one that is too old."""
    home = os.environ.get("JAVA_HOME")
    path = shutil.which("java", path=f"{home}/bin") if home else None
    path = path or shutil.which("java")
    if path is None:
        raise LocalKafkaError(f"no java was found on PATH or in JAVA_HOME; Kafka needs Java {LEAST_JAVA}: apt-get install openjdk-17-jre-headless")
    told = subprocess.run([path, "-version"], capture_output=True, text=True).stderr
    number = re.search(r'version "(\d+)', told)
    if number is None or int(number[1]) < LEAST_JAVA:
        first = (told.splitlines() or ["nothing"])[0]
        raise LocalKafkaError(f"{path} says {first!r}, but Kafka {version()} needs Java {LEAST_JAVA} or newer: put it on PATH or in JAVA_HOME")
    return path


def is_cached() -> bool:
    """Return whether the jars are there, as this pom.xml wants them."""
    kept = cache() / POM.name
    return kept.is_file() and kept.read_bytes() == POM.read_bytes()


def jars() -> Path:
    """Return the folder of the jars, fetched if need be. Raises LocalKafkaError where they cannot be had."""
    if not is_cached():
        _fetch()
    return cache()


def _fetch() -> None:
    mvn = shutil.which("mvn")
    if mvn is None:
        raise LocalKafkaError(f"the jars of Kafka {version()} are not in {cache()}, and no mvn is on PATH to fetch them: apt-get install maven")
    cache().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=cache().parent) as name:
        fresh = Path(name) / "jars"
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
        done = subprocess.run([mvn, "-q", "-B", "-f", str(POM), *goal], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), f"exit code {done.returncode}")
            raise LocalKafkaError(f"mvn could not fetch the jars of Kafka {version()}: {reason}; is repo.maven.apache.org within reach?")
        shutil.copy(POM, fresh)
        _put_in_place(fresh)


def _put_in_place(fresh: Path) -> None:
    """Rename, after whatever is there and of no use has been moved out of the way; another process may have been quicker."""
    if is_cached():
        return
    if cache().exists():
        cache().rename(fresh.parent / "stale")
    try:
        fresh.rename(cache())
    except OSError as error:
        if not is_cached():
            raise LocalKafkaError(f"{cache()} could not be put in place: {error}") from error
