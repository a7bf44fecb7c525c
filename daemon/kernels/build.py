"""How the front end in C is built into the extension `daemon._kernels`, by `pip install`, if there is a compiler."""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SOURCES = sorted(HERE.glob("*.c"))
# A sum is rounded as it is written, so that one frame is the same whichever loop it is computed in, and on any board.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-g0"]


def _declarations() -> str:
    """The part of api.h that cffi can read."""
    text = (HERE / "api.h").read_text("utf-8")
    return re.sub(r"^#(?!define MAX_FFT).*$", "", text, flags=re.M)


ffibuilder = FFI()
ffibuilder.cdef(_declarations())
ffibuilder.set_source(
    "daemon._kernels",
    '#include "api.h"',
    sources=[str(path.relative_to(ROOT)) for path in SOURCES],
    include_dirs=[str(HERE.relative_to(ROOT))],
    extra_compile_args=FLAGS,
    py_limited_api=True,
    optional=True,
)

if __name__ == "__main__":
    ffibuilder.compile(tmpdir=str(ROOT), verbose=True)
