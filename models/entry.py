"""Where `wakepulse-train` begins: training needs more packages than a satellite."""

from __future__ import annotations

import sys


def main() -> int:
    """Run it, or say which package is missing."""
    try:
        from models.cli import main as run
    except ModuleNotFoundError as error:
        print(f"wakepulse-train: the {error.name} package is missing; install wakepulse[train]", file=sys.stderr)
        return 1
    return run()
