"""The Python packages that the Debian package brings with it (vendored.txt): fetched, and compiled for the board."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from deploy.debian import headers
from deploy.kernels import compiled, link
from deploy.targets import CACHE, ROOT, Target

LIST = ROOT / "deploy" / "vendored.txt"
PLAIN = ("paho_mqtt", "sounddevice")
FLAGS = ("-O2", "-DNDEBUG", "-g0", "-fvisibility=hidden")


def vendored(target: Target, folder: Path) -> dict[str, str]:
    """Lay the packages down in `folder`, and return the text of each one's licence."""
    licences = {}
    for name in PLAIN:
        with zipfile.ZipFile(next(_archives().glob(f"{name}-*.whl"))) as wheel:
            names = [entry for entry in wheel.namelist() if not entry.startswith(f"{name}-")]
            wheel.extractall(folder, names)
            texts = [entry for entry in wheel.namelist() if "/licenses/" in entry]
            licences[name] = "\n\n".join(wheel.read(entry).decode() for entry in texts)
    licences["msgspec"] = _msgspec(target, folder)
    return licences


def _msgspec(target: Target, folder: Path) -> str:
    """msgspec is one C file beside its modules; compiled for each Python, as it uses more than the stable ABI."""
    source = CACHE / "msgspec"
    if not source.exists():
        with tarfile.open(next(_archives().glob("msgspec-*.tar.gz"))) as archive:
            archive.extractall(CACHE / "msgspec.new", filter="data")
        next((CACHE / "msgspec.new").iterdir()).rename(source)
        (CACHE / "msgspec.new").rmdir()
    package, made = source / "src" / "msgspec", folder / "msgspec"
    made.mkdir()
    for module in package.glob("*.py"):
        shutil.copy(module, made)
    for python in target.pythons:
        core = made / f"_core.cpython-{python.replace('.', '')}-{target.triplet}.so"
        built = compiled(target, (package / "_core.c", made / "_core.o"), [*FLAGS, *headers(python, target.debian)])
        link(target, [built], core)
        built.unlink()
    return (source / "LICENSE").read_text()


def _archives() -> Path:
    """The folder of what was fetched; pip compares each file with its hash."""
    folder = CACHE / "pip"
    if not (folder / LIST.name).exists() or (folder / LIST.name).read_text() != LIST.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        options = ["--no-deps", "--no-binary=msgspec", "--require-hashes", "--requirement", LIST, "--dest", folder]
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *options], check=True)
        shutil.rmtree(CACHE / "msgspec", ignore_errors=True)
        shutil.copy(LIST, folder)
    return folder
