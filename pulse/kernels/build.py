"""How the C kernels are built into the extension `pulse._kernels`, by `pip install` with whatever compiler is there."""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SOURCES = sorted(HERE.glob("*.c"))
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden", "-Wall", "-g0"]


def _declarations() -> str:
    """The part of api.h that cffi can read."""
    text = (HERE / "api.h").read_text("utf-8")
    body = re.sub(r"^#.*$", "", text, flags=re.M).replace("[ROOMS]", "[3]")
    return "typedef struct Engine Engine;\n" + body


ffibuilder = FFI()
ffibuilder.cdef(_declarations())
ffibuilder.set_source(
    "pulse._kernels",
    '#include "api.h"',
    sources=[str(path.relative_to(ROOT)) for path in SOURCES],
    include_dirs=[str(HERE.relative_to(ROOT))],
    extra_compile_args=FLAGS,
    py_limited_api=True,
    optional=True,
)

if __name__ == "__main__":
    ffibuilder.compile(tmpdir=str(ROOT), verbose=True)
