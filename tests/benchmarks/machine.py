"""Machine: what a benchmark ran on, in one line and as plain values."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path


def machine() -> dict[str, object]:
    """Return processor, cores, instruction sets, memory, Python, and the versions of who takes part."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = dict(line.split(":", 1) for line in cpu.splitlines() if ":" in line)
    lines = {name.strip(): value.strip() for name, value in names.items()}
    flags = lines.get("flags", "").split()
    return {
        "processor": lines.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "instructions": [name for name in ("sse2", "avx2", "avx512f") if name in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": sys.version.split()[0],
        "load": os.getloadavg()[0],
        "versions": {name: version(name) for name in ("streamkl", "numpy", "river")},
    }


def told(values: dict[str, object]) -> str:
    """Return it as one line."""
    versions = ", ".join(f"{name} {number}" for name, number in values["versions"].items())  # type: ignore[attr-defined]
    return (f"{values['processor']}, {values['cores']} cores, {'/'.join(values['instructions'])}, {values['memory_gb']} GB, "  # type: ignore[arg-type]
            f"Python {values['python']}, {versions}; load {values['load']:.1f}")
