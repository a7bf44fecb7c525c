"""The stateless graph as an ONNX file, for onnxruntime; and what onnxruntime makes of a whole recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pulse.graph import ABSENT, Array, Fact, Graph, Node
from pulse.peers import NotWritten
from pulse.peers.stateless import stateless
from pulse.pulsify import pulsify

OPSET, IR_VERSION = 17, 8
_AS_IN_ONNX = ("Add", "Concat", "Mul", "Relu", "Sigmoid", "Softmax", "Tanh", "Transpose")
_CONV = {"dilation": "dilations", "group": "group", "kernel": "kernel_shape", "stride": "strides"}


def write(graph: Graph, pulse: int, path: Path) -> None:
    """The file of a batch graph, for pulses of `pulse` items."""
    flat = stateless(pulsify(graph, pulse))
    constants = dict(flat.constants)
    nodes = [_node(node, flat, constants) for node in flat.nodes]
    nodes += [helper.make_node("Identity", [value], [name]) for name, value in flat.outputs.items() if name != value]
    inputs = [_port(name, fact) for name, fact in flat.inputs.items()]
    outputs = [_port(name, flat.facts[value]) for name, value in flat.outputs.items()]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "stateless", inputs, outputs, weights)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION), path)


def _port(name: str, fact: Fact) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(fact.dtype)), fact.sizes)


def _node(node: Node, graph: Graph, constants: dict[str, Array]) -> onnx.NodeProto:
    inputs: list[str] = list(node.inputs)
    attributes: dict[str, Any] = dict(node.attributes)
    match node.op:
        case "Conv":
            attributes = {_CONV[key]: value for key, value in attributes.items()}
        case "Slice":
            axes, starts, steps = (node.integers(key, ()) for key in ("axes", "starts", "steps"))
            sizes = graph.facts[node.outputs[0]].sizes
            ends = [start + sizes[axis] * step for axis, start, step in zip(axes, starts, steps, strict=True)]
            rows = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
            inputs += [_constant(node, key, np.array(value, np.int64), constants) for key, value in rows.items()]
            attributes = {}
        case "Clip":
            limits = [np.float32(attributes[key]) if key in attributes else None for key in ("low", "high")]
            inputs += [_constant(node, str(index), limit, constants) for index, limit in enumerate(limits)]
            attributes = {}
        case op if op not in _AS_IN_ONNX:
            raise NotWritten(node)
    return helper.make_node(node.op, inputs, node.outputs, node.name, **attributes)


def _constant(node: Node, key: str, value: Array | np.float32 | None, constants: dict[str, Array]) -> str:
    """The name of a new constant; of what is absent, that of nothing."""
    if value is None:
        return ABSENT
    name = f"{node.name}.{key}"
    constants[name] = np.asarray(value)
    return name
