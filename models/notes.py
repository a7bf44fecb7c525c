"""What is kept beside a training and never left half written: short texts, and its checkpoint."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def write_note(text: str, path: Path) -> None:
    """Write a short text, whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text, "utf-8")
    draft.replace(path)


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write what a training goes on from, whole or not at all; on a full disk it is an `OSError` that says so."""
    content = io.BytesIO()  # what torch says of a full disk names neither
    torch.save(state, content)
    draft = path.with_name(f"{path.name}.new")
    try:
        draft.write_bytes(content.getbuffer())
    except OSError as error:
        raise OSError(f"cannot write {path}, the last one stays: {error.strerror}") from error
    draft.replace(path)
