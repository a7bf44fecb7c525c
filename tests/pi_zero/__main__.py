"""What hearing costs on a Pi Zero at 1 GHz, estimated without one: a table, in milliseconds per pulse.

    python -m tests.pi_zero [MODEL|speaker...]       all if none is named; takes some minutes

The package for armel runs on Debian's Python and numpy, in an emulator of the processor that a model of its timing
watches (arm1176.c, decode.c). Debian's armel is ARMv6 as Raspberry Pi OS is, but its Python and numpy compute floats
in integer registers; our own kernels do not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy import deb
from deploy.debian import fetch
from deploy.targets import CACHE
from tests.pi_zero.measure import MODELS, PULSE_MS, SPEAKER

HERE = Path(__file__).resolve().parent
FOLDER = CACHE / "pi_zero"
PACKAGES = (
    "libc6 libcrypt1 libatomic1 libgcc-s1 libstdc++6 libgfortran5 zlib1g libexpat1 libffi8 libssl3 libyaml-0-2 "
    "libblas3 liblapack3 libpython3.11-minimal libpython3.11-stdlib python3.11-minimal python3-numpy python3-yaml "
    "python3-cffi-backend"
)
CYCLES_PER_MS = 1e6


def plugin(folder: Path) -> Path:
    """The model of the processor, built for QEMU."""
    made = folder / "arm1176.so"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run(["cc", *flags, HERE / "arm1176.c", HERE / "decode.c", "-o", made], check=True)
    return made


def system() -> Path:
    """The root of a Debian that has what the package needs; unpacked once, as its programs run without a set-up."""
    root = FOLDER / "root"
    if not root.exists():
        for name in PACKAGES.split():
            fetch(name, "bookworm", "armel", FOLDER / "root.new")
        (FOLDER / "root.new").rename(root)
    return root


def package() -> Path:
    """Where the modules of the package lie, as they are now."""
    made = FOLDER / "package"
    subprocess.run(["rm", "-rf", made], check=True)
    subprocess.run(["dpkg-deb", "-x", deb.package("armel", FOLDER), made], check=True)
    return made / "usr/lib/wakepulse"


def measured(parts: list[str]) -> dict[str, float]:
    """Milliseconds per pulse of what measure.py names."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    root, costs = system(), FOLDER / "costs.txt"
    costs.unlink(missing_ok=True)
    libraries = root / "usr/lib/arm-linux-gnueabi"
    places = f"{libraries}:{libraries}/blas:{libraries}/lapack"
    emulator = ["qemu-arm", "-L", root, "-cpu", "arm1176"]
    settings = {"LD_LIBRARY_PATH": places, "PYTHONPATH": package(), "PYTHONDONTWRITEBYTECODE": ""}
    variables = [word for name, value in settings.items() for word in ("-E", f"{name}={value}")]
    program = [*variables, root / "usr/bin/python3.11", HERE / "measure.py"]
    subprocess.run([*emulator, *program], check=True)  # so that Python has compiled all modules, which takes it long
    watched = [*emulator, "-plugin", f"{plugin(FOLDER)},out={costs}", *program, *parts]
    said = subprocess.run(watched, check=True, stdout=subprocess.PIPE, text=True).stdout
    named = {number: (int(pulses), name) for number, pulses, name in (line.split(" ", 2) for line in said.splitlines())}
    rows = [line.split() for line in costs.read_text().splitlines()]
    return {named[number][1]: int(cycles) / named[number][0] / CYCLES_PER_MS for number, _, cycles in rows}


def table(found: Mapping[str, float]) -> str:
    """As README.md has it: what each part adds, for every model that was measured."""
    models = [name for name in MODELS if f"satellite {name}" in found]
    rows = [
        ["", *models],
        ["---"] * (1 + len(models)),
        ["features", *(_ms(found["features"]) for _ in models)],
        ["network", *(_ms(found[f"network {name}"]) for name in models)],
        [
            "Python between them, decision",
            *(_ms(found[f"listener {name}"] - found[f"network {name}"] - found["features"]) for name in models),
        ],
        ["the satellite around it", *(_ms(found[f"satellite {name}"] - found[f"listener {name}"]) for name in models)],
        ["sum", *(f"{(ms := found[f'satellite {name}']):.1f} ({100 * ms / PULSE_MS:.1f} %)" for name in models)],
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _ms(number: float) -> str:
    return f"{number:.1f}"


if __name__ == "__main__":
    found = measured(["features", *(sys.argv[1:] or [*MODELS, SPEAKER])])
    if len(found) > 2:
        print(table(found))
    if SPEAKER in found:
        print(f"\nThe embedding of who said a word: {found[SPEAKER]:.0f} ms")
