"""The rules of streamkl/ARCHITECTURE.md, each a function over a source tree - and each shown to find what breaks it.

A rule returns sentences, one per violation; no sentence, no violation.
"""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FLOORS = {"errors": 0, "sketch": 1, "divergence": 1, "detect": 2, "service": 3, "adapters": 4, "app": 5}
PURE = {"errors", "sketch", "divergence", "detect"}
PURE_IMPORTS = {
    "__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "cython", "dataclasses", "enum", "functools",
    "hashlib", "heapq", "itertools", "json", "libc", "cpython", "math", "msgspec", "numbers", "numpy", "operator", "re", "statistics", "streamkl",
    "string", "struct", "types", "typing", "unicodedata", "zlib",
}  # fmt: skip
IMPURE_PARTS = re.compile(r"^(numpy\.random|libc\.(time|stdio)|numpy\.(load|save|savez|fromfile|memmap|loadtxt|savetxt))(\.|$)")
IMPURE_CALLS = {"open", "print", "input", "breakpoint"}
ONLY_IN = {
    "kafka": ["adapters/kafka_*.py"],
    "river": ["adapters/river_drift.py"],
    "pydantic": ["app/config.py", "app/config_*.py", "service/alerts.py"],
    "structlog": ["service/telemetry.py", "service/delivery_telemetry.py", "adapters/log.py", "app/logging.py"],
    "typer": ["app/*.py"],
    "rich": ["app/*.py"],
    "prometheus_client": ["adapters/prometheus.py"],
    "stamina": ["service/delivery.py"],
    "urllib3": ["adapters/http_sender.py"],
    "scipy": [],
    "pandas": [],
}
NAMES_OF_NOTHING = {"util", "utils", "helper", "helpers", "common", "misc", "base", "manager", "managers"}
UNSAFE_IMPORTS = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "__import__"}
CATCHES_ALL = {"app/cli.py", "service/delivery.py"}
"""A command line ends with a code, whatever happened; a corrector is somebody else's code, and may raise anything without ending the subscription."""
TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "streamkl", "deploy", "tests", "examples"}
MOST_LINES = 300


# ---------------------------------------------------------------- reading a tree


def sources(root: Path, *suffixes: str) -> Iterator[tuple[str, str]]:
    """Path inside streamkl/ and text of every source file; what the Cython compiler writes (.c, .cpp) is not source."""
    for path in sorted((root / "streamkl").rglob("*")):
        if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts:
            yield path.relative_to(root / "streamkl").as_posix(), path.read_text(encoding="utf-8")


