"""Where `wakepulse-compile` begins: the compiler needs more packages than the engine."""

from __future__ import annotations

import sys


def main() -> int:
    """Run it, or say which package is missing."""
    try:
        from pulse.cli import main as run
    except ModuleNotFoundError as error:
        print(f"wakepulse-compile: the {error.name} package is missing; install wakepulse[compile]", file=sys.stderr)
        return 1
    return run()
