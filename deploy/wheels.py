"""Wheels for the boards, one for all Pythons from 3.11 on each.

    python -m deploy.wheels [TARGET...]        into dist/
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.kernels import kernels
from deploy.targets import ROOT, TARGETS, Target

DIST = ROOT / "dist"


def last_commit() -> str:
    """The time of the last commit, for files that shall not depend on when they are made (reproducible-builds.org)."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    command = ["git", "log", "-1", "--format=%ct"]
    return given or subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def wheel(target: Target, dist: Path) -> Path:
    """Make the wheel of one target in `dist`, and return where it is."""
    dist.mkdir(exist_ok=True)
    with tree(target) as files:
        _retag(next(files.glob("*.dist-info")) / "WHEEL", f"cp311-abi3-{target.wheel}")
        _tool("pack", "--dest-dir", dist, files)
    return max(dist.glob(f"*-{target.wheel}.whl"), key=lambda path: path.stat().st_mtime)


@contextlib.contextmanager
def tree(target: Target) -> Iterator[Path]:
    """A folder with the files of the target's wheel, while it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        _tool("unpack", "--dest", folder, _plain(Path(folder)))
        (files,) = (path for path in Path(folder).iterdir() if path.is_dir())
        kernels(target, files)
        yield files


def _plain(folder: Path) -> Path:
    """The wheel without C, as pip makes it where there is no compiler."""
    build = folder / "plain"
    environment = {**os.environ, "CC": "false", "SOURCE_DATE_EPOCH": last_commit()}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", build, "."]
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.so", "__pycache__", "tests"))
    subprocess.run(command, cwd=source, env=environment, check=True)
    shutil.rmtree(source)
    made = shutil.move(next(build.glob("*.whl")), folder)
    build.rmdir()
    return Path(made)


def _retag(path: Path, tag: str) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("Tag:")]
    path.write_text("\n".join([*filter(None, lines), f"Tag: {tag}", ""]))


def _tool(*arguments: str | Path) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": last_commit()}
    command = [sys.executable, "-m", "wheel", *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    for each in sys.argv[1:] or [name for name, target in TARGETS.items() if target.wheel]:
        print(wheel(TARGETS[each], DIST).relative_to(ROOT))
