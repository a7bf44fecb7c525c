"""`Plan`: all that the compiler hands to the engine, and its file, so that a satellite needs no compiler.

A `.plan` file is a fixed prefix (magic, format version, size of the header, size of the file, SHA-256 of all the rest),
a JSON header, and float32 numbers, of which an integer takes two and four int8 share one: weights, golden input, golden
output. It is mapped, never unpickled; every size in it is checked before it is used, and the golden vector is run
before the plan is handed out.
"""

from __future__ import annotations

import errno
import hashlib
import math
import mmap
import os
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from pulse.cost import work
from pulse.errors import PlanError
from pulse.header import MAX_NUMBERS, checked, decoded, encoded
from pulse.run import State
from pulse.step import Array, Floats, Slot, Step, View, numbers
from pulse.unwanted import what_it_is

MAGIC = b"WAKEPLAN"
FORMAT = 3
MAX_FILE = 256 << 20  # bytes
MAX_HEADER = 8 << 20  # bytes
TOLERANCE = 1e-4  # of the golden vector, relative where its numbers are above 1
MAX_WORK = 1 << 31  # of the golden vector, as `cost` counts it: seconds, or a minute without the kernels in C

_PREFIX = struct.Struct("<8sIIQ32s")  # magic, format, bytes of the header, bytes of the file, SHA-256
_DIGEST = 32
_ALIGNMENT = 64  # bytes; numbers begin on a cache line
_BYTES = 4  # of a float32
_GOLDEN_SEED = 20
_GOLDEN_PULSES = 4  # behind the warm-up


