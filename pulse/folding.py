"""What nodes make of constants alone, where our own kernels have no row: by the reference of the `onnx` package.

A file is input from a stranger: how much comes out, and how much work it is, is known before anything is computed.
Only ops of the table `FOLDED` are: none of them draws numbers, has a graph of its own, or works on texts or sequences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from pulse.errors import LoadError
from pulse.evaluate import DTYPES, EVALUATIONS
from pulse.graph import MAX_ELEMENTS, Array, Fact, Graph, Node, known, ordered
from pulse.infer import followed
from pulse.opset import FOLDED, OPS, SHRINKING
from pulse.proto import not_supported

MAX_FOLDED = 2 * MAX_ELEMENTS  # elements that all nodes together read, hold and make
_SHAPES_ONLY = ("Shape", "Size")  # what these say of the stream is known without it


def folded(graph: Graph, protos: Mapping[str, onnx.NodeProto], opset: int) -> Graph:
    """`graph` with what can be computed of constants as constants; `UnsupportedOp` for what is in no other table."""
    waiting = _on_constants(graph)
    for node in graph.nodes:
        if node.op not in OPS and node.name not in waiting:
            raise not_supported(node.op, node.name, opset)
    return _Folding(graph, protos, opset).along(waiting) if waiting else graph


def _on_constants(graph: Graph) -> set[str]:
    """The names of nodes that this file is for, and that no item of a stream reaches."""
    timed, found = set(graph.inputs), set()
    for node in graph.nodes:
        if node.op not in _SHAPES_ONLY and not timed.isdisjoint(node.inputs):
            timed.update(node.outputs)
        elif node.op in FOLDED and node.op not in EVALUATIONS:
            found.add(node.name)
    return found


class _Folding:
    """One walk along a graph, and the room that is left for what is computed."""

    def __init__(self, graph: Graph, protos: Mapping[str, onnx.NodeProto], opset: int) -> None:
        self._graph, self._protos, self._opset = graph, protos, opset
        self._left = MAX_FOLDED

    def along(self, waiting: set[str]) -> Graph:
        """The graph without the nodes of the names `waiting` that can be computed."""
        graph, nodes, constants = self._graph, [], dict(self._graph.constants)
        facts: dict[str, Fact] = {**graph.inputs, **{name: known(value) for name, value in constants.items()}}
        for node in graph.nodes:
            made = self._tried(node, facts) if node.name in waiting else None
            if made is not None:
                constants |= made
                facts |= {name: known(value) for name, value in made.items()}
            elif node.op not in OPS:
                raise not_supported(node.op, node.name, self._opset)
            else:
                nodes.append(node)
                facts |= followed(node, facts)
        return ordered(replace(graph, nodes=tuple(nodes), constants=constants))

    def _tried(self, node: Node, facts: Mapping[str, Fact]) -> dict[str, Array] | None:
        """What a node makes, if its inputs are known; what has a row elsewhere need not be computed here."""
        values = _values(node, facts)
        try:
            return None if values is None else self._computed(node, values)
        except LoadError:
            if node.op in OPS:
                return None
            raise

    def _computed(self, node: Node, values: dict[str, Array]) -> dict[str, Array]:
        proto = self._protos[node.name]
        model = _model(proto, values, self._opset)
        self._left -= sum(value.size for value in values.values()) + _summed(proto, values)
        self._left -= sum(_elements(node, shape, values) for shape in _shapes(node, model)) if self._left > 0 else 0
        if self._left < 0:
            raise LoadError(f"load: {node} computes more of constants than may be; export its result instead")
        try:
            with np.errstate(all="ignore"):
                made = ReferenceEvaluator(model).run(None, {})
        except Exception as error:  # it raises whatever numpy does
            raise LoadError(f"load: {node} cannot be computed: {error}") from error
        found = {name: np.asarray(value) for name, value in zip(proto.output, made, strict=True) if name}
        if any(value.dtype.name not in DTYPES.values() for value in found.values()):
            raise LoadError(f"load: {node} makes a constant of a type that is not supported; export it in float32")
        return found


def _values(node: Node, facts: Mapping[str, Fact]) -> dict[str, Array] | None:
    """What the inputs hold, if all are plain numbers."""
    found = {}
    for name in filter(None, node.inputs):
        value = facts[name].value if name in facts else None
        if value is None or value.dtype == object:
            return None
        found[name] = value
    return found


def _model(proto: onnx.NodeProto, values: Mapping[str, Array], opset: int) -> onnx.ModelProto:
    """A model of one node and its constants."""
    weights = [numpy_helper.from_array(np.array(value, order="C"), name) for name, value in values.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = onnx.helper.make_graph([proto], "constants", [], outputs, weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


def _shapes(node: Node, model: onnx.ModelProto) -> list[list[int | None]]:
    """The shapes that will come out, as far as they are known before."""
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, ValueError, TypeError) as error:
        raise LoadError(f"load: {node} does not fit its inputs") from error
    kinds = [value.type.tensor_type for value in inferred.graph.output]
    if not all(kind.HasField("shape") for kind in kinds):
        raise LoadError(f"load: {node} makes a constant of a shape that is not known beforehand; export its result")
    return [[dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim] for kind in kinds]


def _elements(node: Node, shape: list[int | None], values: Mapping[str, Array]) -> int:
    """How many elements of that shape come out at most."""
    sizes = [size for size in shape if size is not None]
    if min(sizes, default=0) < 0 or (len(sizes) < len(shape) and node.op not in SHRINKING):
        raise LoadError(f"load: {node} makes a constant of a shape that is not known beforehand; export its result")
    if len(sizes) == len(shape):
        return math.prod(sizes)
    first = next(iter(values.values()))
    return max(1, first.ndim) * first.size


def _summed(proto: onnx.NodeProto, values: Mapping[str, Array]) -> int:
    """How many products an `Einsum` may have to hold while it adds them up."""
    equation = "".join(item.s.decode("utf-8", "replace") for item in proto.attribute if item.name == "equation")
    if proto.op_type != "Einsum":
        return 0
    if "." in equation:
        return math.prod(values[name].size for name in proto.input)
    labels = equation.partition("->")[0].replace(" ", "").split(",")
    rows = zip(labels, (values[name].shape for name in proto.input), strict=False)
    return math.prod(dict(pair for row, shape in rows for pair in zip(row, shape, strict=False)).values())
