"""The `wakepulse` command: as little in memory, and as soon ready, as a small board needs.

What the satellite's libraries import but it seldom touches is loaded when it is touched, or imported a second time:
numpy before version 2, for one, imports all its parts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

LAZY = frozenset(
    {
        *("numpy.ctypeslib", "numpy.fft", "numpy.ma", "numpy.polynomial", "numpy.random"),
        *("asyncio", "csv", "difflib", "ipaddress", "shutil", "ssl", "subprocess", "tempfile", "urllib.request"),
        *("wave", "zipfile", "daemon.tls"),
    }
)


class Lazily(MetaPathFinder):
    """Finds the modules of LAZY, and has them loaded later."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in LAZY else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def main() -> int:
    """Run one verb and return the exit status."""
    sys.meta_path.insert(0, Lazily())
    # These take OpenSSL where they find it, which is large, and compute by themselves where they do not.
    sys.modules["_hashlib"] = None  # type: ignore[assignment]
    import hashlib  # noqa: F401
    import hmac  # noqa: F401

    del sys.modules["_hashlib"]
    from daemon import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
