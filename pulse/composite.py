"""Ops that are written in plainer ones: each rule states the algebra, and no later stage has a row for its op."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from pulse.argument import axis_of
from pulse.dim import Dim, Length
from pulse.evaluate import CODES
from pulse.graph import Array, Attribute
from pulse.layers import normalised_axes
from pulse.rewrite import Patch, Site, Written

Composite = Callable[[Site, Written], Patch]

_SELU = {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}
FLOAT, INT = CODES["float32"], CODES["int64"]


def written_out(site: Site) -> Patch | None:
    """f(x) = its definition in plainer ops"""
    rule = COMPOSITES.get(site.node.op)
    return rule(site, Written(site)) if rule else None


def _gelu(site: Site, y: Written) -> Patch:
    """x * (1 + erf(x * sqrt(1/2))) / 2, or tanh(sqrt(2/pi) * (x + 0.044715 * x^3)) in place of the erf"""
    if site.node.text("approximate", "none") == "tanh":
        cube = y.add("Mul", y.add("Mul", y.x, y.x), y.x)
        curve = y.add("Tanh", y.add("Mul", y.add("Add", y.x, y.add("Mul", cube, 0.044715)), math.sqrt(2 / math.pi)))
    else:
        curve = y.add("Erf", y.add("Mul", y.x, math.sqrt(0.5)))
    return y.patch("Mul", y.x, y.add("Mul", y.add("Add", curve, 1.0), 0.5))


def _mish(site: Site, y: Written) -> Patch:
    """x * tanh(softplus(x))"""
    return y.patch("Mul", y.x, y.add("Tanh", y.add("Softplus", y.x)))


def _swish(site: Site, y: Written) -> Patch:
    """x * sigmoid(alpha * x)"""
    return y.patch("Mul", y.x, y.add("Sigmoid", y.add("Mul", y.x, site.node.number("alpha", 1.0))))


def _selu(site: Site, y: Written) -> Patch:
    """gamma * elu(x)"""
    alpha, gamma = (site.node.number(key, value) for key, value in _SELU.items())
    return y.patch("Mul", y.add("Elu", y.x, alpha=alpha), gamma)


def _celu(site: Site, y: Written) -> Patch:
    """alpha * elu(x / alpha)"""
    alpha = site.node.number("alpha", 1.0)
    return y.patch("Mul", y.add("Elu", y.add("Mul", y.x, 1 / alpha)), alpha)


def _prelu(site: Site, y: Written) -> Patch:
    """max(x, 0) + slope * min(x, 0)"""
    zero = y.constant(np.zeros((), site.graph.facts[y.x].dtype))
    return y.patch("Add", y.add("Relu", y.x), y.add("Mul", y.add("Min", y.x, zero), site.node.inputs[1]))


def _thresholded_relu(site: Site, y: Written) -> Patch:
    """x where x > alpha, else 0"""
    return y.patch("Where", y.add("Greater", y.x, site.node.number("alpha", 1.0)), y.x, 0.0)


def _shrink(site: Site, y: Written) -> Patch:
    """x + bias where x < -lambd, x - bias where x > lambd, else 0"""
    bias, bound = site.node.number("bias", 0.0), site.node.number("lambd", 0.5)
    above = y.add("Where", y.add("Greater", y.x, bound), y.add("Sub", y.x, bias), 0.0)
    return y.patch("Where", y.add("Less", y.x, -bound), y.add("Add", y.x, bias), above)


def _is_nan(site: Site, y: Written) -> Patch:
    """not x == x"""
    return y.patch("Not", y.add("Equal", y.x, y.x))


def _is_infinite(site: Site, y: Written) -> Patch:
    """x > the largest number there is, or x < the smallest"""
    largest = float(np.finfo(np.float32).max)
    bounds = [largest if site.node.integer(f"detect_{sign}", 1) else math.inf for sign in ("positive", "negative")]
    return y.patch("Or", y.add("Greater", y.x, bounds[0]), y.add("Less", y.x, -bounds[1]))


def _mean(site: Site, y: Written) -> Patch:
    """(a + b + c) / 3"""
    return y.patch("Mul", y.add("Sum", *site.node.inputs), 1 / len(site.node.inputs))


def _power_pool(site: Site, y: Written) -> Patch:
    """(k * average_pool(|x|^p))^(1/p), with k taps and padding averaged too"""
    node = site.node
    power, taps = float(node.integer("p", 2)), float(math.prod(node.integers("kernel_shape", ())))
    attributes = {key: value for key, value in node.attributes.items() if key != "p"} | {"count_include_pad": 1}
    mean = y.add("AveragePool", y.add("Pow", y.add("Abs", y.x), power), **attributes)
    return y.patch("Pow", y.add("Mul", mean, taps), 1 / power)


def _global_pool(op: str) -> Composite:
    """reduce(x) over all axes behind the channels"""

    def rule(site: Site, y: Written) -> Patch:
        axes = y.constant(np.arange(2, len(site.graph.facts[y.x].shape)))
        return y.patch(op, y.x, axes, keepdims=1, **site.node.attributes)

    return rule


def _reduction(before: str, op: str, after: str) -> Composite:
    """after(reduce(before(x)))"""

    def rule(site: Site, y: Written) -> Patch:
        x = y.add("Mul", y.x, y.x) if before == "Mul" else y.add(before, y.x) if before else y.x
        reads = (x, *site.node.inputs[1:])
        if not after:
            return y.patch(op, *reads, **site.node.attributes)
        return y.patch(after, y.add(op, *reads, **site.node.attributes))

    return rule


def _log_sum_exp(site: Site, y: Written) -> Patch:
    """m + log(sum(exp(x - m))), with m the largest x, so that nothing overflows"""
    rest, attributes = site.node.inputs[1:], site.node.attributes
    kept: dict[str, Attribute] = {**attributes, "keepdims": 1}
    apart = y.add("Exp", y.add("Sub", y.x, y.add("ReduceMax", y.x, *rest, **kept)))
    top = y.add("ReduceMax", y.x, *rest, **attributes)
    return y.patch("Add", top, y.add("Log", y.add("ReduceSum", apart, *rest, **attributes)))


def _arg_extreme(op: str) -> Composite:
    """min((x == max(x)) * (i - n)) + n: the first index i of n where x is the largest; n = -1 - i for the last one"""

    def rule(site: Site, y: Written) -> Patch:
        node, shape = site.node, site.graph.facts[y.x].shape
        axis = axis_of(node, node.integer("axis", 0), len(shape))
        count = shape[axis]
        assert isinstance(count, int)  # infer refuses time
        last = node.integer("select_last_index", 0)
        index = -1.0 - np.arange(count) if last else np.arange(count) - float(count)
        axes = y.constant(np.array([axis]))
        found = y.add("Cast", y.add("Equal", y.x, y.add(op, y.x, axes, keepdims=1)), to=FLOAT)
        places = y.constant(index.reshape(-1, *[1] * (len(shape) - 1 - axis)).astype(np.float32))
        first = y.add("ReduceMin", y.add("Mul", found, places), axes, keepdims=node.integer("keepdims", 1))
        place = y.add("Sub", -1.0, first) if last else y.add("Add", first, float(count))
        return y.patch("Cast", place, to=INT)

    return rule


def _hard_max(site: Site, y: Written) -> Patch:
    """1 at the first place of the largest x, else 0"""
    shape = site.graph.facts[y.x].shape
    axis = axis_of(site.node, site.node.integer("axis", -1), len(shape))
    length = shape[axis]
    assert not isinstance(length, Dim)
    places = y.constant(np.arange(length).reshape(-1, *[1] * (len(shape) - 1 - axis)))
    return y.patch("Cast", y.add("Equal", y.add("ArgMax", y.x, axis=axis, keepdims=1), places), to=FLOAT)


def _power_normalisation(site: Site, y: Written) -> Patch:
    """x / (sum |x|^p)^(1/p) along one axis, and 0 where that would be 0 / 0"""
    axes = y.constant(np.array([site.node.integer("axis", -1)]))
    length = y.add("ReduceL1" if site.node.integer("p", 2) == 1 else "ReduceL2", y.x, axes, keepdims=1)
    return y.patch("Div", y.x, y.add("Where", y.add("Equal", length, 0.0), 1.0, length))


def _cast_like(site: Site, y: Written) -> Patch:
    """cast(x) to the type of the other input"""
    return y.patch("Cast", y.x, to=CODES[site.graph.facts[site.node.inputs[1]].dtype])


def _dropout(site: Site, y: Written) -> Patch:
    """x, of which nothing is dropped, and that this is so"""
    y.output(1, y.add("ConstantOfShape", y.add("Shape", y.x), value=np.ones(1, np.bool_)))
    return y.patch("Identity", y.x)


def _layer_normalisation(site: Site, y: Written) -> Patch:
    """(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias"""
    axes = y.constant(np.array(normalised_axes(site.node, site.given)))
    mean = y.add("ReduceMean", y.x, axes)
    apart = y.add("Sub", y.x, mean)
    spread = _spread(site, y, apart, axes)
    if any(site.node.outputs[1:]):
        y.output(1, mean)
        y.output(2, y.add("Reciprocal", spread))
    return _scaled(site, y, y.add("Div", apart, spread))


def _rms_normalisation(site: Site, y: Written) -> Patch:
    """x / sqrt(mean(x^2) + epsilon) * scale"""
    axes = y.constant(np.array(normalised_axes(site.node, site.given)))
    return _scaled(site, y, y.add("Div", y.x, _spread(site, y, y.x, axes)))


def _spread(site: Site, y: Written, x: str, axes: str) -> str:
    mean = y.add("ReduceMean", y.add("Mul", x, x), axes)
    return y.add("Sqrt", y.add("Add", mean, site.node.number("epsilon", 1e-5)))


def _scaled(site: Site, y: Written, x: str) -> Patch:
    scale, *bias = site.node.inputs[1:]
    if not any(bias):
        return y.patch("Mul", x, scale)
    return y.patch("Add", y.add("Mul", x, scale), bias[0])


def _group_normalisation(site: Site, y: Written) -> Patch:
    """layer_normalisation of each group of channels with all that belongs to it, then a scale and bias per channel"""
    node, x = site.node, site.graph.facts[y.x]
    channels = x.shape[1]
    assert isinstance(channels, int)
    groups = node.integer("num_groups", channels)
    axes = y.constant(np.array([2]))
    rows = y.add("Reshape", y.x, y.constant(np.array([0, groups, -1])))
    apart = y.add("Sub", rows, y.add("ReduceMean", rows, axes))
    even = y.add("Div", apart, _spread(site, y, apart, axes))
    back = y.add("Reshape", even, y.constant(np.array([0, *x.shape[1:]])))
    per = [np.asarray(site.graph.facts[name].value) for name in node.inputs[1:]]
    scale, bias = (np.repeat(value, channels // value.size).reshape(-1, *[1] * (len(x.shape) - 2)) for value in per)
    return y.patch("Add", y.add("Mul", back, y.constant(scale)), y.constant(bias))


def _tile(site: Site, y: Written) -> Patch:
    """concat(x, x, ...) along every axis that is repeated"""
    x = y.x
    for axis, times in enumerate(np.asarray(site.constant(1)).reshape(-1)):
        if times > 1:
            x = y.add("Concat", *[x] * int(times), axis=axis)
    return y.patch("Identity", x)


def _space_to_depth(site: Site, y: Written) -> Patch:
    """conv(x) with a stride of a block: each filter takes one number out of its block"""
    block, channels = site.node.integer("blocksize", 1), site.graph.facts[site.node.outputs[0]].shape[1]
    return y.patch("Conv", y.x, y.constant(_blocks(site, channels)), strides=(block, block))


def _depth_to_space(site: Site, y: Written) -> Patch:
    """conv_transpose(x) with a stride of a block: each channel goes to one place of its block"""
    block, channels = site.node.integer("blocksize", 1), site.graph.facts[y.x].shape[1]
    return y.patch("ConvTranspose", y.x, y.constant(_blocks(site, channels)), strides=(block, block))


def _blocks(site: Site, channels: Length) -> Array:
    """Which place (channel, row, column) of a block belongs to each of the many channels: one 1 for each."""
    block = site.node.integer("blocksize", 1)
    assert isinstance(channels, int)
    one = np.eye(channels, dtype=np.float32)
    if site.node.text("mode", "DCR") == "CRD":
        return one.reshape(channels, -1, block, block)
    return np.ascontiguousarray(one.reshape(channels, block, block, -1).transpose(0, 3, 1, 2))


COMPOSITES: Mapping[str, Composite] = {
    "ArgMax": _arg_extreme("ReduceMax"),
    "ArgMin": _arg_extreme("ReduceMin"),
    "CastLike": _cast_like,
    "Celu": _celu,
    "DepthToSpace": _depth_to_space,
    "Gelu": _gelu,
    "Dropout": _dropout,
    "GlobalAveragePool": _global_pool("ReduceMean"),
    "GlobalMaxPool": _global_pool("ReduceMax"),
    "GroupNormalization": _group_normalisation,
    "Hardmax": _hard_max,
    "InstanceNormalization": _group_normalisation,
    "IsInf": _is_infinite,
    "IsNaN": _is_nan,
    "LayerNormalization": _layer_normalisation,
    "LpNormalization": _power_normalisation,
    "LpPool": _power_pool,
    "Mean": _mean,
    "Mish": _mish,
    "PRelu": _prelu,
    "RMSNormalization": _rms_normalisation,
    "ReduceL1": _reduction("Abs", "ReduceSum", ""),
    "ReduceL2": _reduction("Mul", "ReduceSum", "Sqrt"),
    "ReduceLogSum": _reduction("", "ReduceSum", "Log"),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceSumSquare": _reduction("Mul", "ReduceSum", ""),
    "Selu": _selu,
    "Shrink": _shrink,
    "SpaceToDepth": _space_to_depth,
    "Swish": _swish,
    "ThresholdedRelu": _thresholded_relu,
    "Tile": _tile,
}
