"""One YAML document of plain text, numbers, true, false and null: read with bounds, with the line of whatever is wrong.

This module does not know which keys there are.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

import yaml

MAX_FILE_BYTES = 64 * 1024
MAX_DEPTH = 8  # mappings within mappings; the deepest key, wake.words.NAME.threshold, needs 4
MAX_SHOWN = 60  # characters of the owner's text in a message
TYPOGRAPHIC = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u00ab\u00bb\u00b4"  # quotes that YAML takes for letters
INVISIBLE = "\u00a0\u2002\u2003\u2007\u2009\u200b\u202f\u2060\ufeff"  # blanks that YAML takes for letters


class Fault(Exception):
    """What is wrong, and the line at which it is, counted from 0; None if no one line is to blame."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.line = line


def text_of(path: Path) -> str:
    """What a file says; `Fault` where it cannot be read, is too large or is no UTF-8."""
    try:
        if path.exists() and not path.is_file():
            raise Fault("is not a file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except PermissionError as error:
        raise Fault(f"cannot be read: {reason(error)}; run this with sudo") from None
    except (OSError, ValueError) as error:
        raise Fault(f"cannot be read: {reason(error)}") from None
    if len(data) > MAX_FILE_BYTES:
        raise Fault(f"is larger than {MAX_FILE_BYTES // 1024} KB; this is no configuration")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Fault("is stored as UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Fault("is not UTF-8 text; save it as UTF-8", data.count(b"\n", 0, error.start)) from None


def compose(text: str) -> yaml.Node | None:
    """The node tree of one plain document: no aliases (they can grow without bound), no tags, bounded nesting."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise Fault("anchors (&) and aliases (*) are not used here; quote a text that starts so", _line(event))
            if getattr(event, "tag", None):
                raise Fault("tags (!) are not used here; quote a text that starts so", _line(event))
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise Fault(f"is nested more than {MAX_DEPTH} deep", _line(event))
            if isinstance(event, yaml.ScalarEvent) and event.style is None:
                _plain(event.value, _line(event))
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        character = f"U+{error.character:04X}" if isinstance(error.character, int) else repr(error.character)
        raise Fault(f"has a control character ({character})", text.count("\n", 0, error.position)) from None
    except yaml.MarkedYAMLError as error:
        raise Fault(*_syntax(error, text.splitlines())) from None
    return node


def _syntax(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[str, int]:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    if line < len(lines) and "\t" in lines[line]:
        return "has a tab; YAML indents with spaces", line
    return f"is not valid YAML: {error.problem or error.context}", line


def _plain(value: str, line: int) -> None:
    for character in value:
        if character in INVISIBLE:
            raise Fault(f"has an invisible character (U+{ord(character):04X}); type a plain space instead", line)
    if value.startswith(tuple(TYPOGRAPHIC)) or value.endswith(tuple(TYPOGRAPHIC)):
        raise Fault("has a typographic quote; type a straight ' or \" instead", line)


def entries(node: yaml.Node, where: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """The keys and values of a mapping; of nothing, if all lines under a key are commented out."""
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(node, yaml.MappingNode):
        name = where.rstrip(".") or "the file"
        raise Fault(f"{name} must hold lines of the form 'key: value'", node.start_mark.line)
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            raise Fault("a key must be plain text", line)
        if key.value in seen:
            raise Fault(f"{where}{cut(key.value)} is set twice, first in line {seen[key.value] + 1}", line)
        seen[key.value] = line
        yield key, value


def items(node: yaml.Node, name: str) -> list[yaml.Node]:
    """What is in a list."""
    if not isinstance(node, yaml.SequenceNode):
        raise Fault(f"{name} must be a list, such as [a, b]", node.start_mark.line)
    return list(node.value)


def find(node: yaml.Node | None, *keys: str) -> int | None:
    """The line of the key at this path."""
    line = None
    for wanted in keys:
        entries = node.value if isinstance(node, yaml.MappingNode) else []
        for key, value in entries:
            if key.value == wanted:
                line, node = key.start_mark.line, value
    return line


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None  # every event of a text has its place in it
    return event.start_mark.line


def shown(value: object) -> str:
    """A value as a message quotes it."""
    return repr(cut(str(value)))


def cut(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def one_line(text: str) -> str:
    """The same without anything that would move a terminal's cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def reason(error: Exception) -> str:
    """Why a file could not be read."""
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8 text"
