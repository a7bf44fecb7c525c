"""The inputs of an ONNX file: which axis is time, under which name, and how long it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import onnx

from pulse.dim import STREAM, Length, affine
from pulse.errors import LoadError, UnsupportedOp
from pulse.evaluate import DTYPES
from pulse.graph import MAX_ELEMENTS, MAX_RANK, Fact, fact

MAX_RATE = 4096  # items of an input to one of another

_AXIS = re.compile(r"[0-9]")
_RATE = re.compile(r"(?:(?P<times>\d{1,6})\*)?(?P<name>[A-Za-z_]\w*)(?://(?P<divisor>\d{1,6}))?")


def symbol(length: str) -> str:
    """The name of time in the length of an axis, such as `S` in `2*S`."""
    found = _RATE.fullmatch(length.replace(" ", ""))
    return found["name"] if found else length


def _rate(length: str, said: str) -> Length:
    """The length of a time axis: time itself, or for an input of another rate a whole multiple or part of it."""
    found = _RATE.fullmatch(length.replace(" ", ""))
    times, divisor = (int(found[key] or 1) if found else 1 for key in ("times", "divisor"))
    if not 1 <= times <= MAX_RATE or not 1 <= divisor <= MAX_RATE:
        raise LoadError(f"{said} has the impossible length {length}")
    return affine(times, 0, divisor)


def named_axes(stream: str) -> dict[str, int]:
    """Inputs and their axes of time, none of them if nothing is written."""
    if not stream:
        return {}
    pairs = (item.strip().rpartition(":") for item in stream.split(","))
    named = {name: axis for name, _, axis in pairs}
    if not all(name and _AXIS.fullmatch(axis) for name, axis in named.items()):
        raise LoadError(f"load: {stream!r} names no axis of time; write NAME:AXIS, such as x:1")
    return {name: int(axis) for name, axis in named.items()}


def closed(value: onnx.ValueInfoProto, opened: Fact) -> Fact:
    """An input as the file has it: as `opened`, but for a length of time that is a number."""
    assert opened.stream is not None
    axis = opened.stream.axis
    length = int(value.type.tensor_type.shape.dim[axis].dim_value)
    return fact((*opened.shape[:axis], length, *opened.shape[axis + 1 :]), opened.dtype) if length else opened


def inputs_of(given: list[onnx.ValueInfoProto], named: Mapping[str, int] | None, file: str) -> dict[str, Fact]:
    """The facts of the inputs. Time is what `named` says, or else the dynamic axes, of which there must be some."""
    everything, dynamic = {value.name for value in given}, {value.name for value in given if _dynamic(value)}
    if named and not dynamic <= set(named) <= everything:
        said = f"load: {file} has the inputs {', '.join(value.name for value in given)}"
        raise LoadError(f"{said}; name them all, but for those without time")
    timed = dynamic or everything if named is None else set(named)
    axes = {name: (named or {}).get(name) for name in timed}
    return {value.name: _input(value, axes[value.name]) if value.name in axes else _still(value) for value in given}


def _dynamic(value: onnx.ValueInfoProto) -> list[int]:
    dims = value.type.tensor_type.shape.dim
    return [index for index, dim in enumerate(dims) if not dim.HasField("dim_value")]


def _lengths(value: onnx.ValueInfoProto) -> list[int]:
    """The lengths of the axes; a dynamic one is that of a batch, of 1."""
    return [int(dim.dim_value) if dim.HasField("dim_value") else 1 for dim in value.type.tensor_type.shape.dim]


def _still(value: onnx.ValueInfoProto) -> Fact:
    """The fact of an input without time."""
    said, lengths = _checked(value), _lengths(value)
    if any(size < 0 for size in lengths) or math.prod(lengths) > MAX_ELEMENTS:
        raise LoadError(f"{said} has an impossible shape")
    return fact(tuple(lengths), DTYPES[value.type.tensor_type.elem_type])


def _checked(value: onnx.ValueInfoProto) -> str:
    """What to call an input whose type is supported."""
    said = f"load: the input {value.name!r}"
    tensor = value.type.tensor_type
    if tensor.elem_type not in DTYPES:
        raise UnsupportedOp(f"{said} is of a type that is not supported; {', '.join(DTYPES.values())} are")
    if not tensor.HasField("shape") or len(tensor.shape.dim) > MAX_RANK:
        raise LoadError(f"{said} has no shape, or more than {MAX_RANK} axes")
    return said


def _input(value: onnx.ValueInfoProto, axis: int | None) -> Fact:
    """The fact of an input with time, on its dynamic axis if not on `axis`."""
    said, tensor, dynamic = _checked(value), value.type.tensor_type, _dynamic(value)
    if axis is not None and axis >= len(tensor.shape.dim):
        raise LoadError(f"{said} has {len(tensor.shape.dim)} axes, and none is {axis}")
    if axis is not None:
        return replace(_sized(said, _lengths(value), (axis, STREAM)), dtype=DTYPES[tensor.elem_type])
    if len(dynamic) != 1:
        raise LoadError(
            f"{said} has {len(dynamic)} dynamic axes; exactly one, time, must be: export with "
            f"dynamic_axes={{{value.name!r}: {{time_axis: 'S'}}}} and a batch of 1, or say stream='{value.name}:1' "
            "if axis 1 is time, and stream='' if nothing is"
        )
    name = tensor.shape.dim[dynamic[0]].dim_param
    time = _rate(name, said) if name else STREAM
    return replace(_sized(said, _lengths(value), (dynamic[0], time)), dtype=DTYPES[tensor.elem_type])


def _sized(said: str, lengths: list[int], time: tuple[int, Length]) -> Fact:
    """The fact of an input of these lengths, but for its axis of time."""
    axis, length = time
    sizes = [*lengths[:axis], *lengths[axis + 1 :]]
    if any(size < 1 for size in sizes) or math.prod(sizes) > MAX_ELEMENTS:
        raise LoadError(f"{said} has an impossible shape")
    return fact((*lengths[:axis], length, *lengths[axis + 1 :]))
