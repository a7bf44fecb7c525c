"""`load`: an ONNX file to a `Graph`. The only module that touches the `onnx` package.

A model file is input from a stranger: its size, counts and shapes are bounded before anything is built from them, and
what is not in the table below is refused by name. Old spellings (attributes that became inputs) are rewritten here,
so that the later stages know one form only.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from pulse.dilation import with_dilations
from pulse.dim import STREAM, Length, affine
from pulse.errors import LoadError, UnsupportedOp
from pulse.evaluate import DTYPES
from pulse.graph import MAX_ELEMENTS, MAX_RANK, Array, Attribute, Fact, Graph, Node, fact, ordered
from pulse.reopen import reopened
from pulse.unwanted import what_it_is
from pulse.wire import measure

MAX_FILE = 16 << 20  # bytes
MAX_NODES = 4000
MAX_METADATA = 1 << 20  # characters, all entries together
MAX_RATE = 4096  # items of an input to one of another
OLDEST_OPSET = 9
NEWEST_OPSET = onnx.defs.onnx_opset_version()

_AXIS = re.compile(r"[0-9]")
_RATE = re.compile(r"(?:(?P<times>\d{1,6})\*)?(?P<name>[A-Za-z_]\w*)(?://(?P<divisor>\d{1,6}))?")

_WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")
_RECURRENT = ("activations", "clip", "direction", "hidden_size", "layout")
_PLACES = ("coordinate_transformation_mode", "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy")
_RESIZE = (*_PLACES, "antialias", "axes", "cubic_coeff_a", "mode", "nearest_mode")
_REDUCE = ("axes", "keepdims", "noop_with_empty_axes")
# op -> the attributes that are understood
OPS: Mapping[str, tuple[str, ...]] = {
    "Abs": (),
    "Acos": (),
    "Acosh": (),
    "Add": (),
    "And": (),
    "ArgMax": ("axis", "keepdims", "select_last_index"),
    "ArgMin": ("axis", "keepdims", "select_last_index"),
    "Asin": (),
    "Asinh": (),
    "Atan": (),
    "Atanh": (),
    "AveragePool": (*_WINDOW, "ceil_mode", "count_include_pad"),
    "BatchNormalization": ("epsilon", "momentum", "spatial", "training_mode"),
    "Cast": ("to", "saturate"),
    "CastLike": ("saturate",),
    "Ceil": (),
    "Celu": ("alpha",),
    "Clip": ("min", "max"),
    "Concat": ("axis",),
    "Constant": ("value", "value_int", "value_ints", "value_float", "value_floats"),
    "ConstantOfShape": ("value",),
    "Conv": (*_WINDOW, "group"),
    "ConvTranspose": (*_WINDOW, "group", "output_padding", "output_shape"),
    "Cos": (),
    "Cosh": (),
    "CumSum": ("exclusive", "reverse"),
    "DepthToSpace": ("blocksize", "mode"),
    "Div": (),
    "Dropout": ("ratio", "seed", "training_mode"),
    "Einsum": ("equation",),
    "Elu": ("alpha",),
    "Equal": (),
    "Erf": (),
    "Exp": (),
    "Expand": (),
    "Flatten": ("axis",),
    "Floor": (),
    "GRU": (*_RECURRENT, "linear_before_reset"),
    "Gather": ("axis",),
    "Gelu": ("approximate",),
    "Gemm": ("alpha", "beta", "transA", "transB"),
    "GlobalAveragePool": (),
    "GlobalMaxPool": (),
    "Greater": (),
    "GreaterOrEqual": (),
    "GroupNormalization": ("epsilon", "num_groups", "stash_type"),
    "HardSigmoid": ("alpha", "beta"),
    "HardSwish": (),
    "Hardmax": ("axis",),
    "Identity": (),
    "InstanceNormalization": ("epsilon",),
    "IsInf": ("detect_negative", "detect_positive"),
    "IsNaN": (),
    "LSTM": (*_RECURRENT, "input_forget"),
    "LayerNormalization": ("axis", "epsilon", "stash_type"),
    "LeakyRelu": ("alpha",),
    "Less": (),
    "LessOrEqual": (),
    "Log": (),
    "LogSoftmax": ("axis",),
    "LpNormalization": ("axis", "p"),
    "LpPool": (*_WINDOW, "ceil_mode", "p"),
    "MatMul": (),
    "Max": (),
    "MaxPool": (*_WINDOW, "ceil_mode", "storage_order"),
    "Mean": (),
    "Min": (),
    "Mish": (),
    "Mod": ("fmod",),
    "Mul": (),
    "Neg": (),
    "Not": (),
    "Or": (),
    "Pad": ("mode", "pads", "value"),
    "Pow": (),
    "PRelu": (),
    "RNN": _RECURRENT,
    "Range": (),
    "Reciprocal": (),
    "ReduceL1": _REDUCE,
    "ReduceL2": _REDUCE,
    "ReduceLogSum": _REDUCE,
    "ReduceLogSumExp": _REDUCE,
    "ReduceMax": _REDUCE,
    "ReduceMean": _REDUCE,
    "ReduceMin": _REDUCE,
    "ReduceProd": _REDUCE,
    "ReduceSum": _REDUCE,
    "ReduceSumSquare": _REDUCE,
    "Relu": (),
    "Reshape": ("allowzero", "shape"),
    "RMSNormalization": ("axis", "epsilon", "stash_type"),
    "Resize": _RESIZE,
    "Round": (),
    "Selu": ("alpha", "gamma"),
    "Shape": ("start", "end"),
    "Shrink": ("bias", "lambd"),
    "Sigmoid": (),
    "Sign": (),
    "Sin": (),
    "Sinh": (),
    "Slice": ("axes", "ends", "starts"),
    "Softmax": ("axis",),
    "Softplus": (),
    "Softsign": (),
    "Size": (),
    "SpaceToDepth": ("blocksize", "mode"),
    "Split": ("axis", "num_outputs", "split"),
    "Sqrt": (),
    "Squeeze": ("axes",),
    "Sub": (),
    "Sum": (),
    "Swish": ("alpha",),
    "Tan": (),
    "Tanh": (),
    "ThresholdedRelu": ("alpha",),
    "Tile": (),
    "Transpose": ("perm",),
    "Upsample": ("mode",),
    "Unsqueeze": ("axes",),
    "Where": (),
    "Xor": (),
}

# op -> attributes of older opsets, and the input each has become
MOVED: Mapping[str, Mapping[str, int]] = {
    "Clip": {"min": 1, "max": 2},
    "Pad": {"pads": 1, "value": 2},
    "ReduceL1": {"axes": 1},
    "ReduceL2": {"axes": 1},
    "ReduceLogSum": {"axes": 1},
    "ReduceLogSumExp": {"axes": 1},
    "ReduceMax": {"axes": 1},
    "ReduceMean": {"axes": 1},
    "ReduceMin": {"axes": 1},
    "ReduceProd": {"axes": 1},
    "ReduceSum": {"axes": 1},
    "ReduceSumSquare": {"axes": 1},
    "Reshape": {"shape": 1},
    "Slice": {"starts": 1, "ends": 2, "axes": 3},
    "Split": {"split": 1},
    "Squeeze": {"axes": 1},
    "Unsqueeze": {"axes": 1},
}


# ops that have a graph of their own, and what to do instead
_WITH_BODIES: Mapping[str, str] = {
    "If": "export the branch that is taken, such as the one of model.eval()",
    "Loop": "export a layer that walks along time as LSTM, GRU or RNN, and unroll any other loop",
    "Scan": "export a layer that walks along time as LSTM, GRU or RNN, or as convolutions over its past",
    "SequenceMap": "unroll it",
}


def load(path: str | Path, stream: str | None = None) -> Graph:
    """The graph of the ONNX file at `path`; `LoadError` if the file is not one that can be taken.

    Time is the axis of an input that is dynamic, or the one that `stream` names: `x:1`, or `x:1,z:2` for two inputs.
    An input without either has no time, and is given anew with every pulse; if that is meant for all, `stream` is "".
    """
    path = Path(path)
    named = _named(stream) if stream is not None else None
    model = _parse(path)
    opset = _opset(model, path)
    proto = model.graph
    if len(proto.node) > MAX_NODES:
        raise LoadError(f"load: {path.name} has {len(proto.node)} nodes, more than {MAX_NODES}")
    if model.functions or proto.sparse_initializer:
        raise LoadError(f"load: {path.name} uses local functions or sparse weights; export it without")
    constants = {tensor.name: _array(tensor) for tensor in proto.initializer}
    nodes = []
    names = Counter(item.name for item in proto.node)
    for index, item in enumerate(proto.node):
        node = _node(item, item.name if names[item.name] == 1 and item.name else f"{item.op_type}_{index}", opset)
        if node.op == "Constant":
            constants[node.outputs[0]] = _content(node)
        else:
            nodes.append(_modern(node, constants))
    nodes = _without_unread(nodes, {output.name for output in proto.output})
    given = [value for value in proto.input if value.name not in constants]
    inputs = _inputs(given, named, path)
    outputs = {value.name: value.name for value in proto.output}
    if not inputs or not outputs:
        raise LoadError(f"load: {path.name} has no inputs or no outputs")
    lengths = (dim.dim_param for value in given if named is None for dim in value.type.tensor_type.shape.dim)
    symbols = {_symbol(length) for length in lengths if length}
    if len(symbols) > 1:
        raise LoadError(f"load: {path.name} names time {' and '.join(sorted(symbols))}; give it one name")
    graph = Graph(tuple(nodes), inputs, outputs, constants, metadata=_metadata(model, path))
    graph = ordered(graph).check("load")
    fixed = {value.name: _fixed(value, inputs[value.name]) for value in given if named and value.name in named}
    graph = with_dilations(graph, fixed)
    return reopened(graph, fixed) if any(item.stream is None for item in fixed.values()) else graph


def _without_unread(nodes: list[Node], outputs: set[str]) -> list[Node]:
    """The nodes without outputs behind the first that nobody reads: exporters name them all."""
    read = {name for node in nodes for name in node.inputs} | outputs
    return [node if node.op == "Split" else _trimmed_to(node, read) for node in nodes]


def _trimmed_to(node: Node, read: set[str]) -> Node:
    first, *rest = node.outputs
    return replace(node, outputs=_trimmed([first, *(name if name in read else "" for name in rest)]))


def _parse(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise LoadError(f"load: {path.name} has {size} bytes, more than {MAX_FILE}")
        content = path.read_bytes()
    except OSError as error:
        raise LoadError(f"load: cannot read {path}: {error.strerror}") from error
    measure(content, onnx.ModelProto.DESCRIPTOR, path.name)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise LoadError(f"load: {path.name} is {what_it_is(content, 'no ONNX model')}") from error
    if not model.HasField("graph"):
        raise LoadError(f"load: {path.name} is {what_it_is(content, 'no ONNX model')}")
    return model


def _opset(model: onnx.ModelProto, path: Path) -> int:
    versions: dict[str, int] = {item.domain: int(item.version) for item in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise UnsupportedOp(
            f"load: {path.name} uses opset {opset}; {OLDEST_OPSET} to {NEWEST_OPSET} are supported, "
            f"so export it again with opset_version={NEWEST_OPSET if opset > NEWEST_OPSET else 18}"
        )
    return opset


def _metadata(model: onnx.ModelProto, path: Path) -> dict[str, str]:
    metadata = {item.key: item.value for item in model.metadata_props}
    if sum(len(key) + len(value) for key, value in metadata.items()) > MAX_METADATA:
        raise LoadError(f"load: {path.name} carries more than {MAX_METADATA} characters of metadata")
    return metadata


def _node(item: onnx.NodeProto, name: str, opset: int) -> Node:
    said = f"load: node {name!r} ({item.op_type}, opset {opset})"
    if item.domain not in ("", "ai.onnx"):
        raise UnsupportedOp(f"{said} is of the domain {item.domain!r}; only standard ONNX ops are supported")
    if item.op_type in _WITH_BODIES:
        raise UnsupportedOp(f"{said} is a graph within the graph, which is not supported; {_WITH_BODIES[item.op_type]}")
    if item.op_type not in OPS:
        raise UnsupportedOp(f"{said} is an op that is not supported; supported are {', '.join(sorted(OPS))}")
    _check_form(item, opset, said)
    attributes = {attribute.name: _attribute(attribute, said) for attribute in item.attribute}
    for key in attributes:
        if key not in OPS[item.op_type]:
            raise UnsupportedOp(f"{said} has the attribute {key!r}, which is not supported")
    if item.op_type in ("Hardmax", "LogSoftmax", "Softmax"):
        attributes = _softmax(attributes, opset)
    inputs = tuple(item.input)
    if item.op_type in ("Resize", "Upsample") and opset < 11:
        inputs, attributes = (inputs[0], "", inputs[1]), {**attributes, **_OLD_RESIZE}
    op = "Resize" if item.op_type == "Upsample" else item.op_type
    return Node(op, name, inputs, _trimmed([item.output[0] or f"{name}.all", *item.output[1:]]), attributes)


def _check_form(item: onnx.NodeProto, opset: int, said: str) -> None:
    """The op exists in this opset, with as many inputs, outputs and attributes as it must have."""
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


_LAST_STATES = ("GRU", "LSTM", "RNN")  # ops that may hand out nothing but their second output and third

# how an `Upsample`, and a `Resize` before opset 11, find the nearest item
_OLD_RESIZE: Mapping[str, Attribute] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def _softmax(attributes: dict[str, Attribute], opset: int) -> dict[str, Attribute]:
    """Before opset 13 the axis was 1 unless given, and everything behind it was flattened into it."""
    if opset >= 13:
        return attributes
    return {"axis": 1, "flattened": 1} | attributes


def _trimmed(names: Iterable[str]) -> tuple[str, ...]:
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
            return _array(attribute.t)
    raise UnsupportedOp(f"{said} has the attribute {attribute.name!r} of a kind that is not supported")


def _array(tensor: onnx.TensorProto) -> Array:
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


def _content(node: Node) -> Array:
    for key, value in node.attributes.items():
        if isinstance(value, np.ndarray):
            return value
        return np.asarray(value, np.float32 if "float" in key else np.int64)
    raise LoadError(f"load: {node} has no value")


def _modern(node: Node, constants: dict[str, Array]) -> Node:
    """The node in the newest spelling: attributes that became inputs are inputs, in `constants`."""
    moved = [(key, index) for key, index in MOVED.get(node.op, {}).items() if key in node.attributes]
    if not moved:
        return node
    inputs = list(node.inputs)
    for key, index in moved:
        value = np.asarray(node.attributes[key])
        name = f"{node.outputs[0]}.{key}"
        constants[name] = value.astype(np.float32) if value.dtype.kind == "f" else value.astype(np.int64)
        inputs += [""] * (index + 1 - len(inputs))
        inputs[index] = name
    rest = {key: value for key, value in node.attributes.items() if key not in dict(moved)}
    return Node(node.op, node.name, tuple(inputs), node.outputs, rest)


def _symbol(length: str) -> str:
    """The name of time in the length of an axis, such as `S` in `2*S`."""
    found = _RATE.fullmatch(length.replace(" ", ""))
    return found["name"] if found else length


def _rate(length: str, said: str) -> Length:
    """The length of a time axis: time itself, or for an input of another rate a whole multiple or part of it."""
    found = _RATE.fullmatch(length.replace(" ", ""))
    times, divisor = (int(found[key] or 1) if found else 1 for key in ("times", "divisor"))
    if not 1 <= times <= MAX_RATE or not 1 <= divisor <= MAX_RATE:
        raise LoadError(f"{said} has the impossible length {length}")
    return affine(times, 0, divisor)


def _named(stream: str) -> dict[str, int]:
    """Inputs and their axes of time, none of them if nothing is written."""
    if not stream:
        return {}
    pairs = (item.strip().rpartition(":") for item in stream.split(","))
    named = {name: axis for name, _, axis in pairs}
    if not all(name and _AXIS.fullmatch(axis) for name, axis in named.items()):
        raise LoadError(f"load: {stream!r} names no axis of time; write NAME:AXIS, such as x:1")
    return {name: int(axis) for name, axis in named.items()}


def _fixed(value: onnx.ValueInfoProto, opened: Fact) -> Fact:
    """An input as the file has it: as `opened`, but for a length of time that is a number."""
    assert opened.stream is not None
    axis = opened.stream.axis
    length = int(value.type.tensor_type.shape.dim[axis].dim_value)
    return fact((*opened.shape[:axis], length, *opened.shape[axis + 1 :]), opened.dtype) if length else opened


def _inputs(given: list[onnx.ValueInfoProto], named: Mapping[str, int] | None, path: Path) -> dict[str, Fact]:
    """The facts of the inputs. Time is what `named` says, or else the dynamic axes, of which there must be some."""
    everything, dynamic = {value.name for value in given}, {value.name for value in given if _dynamic(value)}
    if named and not dynamic <= set(named) <= everything:
        said = f"load: {path.name} has the inputs {', '.join(value.name for value in given)}"
        raise LoadError(f"{said}; name them all, but for those without time")
    timed = dynamic or everything if named is None else set(named)
    axes = {name: (named or {}).get(name) for name in timed}
    return {value.name: _input(value, axes[value.name]) if value.name in axes else _still(value) for value in given}


def _dynamic(value: onnx.ValueInfoProto) -> list[int]:
    dims = value.type.tensor_type.shape.dim
    return [index for index, dim in enumerate(dims) if not dim.HasField("dim_value")]


def _lengths(value: onnx.ValueInfoProto) -> list[int]:
    """The lengths of the axes; a dynamic one is that of a batch, of 1."""
    return [int(dim.dim_value) if dim.HasField("dim_value") else 1 for dim in value.type.tensor_type.shape.dim]


def _still(value: onnx.ValueInfoProto) -> Fact:
    """The fact of an input without time."""
    said, lengths = _checked(value), _lengths(value)
    if any(size < 0 for size in lengths) or math.prod(lengths) > MAX_ELEMENTS:
        raise LoadError(f"{said} has an impossible shape")
    return fact(tuple(lengths), DTYPES[value.type.tensor_type.elem_type])


def _checked(value: onnx.ValueInfoProto) -> str:
    """What to call an input whose type is supported."""
    said = f"load: the input {value.name!r}"
    tensor = value.type.tensor_type
    if tensor.elem_type not in DTYPES:
        raise UnsupportedOp(f"{said} is of a type that is not supported; {', '.join(DTYPES.values())} are")
    if not tensor.HasField("shape") or len(tensor.shape.dim) > MAX_RANK:
        raise LoadError(f"{said} has no shape, or more than {MAX_RANK} axes")
    return said


def _input(value: onnx.ValueInfoProto, axis: int | None) -> Fact:
    """The fact of an input with time, on its dynamic axis if not on `axis`."""
    said, tensor, dynamic = _checked(value), value.type.tensor_type, _dynamic(value)
    if axis is not None and axis >= len(tensor.shape.dim):
        raise LoadError(f"{said} has {len(tensor.shape.dim)} axes, and none is {axis}")
    if axis is not None:
        return replace(_sized(said, _lengths(value), (axis, STREAM)), dtype=DTYPES[tensor.elem_type])
    if len(dynamic) != 1:
        raise LoadError(
            f"{said} has {len(dynamic)} dynamic axes; exactly one, time, must be: export with "
            f"dynamic_axes={{{value.name!r}: {{time_axis: 'S'}}}} and a batch of 1, or say stream='{value.name}:1' "
            "if axis 1 is time, and stream='' if nothing is"
        )
    name = tensor.shape.dim[dynamic[0]].dim_param
    time = _rate(name, said) if name else STREAM
    return replace(_sized(said, _lengths(value), (dynamic[0], time)), dtype=DTYPES[tensor.elem_type])


def _sized(said: str, lengths: list[int], time: tuple[int, Length]) -> Fact:
    """The fact of an input of these lengths, but for its axis of time."""
    axis, length = time
    sizes = [*lengths[:axis], *lengths[axis + 1 :]]
    if any(size < 1 for size in sizes) or math.prod(sizes) > MAX_ELEMENTS:
        raise LoadError(f"{said} has an impossible shape")
    return fact((*lengths[:axis], length, *lengths[axis + 1 :]))
