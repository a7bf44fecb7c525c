"""How many of the ONNX project's own node tests our kernels pass, by op, and why the others do not.

    python -m tests.coverage_onnx [-v] [OP ...]

A case has no time: the whole of it is one run. What an op must know before it runs is a constant, as it is in models.
Two totals end the table: that of the ops that are there to stream, and that of all, with those `BESIDE` them that say
shapes or move numbers. Types without a row (`a type that is not supported`) do not count.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import pulse
from pulse.errors import PulseError
from pulse.evaluate import DTYPES
from pulse.load import OLDEST_OPSET
from pulse.opset import OPS

_NOT_OURS = ("training", "dropout_random", "string", "sequence", "optional")
_ON_CONSTANTS = ("Constant", "ConstantOfShape", "Range")  # ops whose inputs all say a shape
BESIDE = ("BatchNormalization", "Cast", "CastLike", *_ON_CONSTANTS, "Dropout", "Expand", "Flatten", "Identity")
BESIDE += ("Loop",)  # which streams where it walks along time, and no case does
BESIDE += ("Reshape", "Shape", "Size", "Squeeze", "Tile", "Transpose", "Unsqueeze")
_NODE = re.compile(r"(load|infer|declutter|pulsify|lower): (node \S+ \(\w+(, opset \d+)?\) )?")
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
    """`passed`, or why not."""
    values = [*case.model.graph.input, *case.model.graph.output]
    if any(value.type.tensor_type.elem_type not in _TAKEN for value in values):
        return _NO_TYPE
    said = ""
    for given, wanted in case.data_sets:
        arrays, results = ([_array(item) for item in items] for items in (given, wanted))
        for data in _choices(case, len(arrays)):
            try:
                return _compared(_computed(case.model, arrays, data), results, case)
            except PulseError as error:
                said = f"refused: {error}"
    return said


def _array(item: Any) -> Any:
    """The content; doubles are taken for floats, as some ops have no other cases."""
    array = numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _choices(case: Any, inputs: int) -> list[int]:
    """How many of the first inputs are data: all of them, or only one, as in models; the others are constants."""
    return [0] if not inputs or op_of(case) in _ON_CONSTANTS else sorted({inputs, 1}, reverse=True)


def _computed(model: onnx.ModelProto, given: list[Any], data: int) -> list[Any]:
    """The outputs of one run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.onnx"
        path.write_bytes(_prepared(model, given, data).SerializeToString())
        plan = pulse.compile(path, stream="")
    inputs = given[:data] or [np.zeros(1, np.float32)]
    return [y.copy() for y in pulse.State(plan).run(*inputs)]


def _prepared(model: onnx.ModelProto, given: list[Any], data: int) -> onnx.ModelProto:
    """The model with all but its first inputs as constants, and with an idle one if none is left."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.input[:]
    for index, (value, array) in enumerate(zip(model.graph.input, given, strict=False)):
        if index < data:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            made.graph.input.append(helper.make_tensor_value_info(value.name, kind, array.shape))
        else:
            made.graph.initializer.append(numpy_helper.from_array(array, value.name))
    if not data:
        made.graph.input.append(helper.make_tensor_value_info("idle", TensorProto.FLOAT, [1]))
    for attribute in (attribute for node in made.graph.node for attribute in node.attribute):
        if attribute.name == "to" and attribute.i == TensorProto.DOUBLE:
            attribute.i = TensorProto.FLOAT
    return made


def _compared(found: list[Any], wanted: list[Any], case: Any) -> str:
    for have, want in zip(found, wanted, strict=True):
        if have.shape != want.shape:
            return f"wrong: the shape is {have.shape}, not {want.shape}"
        if have.dtype != want.dtype:
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
    told: dict[str, dict[str, str]] = defaultdict(dict)
    for case in cases(options.ops):
        told[op_of(case)][case.name] = outcome(case)
    for op, outcomes in sorted(told.items()):
        print(_counted(op, outcomes.values()))
        print("".join(f"    {line}\n" for line in _failures(outcomes, names=options.verbose)), end="")
    print(_counted("those that stream", [said for op in told if op not in BESIDE for said in told[op].values()]))
    everything = [said for outcomes in told.values() for said in outcomes.values()]
    print(_counted("all", everything))
    return min(sum(said.startswith("wrong") for said in everything), 1)


def _counted(what: str, outcomes: Iterable[str]) -> str:
    kinds = Counter(said.partition(":")[0] for said in outcomes)
    tried = kinds.total() - kinds[_NO_TYPE]
    others = ", ".join(f"{many} {kind}" for kind, many in sorted(kinds.items()) if kind != _PASSED)
    return f"{what:24} {kinds[_PASSED]:4} of {tried:4}  {others}".rstrip()


def _failures(outcomes: Mapping[str, str], *, names: bool) -> list[str]:
    """Why cases do not pass, or which and why."""
    failed = {name: _NODE.sub("", said) for name, said in outcomes.items() if said not in (_PASSED, _NO_TYPE)}
    if names:
        return [f"{name}: {said}" for name, said in failed.items()]
    return [f"{many} {said}" for said, many in Counter(failed.values()).most_common()]


if __name__ == "__main__":
    sys.exit(main())
