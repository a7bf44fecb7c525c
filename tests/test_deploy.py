"""What is built for the boards: the check of compiled files finds what a board could not run; packages lack nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import pulse.kernels.build
from deploy import debian, elf, kernels, vendored
from deploy.deb import SCRIPTS
from deploy.targets import ROOT, TARGETS
from pulse.kernels.build import FLAGS

ARMV6 = TARGETS["armv6l"]
PRODUCT = "float dot(const float *x, const float *y, int n) { float s = 0; while (n--) s += *x++ * *y++; return s; }"
DIVISION = "int half(int x, int y) { return x / y; }"
SNEAKED = '__asm__(".arch armv7-a\\n movw r0, #4711\\n .arch armv6\\n");'
BURN = """#include <stdio.h>
#include "api.h"
int main(void) { printf("%s %d\\n", best_instructions(), multiplications("neon", 10) > 0); return 0; }"""
# By their names in Debian: what the package depends on. Whatever else is imported must be in it.
DEBIAN = {"numpy": "python3-numpy", "yaml": "python3-yaml", "cffi": "python3-cffi-backend"}
VENDORED = {"msgspec", "paho", "sounddevice"}
# Only for machines on which wakepulse was installed by pip.
OPTIONAL = {"amqtt", "google", "ifaddr", "onnx", "onnxruntime", "soundfile", "wyoming", "zeroconf"}


def built(folder: Path, source: str, *flags: str, target: str = "armv6l") -> Path:
    """A library of this C, compiled with other flags than those of the target if there are any."""
    (folder / "code.c").write_text(source)
    made = folder / "code.so"
    compiler, ours = TARGETS[target].tool("gcc"), TARGETS[target].flags
    link = ["-shared", "-nostdlib", "-o", made, folder / "code.c"]
    subprocess.run([compiler, *(flags or ours), "-O2", "-fPIC", *link], check=True)
    return made


@pytest.mark.parametrize("source", [PRODUCT, "double twice(double x) { return 2 * x; }"])
def test_code_for_armv6_passes(tmp_path: Path, source: str) -> None:
    assert elf.faults(built(tmp_path, source), ARMV6) == []


@pytest.mark.parametrize(
    ("source", "flags", "fault"),
    [
        (PRODUCT, ["-march=armv7-a+fp"], "Tag_CPU_arch is v7"),
        (DIVISION, ["-march=armv7ve+fp"], "newer than ARMv6, the first"),
        (PRODUCT, ["-march=armv7-a+neon"], "uses NEON"),
        (PRODUCT, ["-march=armv7-a+fp"], "Tag_FP_arch is VFPv3-D16"),
        (SNEAKED, [], "has 1 instruction(s) newer than ARMv6"),
    ],
)
def test_code_for_later_processors_does_not(tmp_path: Path, source: str, flags: Sequence[str], fault: str) -> None:
    assert fault in " ".join(elf.faults(built(tmp_path, source, *flags), ARMV6))


def test_code_of_another_calling_convention_does_not(tmp_path: Path) -> None:
    assert "Tag_ABI_VFP_args" in " ".join(elf.faults(built(tmp_path, PRODUCT, target="armel"), ARMV6))


def test_code_of_another_machine_does_not(tmp_path: Path) -> None:
    (fault,) = elf.faults(built(tmp_path, PRODUCT, target="aarch64"), ARMV6)
    assert fault == "is for AArch64, not for ARM"


def test_neon_lies_apart_in_kernels_for_armv6(tmp_path: Path) -> None:
    wanted = ("product.c", "product_neon.c", "product_portable.c")
    sources = [path for path in pulse.kernels.build.SOURCES if path.name in wanted]
    objects = [kernels.compiled(ARMV6, (path, tmp_path / f"{path.stem}.o"), FLAGS) for path in sources]
    made = kernels.link(ARMV6, objects, tmp_path / "kernels.so")
    sections = subprocess.run([ARMV6.tool("readelf"), "-SW", made], capture_output=True, text=True, check=True).stdout
    assert f" {elf.DISPATCHED} " in sections
    # And they run, on a board that has it; on one that has not, they are not called.
    (tmp_path / "main.c").write_text(BURN)
    program = tmp_path / "main"
    static = ["-static", f"-I{pulse.kernels.build.HERE}", tmp_path / "main.c", *objects, "-lm", "-o", program]
    subprocess.run([ARMV6.tool("gcc"), "-march=armv7-a+fp", *static], check=True)
    said = subprocess.run(["qemu-arm", "-cpu", "cortex-a7", program], capture_output=True, text=True, check=True).stdout
    assert said == "neon 1\n"


def test_newer_code_is_never_linked(tmp_path: Path) -> None:
    (tmp_path / "code.c").write_text(SNEAKED)
    made = kernels.compiled(ARMV6, (tmp_path / "code.c", tmp_path / "code.o"), [])
    with pytest.raises(SystemExit, match="newer than ARMv6"):
        kernels.link(ARMV6, [made], tmp_path / "code.so")


def foreign(path: Path) -> set[str]:
    """The packages of others that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - {*sys.stdlib_module_names, "daemon", "pulse"}


def test_the_package_has_all_that_is_imported() -> None:
    rooms = [*(ROOT / "daemon").glob("*.py"), *(ROOT / "pulse").glob("*.py")]
    assert set().union(*map(foreign, rooms)) - OPTIONAL <= {*DEBIAN, *VENDORED}
    assert {*vendored.PLAIN, "msgspec"} == {line.partition("==")[0].replace("-", "_") for line in pins()}
    control = (SCRIPTS / "control").read_text()
    assert all(f" {name}" in control for name in DEBIAN.values())


def pins() -> list[str]:
    return [line for line in vendored.LIST.read_text().splitlines() if not line.startswith("#")]


def test_every_python_of_debian_is_built_for() -> None:
    assert {*TARGETS["armv6l"].pythons} == {*debian.SUITES}


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_scripts_of_the_package_are_scripts(script: str) -> None:
    subprocess.run(["sh", "-n", SCRIPTS / script], check=True)
