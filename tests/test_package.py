"""The package: a source distribution holds all that a build needs."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NATIVE = (".pyx", ".pxd", ".h", ".pyi")


def test_a_source_distribution_holds_every_native_file_and_stub(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    shutil.copytree(ROOT / "streamkl", tree / "streamkl", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = [sys.executable, "-P", "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(tree)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.split("/", 1)[1] for name in packed.getnames() if "/" in name}
    wanted = {str(path.relative_to(tree)) for path in (tree / "streamkl").rglob("*") if path.suffix in NATIVE or path.name == "py.typed"}
    assert wanted
    assert wanted <= names
