"""Nodes and weights of an ONNX file, one by one, as those of a `Graph`, in the newest spelling.

Attributes that became inputs are rewritten here, so that the later stages know one form only. Nothing is known here of
how nodes are joined.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from pulse.errors import LoadError, UnsupportedOp
from pulse.evaluate import DTYPES
from pulse.graph import MAX_ELEMENTS, MAX_RANK, Array, Attribute, Node
from pulse.opset import FOLDED, MOVED, OPS, REMEDIES, WALKING, WITH_BODIES


def contents(graph: onnx.GraphProto, opset: int) -> tuple[list[Node], dict[str, Array], dict[str, onnx.NodeProto]]:
    """The nodes of a graph, its constants, and what the nodes are written as, by their names."""
    constants = {tensor.name: array_of(tensor) for tensor in graph.initializer}
    nodes, protos = [], {}
    names = Counter(item.name for item in graph.node)
    for index, item in enumerate(graph.node):
        node = node_of(item, item.name if names[item.name] == 1 and item.name else f"{item.op_type}_{index}", opset)
        if node.op == "Constant":
            constants[node.outputs[0]] = content_of(node)
        else:
            nodes.append(modern(node, constants))
            protos[node.name] = item
    return nodes, constants, protos


def node_of(item: onnx.NodeProto, name: str, opset: int) -> Node:
    """The node under `name`; `UnsupportedOp` if its op, opset or an attribute is not known."""
    if not item.op_type.isidentifier():
        raise UnsupportedOp(f"load: node {name!r} is of the op {item.op_type!r}, which no opset has")
    said = f"load: node {name!r} ({item.op_type}, opset {opset})"
    if item.domain not in ("", "ai.onnx"):
        raise UnsupportedOp(f"{said} is of the domain {item.domain!r}; only standard ONNX ops are supported")
    if item.op_type in WITH_BODIES and item.op_type not in WALKING:
        raise UnsupportedOp(f"{said} is a graph within the graph, which is not supported; {WITH_BODIES[item.op_type]}")
    if item.op_type not in OPS and item.op_type not in FOLDED:
        raise not_supported(item.op_type, name, opset)
    understood = _check_form(item, opset, said)
    parts = [attribute for attribute in item.attribute if item.op_type not in WALKING or attribute.name != "body"]
    attributes = {attribute.name: _attribute(attribute, said) for attribute in parts}
    for key in attributes:
        if key not in OPS.get(item.op_type, understood):
            raise UnsupportedOp(f"{said} has the attribute {key!r}, which is not supported")
    if item.op_type in ("Hardmax", "LogSoftmax", "Softmax"):
        attributes = _softmax(attributes, opset)
    inputs = tuple(item.input)
    if item.op_type in ("Resize", "Upsample") and opset < 11:
        inputs, attributes = (inputs[0], "", inputs[1]), {**attributes, **_OLD_RESIZE}
    op = "Resize" if item.op_type == "Upsample" else item.op_type
    return Node(op, name, inputs, trimmed([item.output[0] or f"{name}.all", *item.output[1:]]), attributes)


def not_supported(op: str, name: str, opset: int) -> UnsupportedOp:
    """The error that names an op without a row."""
    said = f"load: node {name!r} ({op}, opset {opset})"
    remedy = REMEDIES.get(op, f"supported are {', '.join(sorted(OPS))}")
    return UnsupportedOp(f"{said} is an op that is not supported; {remedy}")


def _check_form(item: onnx.NodeProto, opset: int, said: str) -> set[str]:
    """The attributes that the op has in this opset; it has as many inputs, outputs and attributes as it must have."""
    try:
        schema = onnx.defs.get_schema(item.op_type, opset)
    except onnx.defs.SchemaError as error:
        raise UnsupportedOp(f"{said} is an op that its opset does not have") from error
    required = {name for name, attribute in schema.attributes.items() if attribute.required}
    given = {attribute.name for attribute in item.attribute}
    inputs, outputs = len(item.input), len(item.output)
    fits = schema.min_input <= inputs <= schema.max_input and schema.min_output <= outputs <= schema.max_output
    nameless = outputs and not item.output[0] and item.op_type not in _LAST_STATES
    if not fits or not required <= given or (schema.min_input and not item.input[0]) or nameless:
        raise LoadError(f"{said} has other inputs, outputs or attributes than its op must have")
    return set(schema.attributes)


_LAST_STATES = ("GRU", "LSTM", "Loop", "RNN", "Scan")  # ops that need not hand out their first output

# how an `Upsample`, and a `Resize` before opset 11, find the nearest item
_OLD_RESIZE: Mapping[str, Attribute] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def _softmax(attributes: dict[str, Attribute], opset: int) -> dict[str, Attribute]:
    """Before opset 13 the axis was 1 unless given, and everything behind it was flattened into it."""
    if opset >= 13:
        return attributes
    return {"axis": 1, "flattened": 1} | attributes


def trimmed(names: Iterable[str]) -> tuple[str, ...]:
    """Names without those that are left out at the end."""
    listed = list(names)
    while listed and not listed[-1]:
        listed.pop()
    return tuple(listed)


def _attribute(attribute: onnx.AttributeProto, said: str) -> Attribute:
    kinds = onnx.AttributeProto
    if attribute.ref_attr_name:
        raise UnsupportedOp(f"{said} refers to the attribute of a function; export it without functions")
    match attribute.type:
        case kinds.INT:
            return int(attribute.i)
        case kinds.FLOAT:
            return float(attribute.f)
        case kinds.STRING:
            return attribute.s.decode("utf-8", "replace")
        case kinds.INTS:
            return tuple(int(number) for number in attribute.ints)
        case kinds.FLOATS:
            return tuple(float(number) for number in attribute.floats)
        case kinds.STRINGS:
            return tuple(text.decode("utf-8", "replace") for text in attribute.strings)
        case kinds.TENSOR:
            return array_of(attribute.t)
    raise UnsupportedOp(f"{said} has the attribute {attribute.name!r} of a kind that is not supported")


def array_of(tensor: onnx.TensorProto) -> Array:
    """The content of a weight, after its claims about itself were checked."""
    said = f"load: the constant {tensor.name!r}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise LoadError(f"{said} lies in another file; export with all weights in one file (external_data=False)")
    if tensor.data_type not in DTYPES:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in range(1, 24) else "unknown"
        raise UnsupportedOp(f"{said} is of the type {kind}; export the model in float32")
    if len(tensor.dims) > MAX_RANK or any(size < 0 for size in tensor.dims):
        raise LoadError(f"{said} has an impossible shape")
    if math.prod(tensor.dims) > MAX_ELEMENTS:
        raise LoadError(f"{said} has {math.prod(tensor.dims)} elements, more than {MAX_ELEMENTS}")
    try:
        value = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise LoadError(f"{said} does not hold as many elements as its shape says") from error
    if value.dtype == np.float32 and np.isnan(value).any():
        raise LoadError(f"{said} contains NaN; the training has diverged")
    return value


def content_of(node: Node) -> Array:
    """What a `Constant` holds."""
    for key, value in node.attributes.items():
        if isinstance(value, np.ndarray):
            return value
        if np.asarray(value).dtype.kind in "fi":
            return np.asarray(value, np.float32 if "float" in key else np.int64)
    raise LoadError(f"load: {node} has no value of numbers")


def modern(node: Node, constants: dict[str, Array]) -> Node:
    """The node in the newest spelling: attributes that became inputs are inputs, in `constants`."""
    moved = [(key, index) for key, index in MOVED.get(node.op, {}).items() if key in node.attributes]
    if not moved:
        return node
    inputs = list(node.inputs)
    for key, index in moved:
        value = np.asarray(node.attributes[key])
        if value.dtype.kind not in "fi":
            raise LoadError(f"load: {node} has an attribute {key} that is no number, and no list of them")
        name = f"{node.outputs[0]}.{key}"
        constants[name] = value.astype(np.float32) if value.dtype.kind == "f" else value.astype(np.int64)
        inputs += [""] * (index + 1 - len(inputs))
        inputs[index] = name
    rest = {key: value for key, value in node.attributes.items() if key not in dict(moved)}
    return Node(node.op, node.name, tuple(inputs), node.outputs, rest)
