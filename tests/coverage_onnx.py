"""How many of the ONNX project's own node tests our kernels pass, by op, and why the others do not.

    python -m tests.coverage_onnx [-v] [OP ...]

A case has no time, so each of its axes in turn is taken for it, and the whole of the case is one pulse. Inputs that
have no such axis are constants, as they are in models. A case passes if one axis gives what it should.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import pulse
from pulse.errors import PulseError
from pulse.evaluate import DTYPES
from pulse.load import OLDEST_OPSET, OPS

_NOT_OURS = ("training", "dropout_random", "string", "_seq", "sequence", "optional")
_RECURRENT = ("GRU", "LSTM", "RNN")
_TAKEN = {*DTYPES, TensorProto.DOUBLE}
_PASSED = "passed"
_NO_TYPE = "a type that is not supported"


def cases(ops: Sequence[str]) -> Iterator[Any]:
    """The cases of ops that have a row, in types that have one; `ops` are all if there are none."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the cases divide by zero on purpose while they are made
        from onnx.backend.test.loader import load_model_tests

        found = load_model_tests(kind="node")
    for case in found:
        op = op_of(case)
        ours = op in OPS and not any(word in case.name for word in _NOT_OURS)
        if ours and (not ops or op in ops) and case.model.opset_import[0].version >= OLDEST_OPSET:
            yield case


def op_of(case: Any) -> str:
    """The op that a case is about: of expanded ones, the longest that its name begins with."""
    nodes = [node.op_type for node in case.model.graph.node]
    if len(nodes) == 1 and "expanded" not in case.name:
        return str(nodes[0])
    name = case.name.removeprefix("test_").replace("_", "").lower()
    return max((op for op in OPS if name.startswith(op.lower())), key=len, default="")


def outcome(case: Any) -> str:
    """`passed`, or why not, in the words of the first axis."""
    values = [*case.model.graph.input, *case.model.graph.output]
    if any(value.type.tensor_type.elem_type not in _TAKEN for value in values):
        return _NO_TYPE
    told: list[str] = []
    for given, wanted in case.data_sets:
        for axes in _choices([np.asarray(array) for array in given]):
            try:
                found = _computed(case.model, [np.asarray(array) for array in given], axes)
                return _compared(found, [np.asarray(array) for array in wanted], case)
            except PulseError as error:
                told.append(str(error))
    return f"refused: {told[0] if told else 'it has no axis that could be time'}"


def _choices(given: list[Any]) -> Iterator[dict[int, int]]:
    """Which inputs are streams, and along which axis: all of one rank and length, or the first one alone."""
    for stream, first in enumerate(given):
        for axis, size in enumerate(first.shape):
            alike = {
                index: axis
                for index, array in enumerate(given)
                if array.ndim == first.ndim and array.shape[axis] == size
            }
            if size:
                yield from ([alike] if alike == {stream: axis} else [alike, {stream: axis}])


def _computed(model: onnx.ModelProto, given: list[Any], axes: dict[int, int]) -> list[Any]:
    """The outputs of one pulse as long as the case, behind the delay."""
    made = _opened(model, given, axes)
    size = given[next(iter(axes))].shape[next(iter(axes.values()))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.onnx"
        path.write_bytes(made.SerializeToString())
        plan = pulse.compile(path, size)
    if any(plan.delay):
        raise PulseError("comes late, so the end of the case would be missing")
    inputs = [_single(given[index]) for index in axes]
    return [y.copy() for y in pulse.State(plan).run(*inputs)]


def _opened(model: onnx.ModelProto, given: list[Any], axes: dict[int, int]) -> onnx.ModelProto:
    """The model with a dynamic axis in the inputs that are streams, and the others as constants."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    _in_floats(made)
    _first_output(made)
    del made.graph.input[:]
    for index, (value, array) in enumerate(zip(model.graph.input, given, strict=False)):
        if index not in axes:
            made.graph.initializer.append(numpy_helper.from_array(_single(array), value.name))
            continue
        shape = ["S" if axis == axes[index] else size for axis, size in enumerate(array.shape)]
        kind = helper.np_dtype_to_tensor_dtype(_single(array).dtype)
        made.graph.input.append(helper.make_tensor_value_info(value.name, kind, shape))
    return made


def _single(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _in_floats(model: onnx.ModelProto) -> None:
    """Doubles are taken for floats: some ops have no other cases."""
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT


def _first_output(model: onnx.ModelProto) -> None:
    """Only a split has more than one: others are for training. A recurrent layer hands out all states, not the last."""
    (node, *more) = model.graph.node
    if more or node.op_type == "Split":
        return
    name = next(name for name in node.output if name)
    kept = [value for value in model.graph.output if value.name == name]
    del node.output[:], model.graph.output[:]
    node.output.append(name)
    model.graph.output.extend(kept)


def _last(found: Any, want: Any, case: Any) -> Any:
    """The last of all states, if the case asks for that."""
    if op_of(case) not in _RECURRENT or found.ndim == want.ndim:
        return found
    layout = any(attribute.name == "layout" and attribute.i for attribute in case.model.graph.node[0].attribute)
    return found[:, -1] if layout else found[-1]


def _compared(found: list[Any], wanted: list[Any], case: Any) -> str:
    for have, want in zip(found, wanted, strict=False):
        have = _last(have, want, case)
        if have.shape != want.shape:
            return f"wrong: the shape is {have.shape}, not {want.shape}"
        if have.dtype != _single(want).dtype:
            return f"wrong: the type is {have.dtype}, not {want.dtype}"
        if not np.allclose(have, want.astype(np.float64), rtol=max(case.rtol, 1e-3), atol=1e-5, equal_nan=True):
            return f"wrong: off by {np.nanmax(np.abs(have - want.astype(np.float64))):.3g}"
    return _PASSED


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is the number of cases that came out wrong, at most 1."""
    parser = argparse.ArgumentParser("coverage_onnx", description="Run the node tests of the ONNX project.")
    parser.add_argument("ops", nargs="*", help="only these")
    parser.add_argument("-v", "--verbose", action="store_true", help="name every case that does not pass")
    options = parser.parse_args(arguments)
    by_op: dict[str, Counter[str]] = defaultdict(Counter)
    failed: dict[str, list[str]] = defaultdict(list)
    for case in cases(options.ops):
        said = outcome(case)
        kind = said.partition(":")[0]
        by_op[op_of(case)][kind] += 1
        if kind not in (_PASSED, _NO_TYPE):
            failed[op_of(case)].append(f"{case.name}: {said}")
    total: Counter[str] = Counter()
    for op, counts in sorted(by_op.items()):
        total += counts
        tried = sum(counts.values()) - counts[_NO_TYPE]
        others = ", ".join(f"{many} {kind}" for kind, many in sorted(counts.items()) if kind != _PASSED)
        print(f"{op:24} {counts[_PASSED]:4} of {tried:4}  {others}")
        if options.verbose:
            print("".join(f"    {line}\n" for line in failed[op]), end="")
    tried = sum(total.values()) - total[_NO_TYPE]
    print(f"{'all':24} {total[_PASSED]:4} of {tried:4}  ({math.floor(100 * total[_PASSED] / max(tried, 1))} %)")
    return min(total["wrong"], 1)


if __name__ == "__main__":
    sys.exit(main())
