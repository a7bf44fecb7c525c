"""What walks along time by a graph of its own: a `Scan` of an ONNX file as a node with that graph.

The node reads the states that it begins with, then what it walks along, then what its graph reads from outside. It
hands out what it collects, then its last states, which an endless stream never has.
"""

from __future__ import annotations

from dataclasses import replace

import onnx

from pulse.errors import LoadError, UnsupportedOp
from pulse.graph import Attribute, Fact, Graph, Node, ordered
from pulse.loop import as_scan
from pulse.opset import OPS, WALKING, WITH_BODIES
from pulse.proto import contents, not_supported

_NOT_YET_KNOWN = Fact("float32", ())  # of the inputs of a body, whose types are those of what it is given


def with_body(node: Node, item: onnx.NodeProto, outside: Graph, opset: int) -> Node:
    """The node of a `Scan`, or of a `Loop` that is one, with its graph; `UnsupportedOp` if it walks backwards."""
    said = f"load: {node}"
    written = next(attribute.g for attribute in item.attribute if attribute.name == "body")
    inner = _body(written, said, opset)
    if node.op == "Loop":
        if len(written.input) != len(item.input) or len(written.output) != len(item.output) + 1:
            raise LoadError(f"{said} has a graph that does not fit its inputs and outputs")
        return as_scan(replace(node, inputs=tuple(item.input), outputs=tuple(item.output)), inner, outside)
    scans = node.integer("num_scan_inputs", 0)
    states = len(item.input) - scans
    outputs = len(item.output) - states
    fits = len(written.input) == len(item.input) and len(written.output) == len(item.output)
    if scans < 1 or states < 0 or outputs < 0 or not fits:
        raise LoadError(f"{said} has a graph that does not fit its inputs and outputs")
    for key in ("scan_input_directions", "scan_output_directions"):
        if any(node.integers(key, ())):
            raise UnsupportedOp(f"{said} runs from the end of time, which never comes; export it to run forwards")
    attributes: dict[str, Attribute] = {
        "axes": _axes(node, "scan_input_axes", scans),
        "collected": _axes(node, "scan_output_axes", outputs),
        "body": inner,
    }
    captured = tuple(inner.inputs)[len(item.input) :]
    made = tuple(item.output[states:]) + tuple(item.output[:states])
    named = (made[0] or f"{node.name}.collected", *made[1:])
    return Node("Scan", node.name, (*item.input, *captured), named, attributes)


def _axes(node: Node, key: str, many: int) -> tuple[int, ...]:
    axes = node.integers(key, (0,) * many)
    if len(axes) != many:
        raise LoadError(f"load: {node} has {len(axes)} {key} for {many} values")
    return axes


def _body(proto: onnx.GraphProto, said: str, opset: int) -> Graph:
    """The graph within a node; behind its own inputs are those that it reads from outside. Outputs are numbered."""
    if proto.sparse_initializer:
        raise LoadError(f"{said} uses sparse weights; export it without")
    nodes, constants, protos = contents(proto, opset)
    for node in nodes:
        if node.op in WITH_BODIES or node.op in WALKING:
            raise UnsupportedOp(f"{said} has a graph with a graph in it ({node}); export it with one level only")
        if node.op not in OPS:
            raise not_supported(protos[node.name].op_type, node.name, opset)
    inputs = dict.fromkeys((value.name for value in proto.input), _NOT_YET_KNOWN)
    outputs = {str(index): value.name for index, value in enumerate(proto.output)}
    made = {name for node in nodes for name in node.outputs}
    read = [*(name for node in nodes for name in node.inputs if name), *outputs.values()]
    outside = dict.fromkeys((name for name in read if name not in made and name not in constants), _NOT_YET_KNOWN)
    graph = Graph(tuple(nodes), {**inputs, **outside}, outputs, constants)
    return replace(ordered(graph).check("load"), inputs={**inputs, **outside})
