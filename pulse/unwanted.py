"""What a file is that should have been a model: the usual leftovers of downloads, told from their first bytes."""

from __future__ import annotations

_STARTS = (
    (b"<!doctype html", "an HTML page, so the download probably went wrong"),
    (b"<html", "an HTML page, so the download probably went wrong"),
    (b"wakeplan", "a plan, compiled already; --summary and --profile look into it, the rest needs the .onnx file"),
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull` to get the file itself"),
    (b"pk\x03\x04", "a ZIP archive (a PyTorch file?), not what is expected here"),
    (b"\x80\x02", "a Python pickle, which is never opened"),
    (b"\x80\x04", "a Python pickle, which is never opened"),
    (b"\x80\x05", "a Python pickle, which is never opened"),
)
_LONGEST_START = 512


def what_it_is(content: bytes, otherwise: str) -> str:
    """What `content` looks like, as the end of the sentence `the file is ...`; `otherwise` if it looks like nothing."""
    if not content:
        return "empty"
    start = content[:_LONGEST_START].lstrip().lower()
    return next((name for magic, name in _STARTS if start.startswith(magic)), otherwise)