def folder(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def imports(path: str, text: str) -> list[str]:
    """Dotted names that a file imports, anywhere in it; relative ones resolved; `from a import b` gives a.b."""
    if not path.endswith((".py", ".pyi")):
        return native_imports(text)
    package = ["streamkl", *path.split("/")[:-1]]
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            found += [f"{module}.{alias.name}" for alias in node.names]
    return found


def native_imports(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        if match := re.match(r"\s*from\s+([\w.]+)\s+c?import\s+(.+)", line):
            found += [f"{match[1]}.{name.strip().split(' ')[0]}" for name in match[2].strip("()").split(",") if name.strip()]
        elif match := re.match(r"\s*c?import\s+([\w.]+)", line):
            found.append(match[1])
    return found


def own_file(root: Path, dotted: str) -> str | None:
    """The file of streamkl/ that an imported name comes from."""
    parts = dotted.split(".")
    if parts[0] != "streamkl":
        return None
    for length in (len(parts), len(parts) - 1):
        stem = Path(*parts[1:length]) if length > 1 else Path()
        for candidate in (stem.with_suffix(".py") if stem.name else None, stem.with_suffix(".pyx") if stem.name else None, stem / "__init__.py"):
            if candidate is not None and (root / "streamkl" / candidate).is_file():
                return candidate.as_posix()
    return None


def called_names(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


# ---------------------------------------------------------------- the rules


def imports_go_down(root: Path) -> list[str]:
    faults = []
    for path, text in sources(root, ".py", ".pyx", ".pyi"):
        if "/" not in path and path != "errors.py":
            continue                                    # the public face and `python -m streamkl` see everything
        for name in imports(path, text):
            if name.split(".")[0] != "streamkl":
                continue
            here, there = folder(path), [*name.split("."), ""][1]
            if there not in FLOORS or here not in FLOORS:
                faults.append(f"{path} imports {name}: not a floor of the house")
            elif here != there and FLOORS[there] >= FLOORS[here]:
                faults.append(f"{path} (floor {FLOORS[here]}) imports {name} (floor {FLOORS[there]})")
    return faults


def no_import_circle(root: Path) -> list[str]:
    graph = {
        path: sorted({f for name in imports(path, text) if (f := own_file(root, name)) and f != path})
        for path, text in sources(root, ".py", ".pyx")
    }
    done: set[str] = set()
    faults = []

    def visit(path: str, trail: list[str]) -> None:
        if path in trail:
            faults.append("circle: " + " -> ".join([*trail[trail.index(path) :], path]))
        elif path not in done:
            for target in graph.get(path, []):
                visit(target, [*trail, path])
            done.add(path)

    for path in graph:
        visit(path, [])
    return faults


def sketch_and_divergence_are_strangers(root: Path) -> list[str]:
    pairs = {"sketch": "streamkl.divergence", "divergence": "streamkl.sketch"}
    return [
        f"{path} imports {name}"
        for path, text in sources(root, ".py")
        for name in imports(path, text)
        if folder(path) in pairs and (name + ".").startswith(pairs[folder(path)] + ".")
    ]


def floors_one_and_two_are_pure(root: Path) -> list[str]:
    faults = []
    for path, text in sources(root, ".py", ".pyx", ".pxd"):
        if folder(path) not in PURE:
            continue
        faults += [f"{path} imports {n}" for n in imports(path, text) if n.split(".")[0] not in PURE_IMPORTS or IMPURE_PARTS.match(n)]
        faults += [f"{path} uses numpy.random" for _ in re.findall(r"\b(?:np|numpy)\.random\b", text)]
        if path.endswith(".py"):
            faults += [f"{path} calls {name}()" for name in called_names(text) if name in IMPURE_CALLS]
    return faults


def state_is_encoded_in_one_file(root: Path) -> list[str]:
    users = [p for p, text in sources(root, ".py", ".pyx") if folder(p) in PURE and any(n.split(".")[0] == "msgspec" for n in imports(p, text))]
    return [f"msgspec is imported in {' and '.join(users)}"] if len(users) > 1 else []


def dependencies_stay_in_their_files(root: Path) -> list[str]:
    return [
        f"{path} imports {name}"
        for path, text in sources(root, ".py", ".pyx")
        for name in imports(path, text)
        if name.split(".")[0] in ONLY_IN and not any(fnmatch.fnmatch(path, allowed) for allowed in ONLY_IN[name.split(".")[0]])
    ]


def build_alone_puts_parts_together(root: Path) -> list[str]:
    return [
        f"{path} imports {name}"
        for path, text in sources(root, ".py")
        for name in imports(path, text)
        if name.startswith("streamkl.adapters") and folder(path) != "adapters" and not fnmatch.fnmatch(path, "app/build*.py")
    ]


def files_are_named_by_a_noun(root: Path) -> list[str]:
    paths = [p.relative_to(root) for p in (root / "streamkl").rglob("*") if "__pycache__" not in p.parts]
    return [f"{p} is called {p.stem}" for p in paths if NAMES_OF_NOTHING & {p.stem.lower(), *p.stem.lower().split("_")[-1:]}]


def files_are_short(root: Path) -> list[str]:
    counts = ((path, len(text.splitlines())) for path, text in sources(root, ".py", ".pyx", ".pxd", ".pyi", ".h"))
    return [f"{path} has {lines} lines" for path, lines in counts if lines > MOST_LINES]


def top_level_is_bare(root: Path) -> list[str]:
    ignored = [line.rstrip("/") for line in (root / ".gitignore").read_text().splitlines() if line and not line.startswith("#")]
    extra = [p.name for p in root.iterdir() if p.name not in TOP_LEVEL and not p.name.startswith(".")]
    return [f"{name} at the top level" for name in extra if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)]


def only_two_files_catch_everything(root: Path) -> list[str]:
    faults = []
    for path, text in sources(root, ".py"):
        if path in CATCHES_ALL:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ExceptHandler):
                kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                if any(k is None or ast.unparse(k) in {"Exception", "BaseException", "builtins.Exception"} for k in kinds):
                    faults.append(f"{path}:{node.lineno} catches everything")
    bare = re.compile(r"^\s*except\s*(Exception|BaseException)?\s*:", re.M)
    return faults + [f"{path} catches everything" for path, text in sources(root, ".pyx") if bare.search(text)]


def nothing_is_pickled_or_evaluated(root: Path) -> list[str]:
    faults = []
    for path, text in sources(root, ".py", ".pyx"):
        faults += [f"{path} imports {name}" for name in imports(path, text) if name.split(".")[0] in UNSAFE_IMPORTS]
        if path.endswith(".py"):
            faults += [f"{path} calls {name}()" for name in called_names(text) if name in UNSAFE_CALLS]
        faults += [f"{path} allows pickles"] if re.search(r"allow_pickle\s*=\s*True", text) else []
    return faults


RULES = [
    imports_go_down,
    no_import_circle,
    sketch_and_divergence_are_strangers,
    floors_one_and_two_are_pure,
    state_is_encoded_in_one_file,
    dependencies_stay_in_their_files,
    build_alone_puts_parts_together,
    files_are_named_by_a_noun,
    files_are_short,
    top_level_is_bare,
    only_two_files_catch_everything,
    nothing_is_pickled_or_evaluated,
]

VIOLATIONS = [
    (imports_go_down, {"streamkl/sketch/planted.py": "from streamkl.detect import detector"}),
    (imports_go_down, {"streamkl/detect/planted.py": "def f():\n    from ..service import worker"}),
    (imports_go_down, {"streamkl/adapters/planted.py": "import streamkl.app.build"}),
    (imports_go_down, {"streamkl/errors.py": "import streamkl.sketch.bins"}),
    (imports_go_down, {"streamkl/service/planted.py": "from streamkl import Detector"}),
    (imports_go_down, {"streamkl/detect/kernel/planted.pyx": "from streamkl.service cimport x"}),
    (imports_go_down, {"streamkl/extra/planted.py": "import streamkl.errors"}),
    (no_import_circle, {"streamkl/sketch/one.py": "from .two import a", "streamkl/sketch/two.py": "from streamkl.sketch.one import b"}),
    (no_import_circle, {"streamkl/detect/one.py": "def f():\n    import streamkl.detect.two", "streamkl/detect/two.py": "from . import one"}),
    (sketch_and_divergence_are_strangers, {"streamkl/sketch/planted.py": "from streamkl.divergence import kl"}),
    (sketch_and_divergence_are_strangers, {"streamkl/divergence/planted.py": "from ..sketch.bins import NumericBins"}),
    (floors_one_and_two_are_pure, {"streamkl/detect/planted.py": "import time"}),
    (floors_one_and_two_are_pure, {"streamkl/detect/planted.py": "from datetime import datetime"}),
    (floors_one_and_two_are_pure, {"streamkl/sketch/planted.py": "import logging"}),
    (floors_one_and_two_are_pure, {"streamkl/sketch/planted.py": "import numpy as np\nx = np.random.default_rng(1)"}),
    (floors_one_and_two_are_pure, {"streamkl/divergence/planted.py": "from numpy.random import default_rng"}),
    (floors_one_and_two_are_pure, {"streamkl/detect/planted.py": "open('x')"}),
    (floors_one_and_two_are_pure, {"streamkl/detect/kernel/planted.pyx": "from libc.time cimport time"}),
    (state_is_encoded_in_one_file, {"streamkl/detect/one.py": "import msgspec", "streamkl/detect/two.py": "from msgspec import msgpack"}),
    (dependencies_stay_in_their_files, {"streamkl/adapters/file_planted.py": "import kafka.errors"}),
    (dependencies_stay_in_their_files, {"streamkl/service/planted.py": "import structlog"}),
    (dependencies_stay_in_their_files, {"streamkl/service/subscription_planted.py": "from stamina import retry"}),
    (dependencies_stay_in_their_files, {"streamkl/app/planted.py": "from pydantic import BaseModel"}),
    (dependencies_stay_in_their_files, {"streamkl/adapters/planted.py": "def f():\n    from river.base import DriftDetector"}),
    (dependencies_stay_in_their_files, {"streamkl/divergence/planted.py": "from scipy import special"}),
    (build_alone_puts_parts_together, {"streamkl/app/planted.py": "from streamkl.adapters import file_source"}),
    (files_are_named_by_a_noun, {"streamkl/service/utils.py": ""}),
    (files_are_named_by_a_noun, {"streamkl/detect/window_helpers.py": ""}),
    (files_are_named_by_a_noun, {"streamkl/common/planted.py": ""}),
    (files_are_short, {"streamkl/service/planted.py": "x = 1\n" * 301}),
    (files_are_short, {"streamkl/detect/kernel/planted.h": "/* */\n" * 301}),
    (top_level_is_bare, {"setup.py": ""}),
    (top_level_is_bare, {"docs/index.md": ""}),
    (only_two_files_catch_everything, {"streamkl/service/planted.py": "try:\n    pass\nexcept Exception:\n    pass"}),
    (only_two_files_catch_everything, {"streamkl/service/planted.py": "try:\n    pass\nexcept (OSError, BaseException) as e:\n    pass"}),
    (only_two_files_catch_everything, {"streamkl/service/planted.py": "try:\n    pass\nexcept:\n    pass"}),
    (nothing_is_pickled_or_evaluated, {"streamkl/service/planted.py": "import pickle"}),
    (nothing_is_pickled_or_evaluated, {"streamkl/service/planted.py": "eval('1')"}),
    (nothing_is_pickled_or_evaluated, {"streamkl/service/planted.py": "import numpy as np\nnp.load('x', allow_pickle=True)"}),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule):
    assert rule(REPOSITORY) == []


@pytest.mark.parametrize(("rule", "planted"), VIOLATIONS, ids=lambda value: value.__name__ if callable(value) else next(iter(value)))
def test_a_planted_violation_is_found(rule, planted, tmp_path):
    shutil.copytree(REPOSITORY / "streamkl", tmp_path / "streamkl", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    shutil.copy(REPOSITORY / ".gitignore", tmp_path)
    before = rule(tmp_path)
    for path, text in planted.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert set(rule(tmp_path)) - set(before)


def test_every_rule_has_a_violation_that_it_finds():
    assert {rule for rule, _ in VIOLATIONS} == set(RULES)


def test_importing_streamkl_loads_no_broker_no_model_library_and_no_data_frame():
    heavy = ["kafka", "river", "scipy", "pandas", "pydantic", "structlog", "typer", "rich", "sklearn", "prometheus_client", "yaml", "stamina"]
    code = f"import json, sys, streamkl, streamkl.divergence\nstreamkl.Detector\nprint(json.dumps([m for m in {heavy!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
