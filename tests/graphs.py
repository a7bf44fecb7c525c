"""ONNX models built by hand, and the law that they obey when they are computed pulse by pulse."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import pulse
from pulse.graph import Graph
from pulse.load import load

TOLERANCE = 1e-4
END = np.iinfo(np.int64).max
FLOAT = int(TensorProto.FLOAT)

Stream = tuple[str, int]  # name, channels
Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass
class Builder:
    """An ONNX graph that grows; a stream is (1, channels, time)."""

    seed: int = 0
    opset: int = 20
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    stride: int = 1
    prefix: str = ""

    def __post_init__(self) -> None:
        self.noise = np.random.default_rng(self.seed)

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"{self.prefix}c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def floats(self, *shape: int) -> str:
        scale = 1 / math.sqrt(max(1, math.prod(shape[1:])))
        return self.constant(self.noise.standard_normal(shape) * scale, np.float32)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.add_many(op, 1, *inputs, **attributes)[0]

    def add_many(self, op: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        name = f"{self.prefix}y{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}.{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}{len(self.nodes)}", **attributes))
        return names

    def front(self, x: str, start: int, end: int = END) -> str:
        """x[:, :, start:end]"""
        return self.add("Slice", x, *(self.constant([number]) for number in (start, end, 2)))

    def model(
        self, shape: tuple[int | str, ...], outputs: list[str], types: tuple[int, int] = (FLOAT, FLOAT)
    ) -> onnx.ModelProto:
        """The finished model; `types` are those of its input and of its outputs."""
        x = helper.make_tensor_value_info("x", types[0], shape)
        ys = [helper.make_tensor_value_info(name, types[1], None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", [x], ys, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)


def batch_graph(model: onnx.ModelProto) -> Graph:
    """A model that is not in a file, loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return load(path)


def compiled(model: onnx.ModelProto, pulse_size: int) -> pulse.Plan:
    """The plan of a model that is not in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return pulse.compile(path, pulse_size)


def whole(model: onnx.ModelProto, *streams: Any) -> list[Any]:
    """What onnxruntime makes of the whole stream."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # its fusions make pools with more padding than kernel, and then refuse them
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return list(session.run(None, dict(zip(names, streams, strict=True))))


def streamed(plan: pulse.Plan, x: Any, axes: list[int], state: pulse.State | None = None) -> list[Any]:
    """What a plan makes of a stream, pulse by pulse, joined along `axes` of the outputs; by a used state if given.

    Without one, all kernels that there are say the same, behind the delay.
    """
    if state is None:
        found, *others = (streamed(plan, x, axes, pulse.State(plan, kernels=name)) for name in (None, "reference"))
        for other in others:
            for have, want, axis, delay in zip(found, other, axes, plan.delay, strict=True):
                have, want = (np.moveaxis(y, axis, 0)[delay:] for y in (have, want))
                np.testing.assert_allclose(have, want, rtol=TOLERANCE, atol=TOLERANCE)
        return found
    (view,) = plan.inputs.values()
    axis = next(axis for axis in range(x.ndim) if x.shape[axis] != view.shape[axis])  # x is longer than a pulse
    pieces = np.split(x, x.shape[axis] // plan.pulse, axis)
    outputs = [[y.copy() for y in state.run(np.ascontiguousarray(piece))] for piece in pieces]
    return [np.concatenate(parts, where) for parts, where in zip(zip(*outputs, strict=True), axes, strict=True)]


def assert_streams(b: Builder, y: str, shape: tuple[int | str, ...], axis: int, pulse_size: int = 4) -> pulse.Plan:
    """The law for one output of a network that was built by hand; `axis` is where its time is."""
    model = b.model(shape, [y])
    plan = compiled(model, pulse_size)
    sizes = [enough(plan) if isinstance(size, str) else size for size in shape]
    x = np.random.default_rng(8).standard_normal(sizes).astype(np.float32)
    assert_law(plan, whole(model, x), streamed(plan, x, [axis]), [axis])
    return plan


def enough(plan: pulse.Plan) -> int:
    """Items of a stream that is long enough for some to come out of every output."""
    late = max(delay * stride for delay, stride in zip(plan.delay, plan.stride, strict=True))
    return math.ceil((late + plan.receptive_field) / plan.pulse + 3) * plan.pulse


def assert_law(plan: pulse.Plan, wanted: list[Any], found: list[Any], axes: list[int]) -> None:
    """The pulsed outputs without their first `delay` items are the first outputs over the whole stream."""
    for want, have, axis, delay in zip(wanted, found, axes, plan.delay, strict=True):
        behind = np.moveaxis(have, axis, -1)[..., delay:]
        batch = np.moveaxis(want, axis, -1)
        items = behind.shape[-1]
        assert 0 < items <= batch.shape[-1]
        np.testing.assert_allclose(behind[..., :items], batch[..., :items], rtol=TOLERANCE, atol=TOLERANCE)
