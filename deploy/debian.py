"""Debian packages of other architectures and releases, fetched without a change to this machine's package manager."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from deploy.targets import CACHE

SUITES = {"3.11": "bookworm", "3.13": "trixie"}  # by their Python
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def mirror() -> str:
    """The address of the Debian mirror that this machine's package manager uses."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    plain = [address for address in found if "security" not in address]
    if not plain:
        raise SystemExit("no Debian mirror in this machine's package sources; run this on Debian")
    return plain[0]


def fetch(package: str, suite: str, architecture: str, folder: Path) -> None:
    """Unpack a package of a release into `folder`."""
    archives = CACHE / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    command = ["apt-get", *_apt(suite, architecture), "download", f"{package}:{architecture}"]
    subprocess.run(command, cwd=archives, check=True, stdout=subprocess.DEVNULL)
    newest = max(archives.glob(f"{package}_*_{architecture}.deb"), key=lambda path: path.stat().st_mtime)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "-x", newest, folder], check=True)


def fetch_newest(pattern: re.Pattern[str], suite: str, architecture: str, folder: Path) -> None:
    """Unpack the newest of the packages whose names match, of those that the mirror really has."""
    command = ["apt-cache", *_apt(suite, architecture), "pkgnames", "linux-image-"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for name in sorted(filter(pattern.fullmatch, known), reverse=True):
        try:
            return fetch(name, suite, architecture, folder)
        except subprocess.CalledProcessError as error:
            print(f"{name}: {error}; trying an older one")
    raise SystemExit(f"the mirror has no package {pattern.pattern} for {architecture}")


def headers(python: str, architecture: str) -> list[str]:
    """The options by which a compiler finds the headers of this Python for this architecture."""
    folder = CACHE / "headers" / f"{python}-{architecture}"
    if not folder.exists():
        fetch(f"libpython{python}-dev", SUITES[python], architecture, folder.with_suffix(".new"))
        folder.with_suffix(".new").rename(folder)
    include = folder / "usr" / "include"
    return [f"-I{include}/python{python}", f"-I{include}"]


def _apt(suite: str, architecture: str) -> list[str]:
    """Options for a package manager of its own, which knows one release for one architecture."""
    root = CACHE / "apt" / f"{suite}-{architecture}"
    options = [f"-oDir={root}", f"-oDir::State::status={root}/status", f"-oAPT::Architecture={architecture}"]
    options += [f"-oAPT::Architectures={architecture}", "-oAPT::Sandbox::User=root", "-oAcquire::Languages=none", "-qq"]
    if not (root / "updated").exists():
        for part in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt"):
            (root / part).mkdir(parents=True, exist_ok=True)
        line = f"deb [arch={architecture} signed-by={KEYS}] {mirror()} {suite} main\n"
        (root / "etc/apt/sources.list").write_text(line)
        (root / "status").touch()
        subprocess.run(["apt-get", *options, "update"], check=True)
        (root / "updated").touch()
    return options
