"""The bytes of an ONNX file, measured before they are parsed: a parser allocates many times what a hostile file weighs.

A protocol buffer is a list of fields, and a field of another message is such a list again. This walks along them, and
makes nothing of what they hold. What it cannot read is left to the parser, which says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from pulse.errors import LoadError

MAX_FIELDS = 1 << 20  # of all messages together
MAX_DEPTH = 16  # of messages in messages; the type of a value is 6 deep, and 10 in a graph within the graph
MAX_NAME = 1 << 12  # bytes of a name, or of a text in an attribute
MAX_TEXT = 1 << 20  # bytes of what nobody but people reads
_TEXTS = ("doc_string", "value")
_CONTENT = "raw_data"  # of a weight, which is as large as the file lets it be
_NUMBER, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # how a field is written
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
_MAX_NUMBER_BYTES = 10

Descriptor = Any  # of a message, by the protobuf package, which has no types


@dataclass(frozen=True)
class _Field:
    """What a field may hold: a message, or so many bytes, of text or of anything."""

    name: str
    message: Descriptor | None = None
    most: int | None = None
    text: bool = False


class _UnreadableError(Exception):
    """No protocol buffer."""


def measure(content: bytes, message: Descriptor, name: str) -> None:
    """`LoadError` if the bytes of `message`, from the file `name`, hold more than they may."""
    try:
        _Walk(content).along(0, len(content), message)
    except _UnreadableError:
        return
    except LoadError as error:
        raise LoadError(f"load: {name} {error}") from error


class _Walk:
    """Along all fields of a file: what they may be, and how many may still come."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._left = MAX_FIELDS
        self._tables: dict[str, Mapping[int, _Field]] = {}

    def along(self, at: int, end: int, message: Descriptor, depth: int = 1) -> None:
        """Along the fields of one message, and of all in it."""
        if depth > MAX_DEPTH:
            raise LoadError(f"nests deeper than {MAX_DEPTH}; export it without graphs within its graph")
        fields = self._table(message)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise LoadError(f"has more than {MAX_FIELDS} fields")
            tag, at = _number(self._content, at)
            start, at = self._reach(tag & 7, at)
            if at > end:
                raise _UnreadableError
            field = fields.get(tag >> 3) if tag & 7 == _BYTES else None
            if field and field.message:
                self.along(start, at, field.message, depth + 1)
            elif field and field.most and at - start > field.most:
                raise LoadError(f"has {at - start} bytes of {field.name!r}, more than {field.most}")
            elif field and field.text and not _is_text(self._content[start:at]):
                raise LoadError(f"has bytes in {field.name!r} that are no text")

    def _table(self, message: Descriptor) -> Mapping[int, _Field]:
        if message.full_name not in self._tables:
            self._tables[message.full_name] = {
                number: _field(item) for number, item in message.fields_by_number.items()
            }
        return self._tables[message.full_name]

    def _reach(self, kind: int, at: int) -> tuple[int, int]:
        """Where the content of a field starts and ends."""
        if kind == _NUMBER:
            return at, _number(self._content, at)[1]
        if kind == _BYTES:
            size, start = _number(self._content, at)
            return start, start + size
        if kind not in _FIXED:
            raise _UnreadableError
        return at, at + _FIXED[kind]


def _field(field: Any) -> _Field:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _Field(field.name, field.message_type)
    if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES) or field.name == _CONTENT:
        return _Field(field.name)
    most = MAX_TEXT if field.name in _TEXTS else MAX_NAME
    return _Field(field.name, most=most, text=field.type == FieldDescriptor.TYPE_STRING)


def _is_text(content: bytes) -> bool:
    """Whether it is UTF-8, which the parser takes for granted."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _number(content: bytes, at: int) -> tuple[int, int]:
    """A number, seven bits in each byte, and where it ends."""
    number = 0
    for index in range(_MAX_NUMBER_BYTES):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, at
    raise _UnreadableError