@dataclass(frozen=True, eq=False)
class Plan:
    """A program for pulses of `pulse` items; an input whose length is `2*S` gets twice as many, one without time all.

    Item `k + delay` of an output is item `k` of the batch model; one output item stands for `stride` input items, 1/2
    behind an upsampling by 2, and sees `receptive_field` of them, not counting what recurrent layers and running sums
    remember. `metadata` is what the model file carried, untouched.
    """

    pulse: int
    delay: tuple[int, ...]
    stride: tuple[int | Fraction, ...]
    receptive_field: int
    inputs: Mapping[str, View]
    outputs: Mapping[str, View]
    input_dtypes: tuple[str, ...]
    output_dtypes: tuple[str, ...]
    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    weights: Floats
    metadata: Mapping[str, str] = field(default_factory=dict)
    golden_inputs: tuple[Array, ...] = ()  # one per input: (pulses, *shape)
    golden_outputs: tuple[Array, ...] = ()  # one per output: (pulses, *shape)

    def save(self, path: str | Path) -> None:
        """Write the plan file at once or not at all; the same plan gives the same bytes."""
        path = Path(path)
        if path.exists() and not path.is_file():
            raise FileExistsError(errno.EEXIST, "Is a directory or a device", str(path))
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._content())
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)  # mkstemp keeps it from everybody else
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """The plan in the file, checked and proved on its golden vector; `PlanError` says what is wrong with it."""
        path = Path(path)
        content = _mapped(path)
        header_size = _checked_prefix(content, path)
        try:
            plan = cls._from(content, header_size)
            prove(plan)
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from error
        return plan

    def _content(self) -> bytes:
        views, golden = [*self.inputs.values(), *self.outputs.values()], [*self.golden_inputs, *self.golden_outputs]
        held = (array.astype(view.kind).reshape(-1).view(np.float32) for array, view in zip(golden, views, strict=True))
        numbers = [self.weights, *held]
        header = encoded(self, [int(array.size) for array in numbers])
        header += b" " * (-(_PREFIX.size + len(header)) % _ALIGNMENT)
        body = header + b"".join(array.astype("<f4").tobytes() for array in numbers)
        start = (MAGIC, FORMAT, len(header), _PREFIX.size + len(body))
        return _PREFIX.pack(*start, _digest(_PREFIX.pack(*start, b"")[:-_DIGEST], body)) + body

    @classmethod
    def _from(cls, content: mmap.mmap, header_size: int) -> Plan:
        header = decoded(content[_PREFIX.size : _PREFIX.size + header_size])
        room = np.frombuffer(content, "<f4", offset=_PREFIX.size + header_size)
        if sum(header.sizes) != len(room):
            raise PlanError("the plan holds another amount of numbers than its header says; build it again")
        arrays = np.split(room, np.cumsum(header.sizes)[:-1])
        plan = cls(**header.fields, weights=arrays[0])
        checked(plan, len(plan.weights))
        views = [*plan.inputs.values(), *plan.outputs.values()]
        if len(arrays) != 1 + len(views):
            raise PlanError("the golden vector of the plan does not fit it; build it again")
        dtypes = (*plan.input_dtypes, *plan.output_dtypes)
        rows = list(zip(arrays[1:], views, dtypes, strict=True))
        pulses = max((array.size // numbers(view.size, view.kind) for array, view, _ in rows if view.size), default=1)
        golden = [_by_pulse(array, view, pulses).astype(dtype, copy=False) for array, view, dtype in rows]
        inputs = len(plan.inputs)
        return replace(plan, golden_inputs=tuple(golden[:inputs]), golden_outputs=tuple(golden[inputs:]))


def _digest(prefix: bytes, body: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(prefix)
    digest.update(body)
    return digest.digest()


def _by_pulse(content: Floats, view: View, pulses: int) -> Array:
    if content.size != pulses * numbers(view.size, view.kind):
        raise PlanError("the golden vector of the plan does not fit it; build it again")
    return content.view(view.kind).reshape(pulses, *view.shape)


def with_golden(plan: Plan) -> Plan:
    """The same plan with a golden vector: seeded noise in, long enough for items behind the delay to come out."""
    noise = np.random.default_rng(_GOLDEN_SEED)
    pulses = max(_warm_up(plan)) + _GOLDEN_PULSES
    if pulses * max(view.size for view in (*plan.inputs.values(), *plan.outputs.values())) > MAX_NUMBERS:
        raise PlanError(f"a golden vector of {pulses} pulses would be too large; the network is too late or too wide")
    if pulses * work(plan.steps) > MAX_WORK:
        late = max(_warm_up(plan)) * plan.pulse
        said = f"is {late} items late for a pulse of {plan.pulse}; compile with a larger pulse, or" if late else "must"
        raise PlanError(
            f"a golden vector would take {pulses} pulses of {len(plan.steps)} steps, which is too long: the network "
            f"{said} make fewer numbers for each item"
        )
    rows = zip(plan.inputs.values(), plan.input_dtypes, strict=True)
    inputs = [_noise(noise, (pulses, *view.shape), dtype) for view, dtype in rows]
    return replace(plan, golden_inputs=tuple(inputs), golden_outputs=tuple(_computed(plan, tuple(inputs))))


def _noise(noise: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Numbers that a network can bear: integers are 0 and 1, as they may count something or look it up."""
    if dtype == "float32":
        return noise.standard_normal(shape, np.float32)
    return noise.integers(0, 2, shape).astype(dtype)


def prove(plan: Plan) -> None:
    """Run the golden vector; `PlanError` if it does not come out."""
    if len({len(array) for array in (*plan.golden_inputs, *plan.golden_outputs)}) != 1:
        raise PlanError("the golden vector of the plan does not fit it; build it again")
    try:
        if len(plan.golden_inputs[0]) * work(plan.steps) > MAX_WORK:
            raise PlanError("the golden vector of the plan would take too long to compute; build it again")
        outputs = _computed(plan, plan.golden_inputs)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise PlanError(f"the steps of the plan do not fit each other ({error}); build it again") from error
    for name, late, found, wanted in zip(plan.outputs, _warm_up(plan), outputs, plan.golden_outputs, strict=True):
        if len(wanted) <= late:
            raise PlanError("the golden vector of the plan does not fit it; build it again")
        if not _alike(found[late:], wanted[late:]):
            raise PlanError(f"the output {name!r} is not what it was when the plan was built; build it again")


def _warm_up(plan: Plan) -> list[int]:
    """The pulses of every output that hold items of the warm-up."""
    return [math.ceil(delay * stride / plan.pulse) for delay, stride in zip(plan.delay, plan.stride, strict=True)]


def _computed(plan: Plan, inputs: tuple[Array, ...]) -> list[Array]:
    state = State(plan)
    given = ([array[pulse, ...] for array in inputs] for pulse in range(len(inputs[0])))
    pulses = [[array.copy() for array in state.run(*arrays)] for arrays in given]
    return [np.stack(arrays) for arrays in zip(*pulses, strict=True)]


def _alike(found: Array, wanted: Array) -> bool:
    """Equal within `TOLERANCE`, integers exactly; noise may drive a network to infinities, which are then equal too."""
    if wanted.dtype != np.float32:
        return np.array_equal(found, wanted)
    return bool(np.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE:
                raise PlanError(f"{path} has {size} bytes, more than {MAX_FILE}, so it is no plan")
            if size == 0:
                raise PlanError(f"{path} is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise PlanError(f"cannot read {path}: {error.strerror}") from error


def _checked_prefix(content: mmap.mmap, path: Path) -> int:
    """The size of the header, once the file is known to be whole."""
    if content[: len(MAGIC)] != MAGIC:
        raise PlanError(f"{path} is {what_it_is(content[:_ALIGNMENT], 'not a plan')}")
    if len(content) < _PREFIX.size:
        raise PlanError(f"{path} is truncated: it ends within its first {_PREFIX.size} bytes")
    _, version, header_size, size, digest = _PREFIX.unpack_from(content)
    if version > FORMAT:
        raise PlanError(f"{path} has the format {version}, newer than {FORMAT}: update this program, or build it again")
    if version < FORMAT:
        raise PlanError(f"{path} has the format {version}, older than {FORMAT}: build it again with wakepulse-compile")
    if len(content) < size:
        raise PlanError(f"{path} is truncated: {len(content)} of {size} bytes are there")
    if _digest(content[: _PREFIX.size - _DIGEST], memoryview(content)[_PREFIX.size :]) != digest:
        raise PlanError(f"{path} is damaged: its checksum is wrong; copy or build it again")
    start = _PREFIX.size + header_size
    rest = len(content) - start
    if size != len(content) or header_size > MAX_HEADER or rest < 0 or rest % _BYTES or start % _ALIGNMENT:
        raise PlanError(f"{path} says impossible things about itself; build it again")
    return int(header_size)
