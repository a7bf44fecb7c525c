"""The C extensions for a board, compiled on another machine."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import daemon.kernels.build
import pulse.kernels.build
from deploy import elf
from deploy.debian import headers
from deploy.targets import ROOT, Target

ABI = "0x030b0000"  # one extension for Python 3.11 and all later ones
SAFE = ("-Wl,--build-id=none", "-Wl,-z,now", "-Wl,-z,relro", "-Wl,-z,noexecstack", "-Wl,--as-needed")


def kernels(target: Target, folder: Path) -> list[Path]:
    """Build both extensions below `folder`, `daemon/_kernels.abi3.so` and that of pulse."""
    builds = {"daemon": daemon.kernels.build, "pulse": pulse.kernels.build}
    return [_kernels(target, folder / room, build) for room, build in builds.items()]


def _kernels(target: Target, folder: Path, build: ModuleType) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    glue = folder / "_kernels.c"
    build.ffibuilder.emit_c_code(str(glue))
    options = [*build.FLAGS, f"-I{build.HERE}", *headers("3.11", target.debian), f"-DPy_LIMITED_API={ABI}"]
    objects = [
        compiled(target, (source, folder / f"{source.stem}.o"), options) for source in (glue, *build.SOURCES)
    ]
    made = link(target, objects, folder / "_kernels.abi3.so")
    for path in [*objects, glue]:
        path.unlink()
    return made


def compiled(target: Target, pair: tuple[Path, Path], options: Sequence[str]) -> Path:
    """Compile one source into its object file."""
    source, made = pair
    nameless = [f"-ffile-prefix-map={folder}=." for folder in (ROOT, source.parent)]
    command = [target.tool("gcc"), *target.flags, "-fPIC", *nameless, *options, "-c", source, "-o", made]
    subprocess.run(command, check=True)
    if target.elf == "ARM" and source.stem.endswith(f"_{elf.DISPATCHED}"):
        # Runs only where the processor has NEON, so it must not speak for the rest, and lies where a check can tell.
        aside = [f"--rename-section=.text={elf.DISPATCHED},alloc,load,readonly,code,contents"]
        subprocess.run([target.tool("objcopy"), "--remove-section=.ARM.attributes", *aside, made], check=True)
    return made


def link(target: Target, objects: Sequence[Path], made: Path) -> Path:
    """Make a shared library of object files; checked, then stripped of the symbols that the check needs."""
    command = [target.tool("gcc"), *target.flags, "-shared", *SAFE, *objects, "-o", made, *target.link]
    subprocess.run(command, check=True)
    elf.refuse([made], target)
    subprocess.run([target.tool("strip"), "--strip-unneeded", made], check=True)
    return made
