"""The model of the Pi Zero's processor keeps time as its manual says, and what it is to watch can be run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pi_zero.__main__ import HERE, plugin

ROUNDS, TIMES = 200, 50  # of a loop, and of the instructions in it
PROGRAM = """
#include <sys/prctl.h>
static char memory[1 << 20];
int main(void) {{
    for (int twice = 0; twice < 2; twice++) {{
        char *at = memory;
        prctl(0x50554C53, 1, twice);
        __asm__ volatile("mov r2, #{rounds}\\n1:\\n.rept {times}\\n{code}\\n.endr\\nsubs r2, r2, #1\\nbne 1b"
                         : "+r"(at) : : "r0", "r1", "r2", "r3", "r4", "r5", "s0", "s1", "cc", "memory");
        prctl(0x50554C53, 2, twice);
    }}
}}
"""
COMPILER, EMULATOR = "arm-linux-gnueabi-gcc", "qemu-arm"
FLAGS = ("-march=armv6", "-mfpu=vfp", "-mfloat-abi=softfp", "-marm", "-O1", "-static")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin."""
    if not (shutil.which(COMPILER) and shutil.which(EMULATOR)):
        pytest.skip(f"{COMPILER} or {EMULATOR} is not here")
    return plugin(tmp_path_factory.mktemp("model"))


def cycles(model: Path, code: str) -> float:
    """Of the instructions, the second time that all of them run."""
    source, program, costs = (model.with_name(name) for name in ("program.c", "program", "costs.txt"))
    source.write_text(PROGRAM.format(rounds=ROUNDS, times=TIMES, code=code))
    subprocess.run([COMPILER, *FLAGS, source, "-o", program], check=True)
    costs.unlink(missing_ok=True)
    subprocess.run([EMULATOR, "-cpu", "arm1176", "-plugin", f"{model},out={costs}", program], check=True)
    return int(costs.read_text().split()[-1]) / ROUNDS / TIMES


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("add r3, r3, r4;", 1),
        ("add r3, r3, r4, lsl r5;", 2),
        ("mul r3, r4, r5;", 2),
        ("smlad r3, r4, r5, r3;", 2),  # waits for the sum of the one before it
        ("smlad r0, r4, r5, r0; smlad r1, r4, r5, r1;", 2),
        ("vmla.f32 s0, s1, s1;", 8),
        ("vdiv.f32 s0, s1, s1;", 19),
        ("ldr r3, [%0]; add r3, r3, #1;", 4),
        ("ldr r3, [%0], #96; add r3, r3, #1;", 4 + 120 + 60 * 96 / 4096),  # from memory, over all pages
    ],
)
def test_what_instructions_take(model: Path, code: str, wanted: float) -> None:
    assert cycles(model, code) == pytest.approx(wanted, abs=0.2, rel=0.01)


def test_what_is_measured_runs_on_any_linux() -> None:
    command = [sys.executable, HERE / "measure.py", "features", "six_words_zero.int8", "speaker"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    names = [line.split(" ", 2)[2] for line in said.splitlines()]
    model = [f"{part} six_words_zero.int8" for part in ("network", "listener", "satellite")]
    assert names == ["features", *model, "speaker"]
