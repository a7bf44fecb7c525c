"""The stateless graph as a .tflite file, for TensorFlow Lite, written with the schema that it brings along.

TensorFlow Lite wants channels last: a value lies as (1, 1, time, channels), whichever axis of it is time, so that
to transpose the two is to do nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pulse.graph import Array, Graph, Node
from pulse.peers import NotWritten
from pulse.peers.stateless import stateless
from pulse.pulsify import pulsify

_TIME, _CHANNELS, _RANK = 2, 3, 4  # of a value here
_VERSION, _IDENTIFIER = 3, b"TFL3"  # of the format
_TYPES = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
_LAST_OLD_OP = 127  # PLACEHOLDER_FOR_GREATER_OP_CODES
_PLAIN = {"Add": "ADD", "Mul": "MUL", "Relu": "RELU", "Sigmoid": "LOGISTIC", "Tanh": "TANH"}
_OPTIONS = {"ADD": "AddOptions", "MUL": "MulOptions"}


def write(graph: Graph, pulse: int, path: Path) -> None:
    """The file of a batch graph, for pulses of `pulse` items."""
    for name in (*graph.inputs, *graph.outputs.values()):
        stream = graph.facts[name].stream
        if stream is None or stream.axis != 1:
            raise NotWritten(f"the value {name!r}", "where time is not the second axis")
    path.write_bytes(Writer(stateless(pulsify(graph, pulse))).content())


def _made(kind: str, **fields: Any) -> Any:
    """An object of the schema."""
    made = getattr(schema, kind + "T")()
    for name, value in fields.items():
        assert hasattr(made, name)
        setattr(made, name, value)
    return made


class Writer:
    """A model of one subgraph while it grows."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._codes: list[str] = []
        self._buffers = [_made("Buffer")]
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._numbers: dict[str, int] = {}  # value -> tensor
        for name in graph.inputs:
            self._value(name)
        for node in graph.nodes:
            self._take(node)

    def content(self) -> bytes:
        """The file."""
        inputs = [self._value(name) for name in self._graph.inputs]
        outputs = [self._value(name) for name in self._graph.outputs.values()]
        lists = {"tensors": self._tensors, "operators": self._operators, "inputs": inputs, "outputs": outputs}
        model = _made("Model", version=_VERSION, subgraphs=[_made("SubGraph", **lists)], buffers=self._buffers)
        model.operatorCodes = [_code(getattr(schema.BuiltinOperator, name)) for name in self._codes]
        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _value(self, name: str) -> int:
        """The tensor of a value."""
        if name not in self._numbers:
            fact = self._graph.facts[name]
            if len(fact.shape) != 3 or fact.sizes[0] != 1 or fact.dtype != "float32" or fact.stream is None:
                raise NotWritten(f"the value {name!r}", "which is not one row of float32 in three axes")
            time, channels = (fact.sizes[axis] for axis in (fact.stream.axis, 3 - fact.stream.axis))
            self._numbers[name] = self._tensor(name, (1, 1, time, channels), "float32")
        return self._numbers[name]

    def _constant(self, array: Array) -> int:
        self._buffers.append(_made("Buffer", data=np.frombuffer(array.tobytes(), np.uint8)))
        return self._tensor("", array.shape, array.dtype.name, len(self._buffers) - 1)

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: str, buffer: int = 0) -> int:
        self._tensors.append(_made("Tensor", name=name, shape=list(shape), type=_TYPES[dtype], buffer=buffer))
        return len(self._tensors) - 1

    def _emit(self, node: Node, code: str, inputs: list[int], options: str = "", **fields: int | float) -> None:
        if code not in self._codes:
            self._codes.append(code)
        made = _made("Operator", opcodeIndex=self._codes.index(code), inputs=inputs)
        made.outputs = [self._value(node.outputs[0])]
        if options:
            made.builtinOptions = _made(options, **fields)
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        self._operators.append(made)

    def _take(self, node: Node) -> None:
        reads = [self._value(name) for name in node.inputs if name not in self._graph.constants]
        match node.op:
            case "Transpose":
                self._numbers[node.outputs[0]] = reads[0]
            case "Conv":
                self._conv(node, reads[0])
            case "Concat":
                axis = self._axis(node, node.integer("axis", 0))
                self._emit(node, "CONCATENATION", reads, "ConcatenationOptions", axis=axis)
            case "Slice":
                self._slice(node, reads[0])
            case "Clip" if dict(node.attributes) == {"low": 0.0}:
                self._emit(node, "RELU", reads)
            case "Softmax" if self._axis(node, node.integer("axis", -1)) == _CHANNELS:
                self._emit(node, "SOFTMAX", reads, "SoftmaxOptions", beta=1.0)
            case op if op in _PLAIN and len(reads) == len(node.inputs):
                self._emit(node, _PLAIN[op], reads, _OPTIONS.get(_PLAIN[op], ""))
            case _:
                raise NotWritten(node)

    def _axis(self, node: Node, axis: int) -> int:
        stream = self._graph.facts[node.inputs[0]].stream
        return _TIME if stream and stream.axis == axis else _CHANNELS

    def _conv(self, node: Node, x: int) -> None:
        weights, *bias = (self._graph.constants[name] for name in node.inputs[1:])
        if weights.ndim != 3 or node.integer("group", 1) != 1:
            raise NotWritten(node, "which has groups, or more than one axis")
        packed = weights.transpose(0, 2, 1)[:, np.newaxis]  # (outputs, 1, taps, channels)
        added = bias[0] if bias else np.zeros(len(weights), np.float32)
        (stride,), (dilation,) = node.integers("stride", (1,)), node.integers("dilation", (1,))
        window = {"strideH": 1, "strideW": stride, "dilationHFactor": 1, "dilationWFactor": dilation}
        reads = [x, self._constant(packed), self._constant(added)]
        self._emit(node, "CONV_2D", reads, "Conv2DOptions", padding=schema.Padding.VALID, **window)

    def _slice(self, node: Node, x: int) -> None:
        begin = np.zeros(_RANK, np.int32)
        for axis, start in zip(node.integers("axes", ()), node.integers("starts", ()), strict=True):
            begin[self._axis(node, axis)] = start
        if set(node.integers("steps", ())) != {1}:
            raise NotWritten(node, "which leaves out items")
        size = np.array(self._tensors[self._value(node.outputs[0])].shape, np.int32)
        self._emit(node, "SLICE", [x, self._constant(begin), self._constant(size)], "SliceOptions")


def _code(builtin: int) -> Any:
    return _made("OperatorCode", builtinCode=builtin, deprecatedBuiltinCode=min(builtin, _LAST_OLD_OP), version=1)
