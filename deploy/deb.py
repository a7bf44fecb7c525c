"""Debian packages for the boards, from the wheel of each: plain modules, kernels, shipped models, service.

    python -m deploy.deb [ARCHITECTURE...]        into dist/; armhf, arm64 and amd64 if none is named
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from email.utils import formatdate
from pathlib import Path

from deploy.targets import PACKAGES, ROOT, TARGETS
from deploy.vendored import vendored
from deploy.wheels import DIST, last_commit, tree

SCRIPTS = ROOT / "deploy" / "debian"
UNITS = {
    "wakepulse.service": "usr/lib/systemd/system/wakepulse.service",
    "backoff.conf": "usr/lib/wakepulse/backoff.conf",
    "sysusers.conf": "usr/lib/sysusers.d/wakepulse.conf",
    "tmpfiles.conf": "usr/lib/tmpfiles.d/wakepulse.conf",
}
# What a satellite has no use for; of *.dist-info it reads the version in METADATA.
LEFT_OUT = ("models/*.py", "models/recipes", "models/shipped/*.onnx", "pulse/peers", "*.dist-info/[!M]*")
KB = 1024


def package(architecture: str, dist: Path) -> Path:
    """Make the package of one architecture in `dist`, the same to the last bit every time; returns where it is."""
    made = dist / f"wakepulse_{version()}_{architecture}.deb"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        _files(architecture, root)
        _control(root, {"VERSION": version(), "ARCHITECTURE": architecture})
        _even(root)
        dist.mkdir(exist_ok=True)
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, made]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": last_commit()}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return made


def version() -> str:
    """That of the project."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def _files(architecture: str, root: Path) -> None:
    library, target = root / "usr/lib/wakepulse", TARGETS[PACKAGES[architecture]]
    with tree(target) as wheel:
        for pattern in LEFT_OUT:
            for path in wheel.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(wheel, library)
    licences = vendored(target, library)
    for name, place in UNITS.items():
        _place(ROOT / "systemd" / name, root / place)
    _place(SCRIPTS / "wakepulse", root / "usr/bin/wakepulse")
    _place(ROOT / "config/satellite.yaml", root / "usr/share/wakepulse/satellite.yaml")
    _documents(root / "usr/share/doc/wakepulse", licences)


def _documents(folder: Path, licences: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    own = (SCRIPTS / "copyright").read_text()
    pocketfft = (ROOT / "daemon/kernels/pocketfft.LICENSE.md").read_text()
    texts = {"daemon/kernels/pocketfft.c": pocketfft, **licences}
    parts = [f"{name}\n{'-' * len(name)}\n\n{text.strip()}\n" for name, text in texts.items()]
    (folder / "copyright").write_text("\n".join([own, *parts]))
    _place(ROOT / "CHANGELOG.md", folder / "NEWS.md")
    head = f"wakepulse ({version()}) stable; urgency=medium\n\n  * What is new is in NEWS.md.\n\n"
    text = f"{head} -- {_field('Maintainer')}  {formatdate(int(last_commit()))}\n"
    (folder / "changelog.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _control(root: Path, values: dict[str, str]) -> None:
    control, folder = (SCRIPTS / "control").read_text(), root / "DEBIAN"
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // KB
    for name, value in {**values, "SIZE": str(size)}.items():
        control = control.replace(f"@{name}@", value)
    folder.mkdir()
    (folder / "control").write_text(control)
    for script in ("postinst", "prerm", "postrm"):
        _place(SCRIPTS / script, folder / script)


def _field(name: str) -> str:
    return re.search(f"^{name}: (.+)", (SCRIPTS / "control").read_text(), re.M)[1]


def _place(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, place)


def _even(root: Path) -> None:
    """The modes and times that files have everywhere: nothing of whoever built them."""
    moment = int(last_commit())
    programs = {"wakepulse", "postinst", "prerm", "postrm"}
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.name in programs else 0o644)
        os.utime(path, (moment, moment))


if __name__ == "__main__":
    for each in sys.argv[1:] or ("armhf", "arm64", "amd64"):
        print(package(each, DIST).relative_to(ROOT))
