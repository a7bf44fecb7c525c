"""Calibration: between which numbers the values of a network move, and how far int8 takes them from what they were.

What is heard for it comes in an .npz file, one array for each input of the network, as long in time as one likes. It
should be such as the network will hear later, and is not what it is judged by.
"""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from pulse.errors import LoadError, NotStreamable
from pulse.explain import table
from pulse.fuse import apart, fuse
from pulse.graph import Array, Graph, shown
from pulse.integer import HIGHEST, LOWEST
from pulse.lower import planned
from pulse.plan import Plan, with_golden
from pulse.quantize import CURVED, INT8, Form, Quantised, Range, quantize, watched
from pulse.run import State

MAX_BYTES = 1 << 30  # of all arrays together
_SUFFIX = ".npy"
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, SyntaxError, TokenError, ValueError, RuntimeError)
_UNREADABLE += (NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_HEAD = ("node", "as", "from", "to", "scale", "zero", "SQNR", "saturated")


def read(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file; `LoadError` if it holds anything else, or more than anybody needs."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(_SUFFIX)]
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise LoadError(f"calibrate: {path} holds more than {MAX_BYTES} bytes; a few minutes are enough")
            return {member.filename[: -len(_SUFFIX)]: _array(archive, member, path) for member in members}
    except _UNREADABLE as error:
        raise LoadError(f"calibrate: {path} cannot be read as an .npz file ({error})") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Array:
    with archive.open(member) as file:
        shape, kind = _described(file)
        if kind.hasobject or math.prod(shape) * kind.itemsize > member.file_size:
            raise LoadError(f"calibrate: {member.filename} in {path} is no array of numbers")
    with archive.open(member) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _described(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version not in _READERS:
        raise ValueError("an array in it is of a newer format")
    shape, _, kind = _READERS[version](file)
    return shape, kind


def pulses(graph: Graph, given: Mapping[str, Array], pulse: int) -> list[tuple[Array, ...]]:
    """What is heard, pulse by pulse; `LoadError` if it does not fit the inputs of a pulsed graph.

    What is given once for an input without time is there in every pulse.
    """
    parts = [list(_parts(graph, name, given)) for name in graph.inputs]
    rows = zip(parts, graph.inputs.values(), strict=True)
    count = min((len(part) for part, item in rows if item.stream or len(part) != 1), default=1)
    if count * pulse < 1:
        raise LoadError(f"calibrate: there is not even one pulse of {pulse} items in it; give a few minutes")
    return list(zip(*(islice(cycle(part), count) for part in parts), strict=True))


def _parts(graph: Graph, name: str, given: Mapping[str, Array]) -> Iterator[Array]:
    item = graph.inputs[name]
    if name not in given:
        raise LoadError(f"calibrate: there is no array {name!r} for the input of that name")
    x, axis = given[name], item.stream.axis if item.stream else 0
    around = (*item.sizes[:axis], *item.sizes[axis + 1 :])
    if x.ndim != len(item.sizes) or (*x.shape[:axis], *x.shape[axis + 1 :]) != around or x.dtype != item.dtype:
        raise LoadError(
            f"calibrate: {name!r} is {x.dtype} {x.shape}; the network takes {item.dtype} {shown(item.shape)}, "
            f"or more along axis {axis}"
        )
    if not np.isfinite(x).all():
        raise LoadError(f"calibrate: {name!r} holds what is no finite number")
    if x.shape == item.sizes:
        yield x
        return
    size = item.sizes[axis]
    for start in range(0, x.shape[axis] - size + 1, size):
        yield np.take(x, range(start, start + size), axis)


def watching(graph: Graph, fused: Graph, names: list[str]) -> Plan:
    """A plan that hands out values from its midst too, behind its outputs."""
    inner = {f"{index} within": name for index, name in enumerate(names)}
    return planned(graph, replace(fused, outputs={**fused.outputs, **inner}))


def ranges(graph: Graph, fused: Graph, heard: list[tuple[Array, ...]]) -> dict[str, Range]:
    """Between which numbers every value moves that `quantize` asks for."""
    names = sorted(watched(fused))
    state = State(watching(graph, fused, names))
    found = {name: (0.0, 0.0) for name in names}
    for given in heard:
        for name, array in zip(names, state.run(*given)[len(fused.outputs) :], strict=True):
            low, high = found[name]
            found[name] = min(low, float(array.min())), max(high, float(array.max()))
            if not np.isfinite(array).all():
                raise NotStreamable(f"calibrate: {name!r} becomes infinite, or no number, by what is given")
    return found


@dataclass(frozen=True)
class Lowered:
    """A plan in integers, and what it comes from."""

    plan: Plan
    graph: Graph
    fused: Graph
    quantised: Quantised
    ranges: Mapping[str, Range]
    heard: list[tuple[Array, ...]]


def lower_to_int8(graph: Graph, calibration: Mapping[str, Array]) -> Lowered:
    """The plan of a pulsed graph in integers, with the golden vector it is checked by when it is loaded."""
    fused = apart(fuse(graph), CURVED)  # integers go through a curve without what is added to them
    heard = pulses(graph, calibration, planned(graph, fused).pulse)
    found = ranges(graph, fused, heard)
    quantised = quantize(fused, found)
    return Lowered(with_golden(planned(graph, quantised.graph)), graph, fused, quantised, found, heard)


@dataclass
class _Error:
    """How far the numbers of a form are from those that they stand for, while they come."""

    low: float = 0.0
    high: float = 0.0
    signal: float = 0.0
    noise: float = 0.0
    count: int = 0
    saturated: int = 0

    def add(self, wanted: Array, found: Array, form: Form) -> None:
        """The numbers of one more pulse."""
        real = (found.astype(np.float64) - form.scale.zero) * form.scale.step
        self.low, self.high = min(self.low, float(wanted.min())), max(self.high, float(wanted.max()))
        self.signal += float(np.square(wanted, dtype=np.float64).sum())
        self.noise += float(np.square(wanted - real).sum())
        self.count += wanted.size
        if form.dtype == INT8:
            at_end = (found == HIGHEST) | (found == LOWEST)
            self.saturated += int((at_end & (np.abs(wanted - real) > form.scale.step)).sum())

    def row(self, node: str, form: Form) -> tuple[str, ...]:
        """As cells of a table."""
        ratio = self.signal / self.noise if self.noise else math.inf
        quality = f"{10 * math.log10(ratio):.1f} dB" if ratio > 0 else "-"
        kind, share = ("int8", f"{100 * self.saturated / self.count:.2f} %") if form.dtype == INT8 else ("int32", "-")
        numbers = f"{self.low:.3g}", f"{self.high:.3g}", f"{form.scale.step:.3g}", str(form.scale.zero)
        return node, kind, *numbers, quality, share


def report(lowered: Lowered) -> str:
    """A table of all that is computed in integers: how it is held, and how far from float32 on what was heard.

    SQNR is the signal of float32 over the noise of all that was rounded in front; saturated is what an end of int8 cut.
    """
    graph, made, forms = lowered.graph, lowered.quantised.graph, lowered.quantised.forms
    values = [form.value for form in forms.values()]
    wanted, found = (State(watching(graph, *what)) for what in ((lowered.fused, values), (made, [*forms])))
    errors = [_Error() for _ in forms]
    for given in lowered.heard:
        arrays = (state.run(*given)[len(graph.outputs) :] for state in (wanted, found))
        for error, form, want, have in zip(errors, forms.values(), *arrays, strict=True):
            error.add(want, have, form)
    producers = lowered.fused.producers()
    names = [producers[value].name if value in producers else value for value in values]
    rows = zip(errors, names, forms.values(), strict=True)
    return table([_HEAD, *(error.row(name, form) for error, name, form in rows)])
