"""`load`: an ONNX file to a `Graph`. Nothing but this, `proto`, `body`, `inputs` and `folding` touches `onnx`.

A model file is input from a stranger: its size, counts and shapes are bounded before anything is built from them, and
what is not in the table of `opset` is refused by name.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from pulse.body import with_body
from pulse.dilation import with_dilations
from pulse.errors import LoadError, UnsupportedOp
from pulse.folding import folded
from pulse.graph import Graph, Node, ordered
from pulse.inputs import closed, inputs_of, named_axes, symbol
from pulse.opset import WALKING
from pulse.proto import contents, trimmed
from pulse.reopen import reopened
from pulse.unwanted import what_it_is
from pulse.wire import measure

MAX_FILE = 16 << 20  # bytes
MAX_NODES = 4000
MAX_METADATA = 1 << 20  # characters, all entries together
OLDEST_OPSET = 9
NEWEST_OPSET = onnx.defs.onnx_opset_version()


def load(path: str | Path, stream: str | None = None) -> Graph:
    """The graph of the ONNX file at `path`; `LoadError` if the file is not one that can be taken.

    Time is the axis of an input that is dynamic, or the one that `stream` names: `x:1`, or `x:1,z:2` for two inputs.
    An input without either has no time, and is given anew with every pulse; if that is meant for all, `stream` is "".
    """
    path = Path(path)
    named = named_axes(stream) if stream is not None else None
    model = _parse(path)
    opset = _opset(model, path)
    proto = model.graph
    count = len(proto.node) + sum(len(attribute.g.node) for node in proto.node for attribute in node.attribute)
    if count > MAX_NODES:
        raise LoadError(f"load: {path.name} has {count} nodes, more than {MAX_NODES}")
    if model.functions or proto.sparse_initializer:
        raise LoadError(f"load: {path.name} uses local functions or sparse weights; export it without")
    nodes, constants, protos = contents(proto, opset)
    around = Graph(tuple(nodes), {}, {}, constants)
    nodes = [with_body(node, protos[node.name], around, opset) if node.op in WALKING else node for node in nodes]
    nodes = _without_unread(nodes, {output.name for output in proto.output})
    given = [value for value in proto.input if value.name not in constants]
    inputs = inputs_of(given, named, path.name)
    outputs = {value.name: value.name for value in proto.output}
    if not inputs or not outputs:
        raise LoadError(f"load: {path.name} has no inputs or no outputs")
    lengths = (dim.dim_param for value in given if named is None for dim in value.type.tensor_type.shape.dim)
    symbols = {symbol(length) for length in lengths if length}
    if len(symbols) > 1:
        raise LoadError(f"load: {path.name} names time {' and '.join(sorted(symbols))}; give it one name")
    graph = Graph(tuple(nodes), inputs, outputs, constants, metadata=_metadata(model, path))
    graph = folded(ordered(graph).check("load"), protos, opset)
    fixed = {value.name: closed(value, inputs[value.name]) for value in given if named and value.name in named}
    graph = with_dilations(graph, fixed)
    return reopened(graph, fixed) if any(item.stream is None for item in fixed.values()) else graph


def _without_unread(nodes: list[Node], outputs: set[str]) -> list[Node]:
    """The nodes without outputs behind the first that nobody reads: exporters name them all."""
    read = {name for node in nodes for name in node.inputs} | outputs
    return [node if node.op == "Split" else _trimmed_to(node, read) for node in nodes]


def _trimmed_to(node: Node, read: set[str]) -> Node:
    first, *rest = node.outputs
    return replace(node, outputs=trimmed([first, *(name if name in read else "" for name in rest)]))


def _parse(path: Path) -> onnx.ModelProto:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise LoadError(f"load: cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_FILE:
        raise LoadError(f"load: {path.name} has more than {MAX_FILE} bytes")
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
