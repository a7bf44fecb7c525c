"""One thing that was looked at: how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """`advice` is empty where all is well."""

    name: str
    state: State
    text: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{self.state:8} {self.name}: {self.text}"
        return f"{line}\n{'':9}{self.advice}" if self.advice else line


def ok(name: str, text: str) -> Finding:
    """All is well."""
    return Finding(name, "ok", text)


def warning(name: str, text: str, advice: str) -> Finding:
    """It works, but not as it could."""
    return Finding(name, "warning", text, advice)


def failure(name: str, text: str, advice: str) -> Finding:
    """It does not work until something is done."""
    return Finding(name, "failure", text, advice)
