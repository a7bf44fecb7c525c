"""Short texts that say what lies beside them: what it was made of, or how far it is."""

from __future__ import annotations

from pathlib import Path


def write_note(text: str, path: Path) -> None:
    """Write a short text, whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text, "utf-8")
    draft.replace(path)
