"""`infer`: every value gets a `Fact`, with lengths in terms of the stream symbol `S`.

One rule per op: from the facts of the inputs (`None` for one left out) to the facts of the outputs. What is computed
from known values only, such as the shape arithmetic around a `Slice`, is known itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from pulse import layers, memory, moves, scan, upsampling
from pulse.argument import Given, alike, broadcast, need, shapes
from pulse.dim import DimError, product
from pulse.errors import GraphError, NotStreamable, PulseError
from pulse.evaluate import DTYPES, evaluate
from pulse.graph import MAX_ELEMENTS, MAX_RANK, Fact, Graph, Node, TimeByTimeError, fact, known, shown
from pulse.step import held

MAX_KNOWN = 32 << 20  # elements of all constants together, folded ones included

Rule = Callable[[Node, Given], list[Fact]]


def infer(graph: Graph) -> Graph:
    """The same graph with a fact for every value."""
    facts = {name: _known_if_empty(item) for name, item in graph.inputs.items()}
    facts |= {name: known(value) for name, value in graph.constants.items()}
    room = MAX_KNOWN
    for node in graph.nodes:
        given = [facts[name] if name else None for name in node.inputs]
        made = outputs(node, given)
        if len(made) < len(node.outputs):
            raise NotStreamable(f"infer: {node} has more outputs than are supported")
        room -= sum(found.value.size for found in made if found.value is not None)
        if room < 0:
            raise GraphError(f"infer: {node} is one constant too many: together they are too large")
        facts |= {name: found for name, found in zip(node.outputs, made, strict=False) if name}
    return replace(graph, facts=facts).check("infer")


def outputs(node: Node, given: Given) -> list[Fact]:
    """The facts of the outputs of one node, from those of its inputs."""
    try:
        values = evaluate(node, given)
        if values is not None:
            return [known(value) for value in values]
        if node.op not in RULES:
            raise NotStreamable(f"{node} is supported on constants only, not on what depends on the input")
        if node.op in OF_FLOATS and held(need(node, given, 0).dtype) != "float32":
            raise GraphError(f"{node} computes with float32, not {need(node, given, 0).dtype}; cast it before")
        made = RULES[node.op](node, given)
        for output in made:
            _check_size(node, output)
        return [_known_if_empty(output) for output in made]
    except DimError as error:
        raise NotStreamable(f"infer: {node} makes a length that cannot be written down: {error}") from error
    except (IndexError, OverflowError, ValueError, ZeroDivisionError) as error:
        raise GraphError(f"infer: {node} does not fit its inputs {shapes(given)}: {error}") from error
    except TimeByTimeError as error:
        raise NotStreamable(f"infer: {node} makes {error}, {layers.NOT_ALL_OF_IT}") from error
    except PulseError as error:
        raise type(error)(f"infer: {error}") from error


def _known_if_empty(item: Fact) -> Fact:
    """What has no elements is known."""
    return known(np.zeros(item.sizes, item.dtype)) if item.stream is None and 0 in item.shape else item


def followed(node: Node, facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """What is known behind `node`; nothing if it is refused, or reads what is not known: `infer` is to say so."""
    try:
        made = outputs(node, [facts[name] if name else None for name in node.inputs])
    except (KeyError, PulseError):
        return {}
    return {name: item for name, item in zip(node.outputs, made, strict=False) if name}


def _check_size(node: Node, output: Fact) -> None:
    sizes = [length for length in output.shape if isinstance(length, int)]
    if min(sizes, default=1) < (1 if output.stream else 0):
        raise GraphError(f"{node} makes an empty value of the shape {shown(output.shape)}")
    if len(output.shape) > MAX_RANK or math.prod(sizes) > MAX_ELEMENTS:
        raise GraphError(f"{node} makes a value of the shape {shown(output.shape)}, which is too large")


def _same(node: Node, given: Given) -> list[Fact]:
    item = need(node, given, 0)
    return [fact(item.shape, item.dtype)]


def _clip(node: Node, given: Given) -> list[Fact]:
    items = [item for item in given if item]
    alike(node, *items)
    if any(product(item.shape) != 1 for item in items[1:]):
        raise GraphError(f"{node} has bounds that are no single numbers: {shapes(given)}")
    return _same(node, given)


def _broadcast(node: Node, given: Given) -> list[Fact]:
    items = [need(node, given, index) for index in range(len(given))]
    dtype = alike(node, *items[1:]) if node.op == "Where" else alike(node, *items)
    return [fact(broadcast(node, given, tuple(item.shape for item in items)), dtype)]


def _power(node: Node, given: Given) -> list[Fact]:
    """The only op whose inputs may be of two types."""
    x, y = need(node, given, 0), need(node, given, 1)
    return [fact(broadcast(node, given, (x.shape, y.shape)), x.dtype)]


def _prelu(node: Node, given: Given) -> list[Fact]:
    x, slope = need(node, given, 0), need(node, given, 1)
    alike(node, x, slope)
    if broadcast(node, given, (x.shape, slope.shape)) != x.shape:
        raise GraphError(f"{node} has a slope that does not fit: {shapes(given)}")
    return _same(node, given)


def _celu(node: Node, given: Given) -> list[Fact]:
    if node.number("alpha", 1.0) == 0:
        raise GraphError(f"{node} divides by its alpha, which is 0")
    return _same(node, given)


def _compare(node: Node, given: Given) -> list[Fact]:
    return [replace(item, dtype="bool") for item in _broadcast(node, given)]


def _test(node: Node, given: Given) -> list[Fact]:
    return [fact(need(node, given, 0).shape, "bool")]


def _cast(node: Node, given: Given) -> list[Fact]:
    to = DTYPES.get(node.integer("to", 0))
    if to is None:
        raise NotStreamable(f"{node} turns the stream into a type that is not supported; keep it in float32")
    return [fact(need(node, given, 0).shape, to)]


def _cast_like(node: Node, given: Given) -> list[Fact]:
    return [fact(need(node, given, 0).shape, need(node, given, 1).dtype)]


def _dropout(node: Node, given: Given) -> list[Fact]:
    training = given[2] if len(given) > 2 else None
    if training is not None and (training.value is None or np.any(training.value)):
        raise NotStreamable(f"{node} is in training mode; call model.eval() before the export")
    (item,) = _same(node, given)
    return [item, replace(item, dtype="bool")]


def _scan(node: Node, given: Given) -> list[Fact]:
    """What the graph within makes of one item, for all of them."""
    try:
        return scan.handed_out(node, given, infer(scan.opened(node, given)))
    except PulseError as error:
        raise type(error)(str(error).replace("infer: ", f"{node}: ", 1)) from error


ELEMENTWISE = (
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Ceil",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tan",
    "Tanh",
)
COMPARING = ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor")
COMBINING = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mod", "Where", *COMPARING)
REDUCING = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")
_CURVES = ("Celu", "Gelu", "Mish", "Selu", "Shrink", "Swish", "ThresholdedRelu")
OF_FLOATS = frozenset({*ELEMENTWISE, *_CURVES, *memory.PARTS}) - {"Abs", "Neg", "Not", "Relu", "Sign"}
OF_FLOATS |= {"AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool"}
OF_FLOATS |= {"GroupNormalization", "Hardmax", "InstanceNormalization", "IsInf", "IsNaN", "LayerNormalization"}
OF_FLOATS |= {"LogSoftmax", "LpNormalization", "LpPool", "Mean"}
OF_FLOATS |= {"RMSNormalization", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceVariance", "RunningMean"}
OF_FLOATS |= {"RunningVariance", "Softmax", "SpaceToDepth"}

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _same),
    **dict.fromkeys(COMBINING, _broadcast),
    **dict.fromkeys(COMPARING, _compare),
    **dict.fromkeys(memory.PARTS, memory.recurrent),
    **dict.fromkeys((*REDUCING, *_REDUCTIONS), layers.reduce),
    **dict.fromkeys(_CURVES, _same),
    "ArgMax": layers.arg_extreme,
    "ArgMin": layers.arg_extreme,
    "AveragePool": layers.pool,
    "BatchNormalization": layers.normalise,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Celu": _celu,
    "Clip": _clip,
    "Concat": moves.concat,
    "ConstantOfShape": moves.constant_of_shape,
    "Conv": layers.conv,
    "ConvTranspose": upsampling.conv_transpose,
    "CumSum": memory.cum_sum,
    "DepthToSpace": moves.depth_to_space,
    "Dropout": _dropout,
    "Einsum": layers.einsum,
    "Expand": moves.expand,
    "Flatten": moves.flatten,
    "Gather": moves.gather,
    "GatherND": moves.gather_nd,
    "Gemm": layers.gemm,
    "GlobalAveragePool": layers.global_pool,
    "GlobalMaxPool": layers.global_pool,
    "GroupNormalization": layers.group_normalisation,
    "Hardmax": layers.hard_max,
    "Identity": _same,
    "InstanceNormalization": layers.group_normalisation,
    "IsInf": _test,
    "IsNaN": _test,
    "LayerNormalization": layers.layer_normalisation,
    "LogSoftmax": layers.softmax,
    "LpNormalization": layers.softmax,
    "LpPool": layers.power_pool,
    "MatMul": layers.matmul,
    "MaxPool": layers.max_pool,
    "Mean": _broadcast,
    "PRelu": _prelu,
    "Pad": moves.pad,
    "Pow": _power,
    "RMSNormalization": layers.layer_normalisation,
    "ReduceVariance": layers.variance,
    "Reshape": moves.reshape,
    "Resize": upsampling.resize,
    "Range": moves.counted,
    "RunningMax": _same,
    "RunningMean": _same,
    "RunningVariance": _same,
    "Scan": _scan,
    "Slice": moves.sliced,
    "Softmax": layers.softmax,
    "SpaceToDepth": moves.space_to_depth,
    "Split": moves.split,
    "Squeeze": moves.squeeze,
    "Sum": _broadcast,
    "Tile": moves.tile,
    "Transpose": moves.transpose,
    "Unfold": moves.unfold,
    "Unsqueeze": moves.unsqueeze,
}
