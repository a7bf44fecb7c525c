"""`declutter`: rules that make the graph smaller and plainer, before anything is said about time.

Each rule states its algebra. What leaves here uses few ops: no constants to compute, no normalisation, no splits,
no general matrix products with flags, and pads only where no convolution could take them in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from pulse import positions
from pulse.absorb import gate_of_two, pad_into_conv, scale_after_conv, scale_before_conv
from pulse.argument import axis_of
from pulse.composite import COMPOSITES, written_out
from pulse.dim import Dim
from pulse.direction import forwards
from pulse.errors import GraphError
from pulse.evaluate import CODES
from pulse.graph import Array, Graph, Node
from pulse.infer import infer
from pulse.interpolation import resize_to_product
from pulse.layout import MOVING, laid_out
from pulse.maxima import places_of_maxima
from pulse.moves import cuts, pads
from pulse.rewrite import Explain, Patch, Rule, Site, Written, rewrite
from pulse.running import WRITTEN_OUT, running_pool, variance_to_means, window_to_pool
from pulse.scan import opened
from pulse.step import held
from pulse.upsampling import factors

# ops that a rule below always removes, so that the later stages have no row for them
REMOVED = (
    "BatchNormalization",
    "GatherND",
    "Gemm",
    "Identity",
    "Range",
    "Split",
    "Sum",
    *COMPOSITES,
    *WRITTEN_OUT,
)
_MAX_WALKS = 20  # a graph that has not settled by then feeds itself


def declutter(graph: Graph, explain: Explain | None = None) -> Graph:
    """The same function of the stream in fewer nodes; `explain` is told what every rule replaced."""
    graph = rewrite(graph, positions.FIRST, infer, explain)
    graph = rewrite(graph, RULES, infer, explain)
    for _ in range(_MAX_WALKS):
        laid = laid_out(graph)
        if laid is graph:
            return graph.check("declutter")
        if explain:
            explain(f"{_moving(graph)} moves of axes become {_moving(laid)}")
        graph = rewrite(infer(laid), RULES, infer, explain)
    raise GraphError("declutter: the axes never come to rest")


def _moving(graph: Graph) -> int:
    return sum(node.op in MOVING for node in graph.nodes)


def known_values(site: Site) -> Patch | None:
    """f(constants) = constant"""
    values = {name: site.graph.facts[name].value for name in site.node.outputs if name}
    constants = {name: value for name, value in values.items() if value is not None}
    if len(constants) < len(values):
        return None
    return Patch(f"{site.node} is known", (site.node,), constants=constants)


def nothing_done(site: Site) -> Patch | None:
    """f(x) = x"""
    if not _does_nothing(site):
        return None
    return Patch(f"{site.node} does nothing", (site.node,), alias={site.node.outputs[0]: site.node.inputs[0]})


def _does_nothing(site: Site) -> bool:
    node = site.node
    x, y = site.graph.facts[node.inputs[0]], site.graph.facts[node.outputs[0]]
    before, after = x.shape, y.shape
    match node.op:
        case "Identity":
            return True
        case "Dropout":
            return not any(node.outputs[1:])
        case "Cast":
            return x.dtype == y.dtype
        case "Resize":
            return set(factors(node, site.given)) == {1}
        case "Expand" | "Pad" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze":
            return before == after
        case "Slice":
            return before == after and all(step == 1 for _, _, step in cuts(node, site.given).values())
        case "Transpose":
            return node.integers("perm", ()) == tuple(range(len(before)))
    return False


def split_to_slices(site: Site) -> Patch | None:
    """split(x) = x[0:a], x[a:b], ..."""
    node = site.node
    if node.op != "Split":
        return None
    facts = [site.graph.facts[name] for name in node.outputs]
    axis = axis_of(node, node.integer("axis", 0), len(facts[0].shape))
    add, constants = [], {f"{node.outputs[0]}.axis": np.array([axis])}
    start = 0
    for output, item in zip(node.outputs, facts, strict=True):
        length = item.shape[axis]
        assert isinstance(length, int)  # infer refuses to split time
        end = start + length
        constants |= {f"{output}.start": np.array([start]), f"{output}.end": np.array([end])}
        reads = (node.inputs[0], f"{output}.start", f"{output}.end", f"{node.outputs[0]}.axis")
        add.append(Node("Slice", f"{node.name}[{start}:{end}]", reads, (output,)))
        start = end
    return Patch(f"{node} becomes slices", (node,), tuple(add), constants)


def chain_to_pairs(site: Site) -> Patch | None:
    """f(a, b, c) = f(f(a, b), c), f(a) = a"""
    node = site.node
    if node.op not in ("Sum", "Max", "Min") or (len(node.inputs) == 2 and node.op != "Sum"):
        return None
    if len(node.inputs) == 1:
        return Patch(f"{node} does nothing", (node,), alias={node.outputs[0]: node.inputs[0]})
    op = "Add" if node.op == "Sum" else node.op
    add, last = [], node.inputs[0]
    for index, name in enumerate(node.inputs[1:], 1):
        output = node.outputs[0] if index == len(node.inputs) - 1 else f"{node.outputs[0]}.{index}"
        add.append(Node(op, f"{node.name}.{index}", (last, name), (output,)))
        last = output
    return Patch(f"{node} becomes pairs", (node,), tuple(add))


def normalisation_to_scale(site: Site) -> Patch | None:
    """(x - mean) / sqrt(var + eps) * gamma + beta = x * scale + offset"""
    node = site.node
    if node.op != "BatchNormalization":
        return None
    gamma, beta, mean, variance = (np.asarray(site.constant(index), np.float64) for index in range(1, 5))
    scale = gamma / np.sqrt(variance + node.number("epsilon", 1e-5))
    return _scale_and_offset(site, scale, beta - mean * scale)


def _scale_and_offset(site: Site, scale: Array, offset: Array) -> Patch:
    node, output = site.node, site.node.outputs[0]
    shape = (-1, *[1] * (len(site.graph.facts[output].shape) - 2))
    constants = {
        f"{output}.scale": scale.reshape(shape).astype(np.float32),
        f"{output}.offset": offset.reshape(shape).astype(np.float32),
    }
    scaled = Node("Mul", f"{node.name}.scale", (node.inputs[0], f"{output}.scale"), (f"{output}.scaled",))
    moved = Node("Add", f"{node.name}.offset", (f"{output}.scaled", f"{output}.offset"), (output,))
    return Patch(f"{node} becomes scale and offset", (node,), (scaled, moved), constants)


def gemm_to_product(site: Site) -> Patch | None:
    """gemm(a, b, c) = a @ (alpha * b) + beta * c"""
    node = site.node
    if node.op != "Gemm":
        return None
    y = Written(site)
    a, b, *c = node.inputs
    a = y.add("Transpose", a, perm=(1, 0)) if node.integer("transA", 0) else a
    b = y.add("Transpose", b, perm=(1, 0)) if node.integer("transB", 0) else b
    b = y.add("Mul", b, node.number("alpha", 1.0)) if node.number("alpha", 1.0) != 1 else b
    if not any(c):
        return y.patch("MatMul", a, b)
    beta = node.number("beta", 1.0)
    return y.patch("Add", y.add("MatMul", a, b), y.add("Mul", c[0], beta) if beta != 1 else c[0])


def vector_to_matrix(site: Site) -> Patch | None:
    """x @ y = squeeze(matrix(x) @ matrix(y)): a vector is one row on the left, one column on the right"""
    node = site.node
    ranks = [len(site.graph.facts[name].shape) for name in node.inputs] if node.op == "MatMul" else [2]
    if min(ranks) > 1:
        return None
    y, (left, right) = Written(site), node.inputs
    left = y.add("Unsqueeze", left, y.constant(np.array([0]))) if ranks[0] == 1 else left
    right = y.add("Unsqueeze", right, y.constant(np.array([1]))) if ranks[1] == 1 else right
    last = len(site.graph.facts[node.outputs[0]].shape) + ranks.count(1) - 1
    axes = [last - 1] * (ranks[0] == 1) + [last] * (ranks[1] == 1)
    return y.patch("Squeeze", y.add("MatMul", left, right), y.constant(np.array(axes)))


def power_of_one_type(site: Site) -> Patch | None:
    """x ** y = x ** cast(y) of floats; of integers to a power that is none, cast(cast(x) ** y)"""
    node = site.node
    types = [site.graph.facts[name].dtype for name in node.inputs] if node.op == "Pow" else []
    if len({held(dtype) for dtype in types}) < 2:
        return None
    y = Written(site)
    if types[0] == "float32":
        return y.patch("Pow", y.x, y.add("Cast", node.inputs[1], to=CODES["float32"]))
    power = y.add("Pow", y.add("Cast", y.x, to=CODES["float32"]), node.inputs[1])
    return y.patch("Cast", power, to=CODES[types[0]])


def difference_to_sum(site: Site) -> Patch | None:
    """x - c = x + -c, x / c = x * (1 / c)"""
    node, c = site.node, site.constant(1)
    if node.op not in ("Sub", "Div") or c is None or c.dtype != np.float32 or (node.op == "Div" and not np.all(c)):
        return None
    name = f"{node.outputs[0]}.c"
    inverse = -c if node.op == "Sub" else (1 / c.astype(np.float64)).astype(np.float32)
    op = "Add" if node.op == "Sub" else "Mul"
    add = Node(op, node.name, (node.inputs[0], name), node.outputs)
    return Patch(f"{node} becomes {op}", (node,), (add,), {name: inverse})


def clip_to_extremes(site: Site) -> Patch | None:
    """clip(x, low, high) = min(max(x, low), high), where these are not known"""
    node = site.node
    bounds = [name for name in node.inputs[1:] if name] if node.op == "Clip" else []
    if all(site.graph.facts[name].value is not None for name in bounds):
        return None
    y, x, number = Written(site), node.inputs[0], np.zeros(0, np.int64)
    for op, name in zip(("Max", "Min"), node.inputs[1:], strict=False):
        x = y.add(op, x, y.add("Reshape", name, y.constant(number))) if name else x
    return y.patch("Identity", x)


def front_of_pad(site: Site) -> Patch | None:
    """pad(x)[s:] = a shorter pad(x), less or nothing of which is cut off: what is never seen needs no waiting"""
    node = site.node
    pad = site.producer(node.inputs[0], "Pad") if node.op == "Slice" else None
    stream = site.graph.facts[node.inputs[0]].stream
    taken = cuts(node, site.given) if pad and stream else {}
    if pad is None or stream is None or set(taken) != {stream.axis} or pad.text("mode", "constant") != "constant":
        return None
    (start, length, step), time = taken[stream.axis], stream.axis
    before, after = pads(pad, [site.graph.facts[name] if name else None for name in pad.inputs])
    less = min(start, before[time])
    if not less or step != 1:
        return None
    before[time] -= less
    y, start = Written(site), start - less
    rest = [y.constant(np.array([*before, *after])), *pad.inputs[2:3]]
    shorter = y.add("Pad", pad.inputs[0], *rest)
    end = np.empty(1, object)
    end[0] = start + length
    return y.patch("Slice", shorter, y.constant(np.array([start])), y.constant(end), y.constant(np.array([time])))


def mirror_to_gather(site: Site) -> Patch | None:
    """pad(x) by its edges = gather(x, (0, 0, 0, 1, 2, 2)), by reflection = gather(x, (2, 1, 0, 1, 2, 1)), off time"""
    node, mode = site.node, site.node.text("mode", "constant")
    if node.op != "Pad" or mode == "constant":
        return None
    before, after = pads(node, site.given)
    y, x = Written(site), node.inputs[0]
    shape = site.graph.facts[x].shape
    axes = [axis for axis in range(len(shape)) if before[axis] + after[axis] and not isinstance(shape[axis], Dim)]
    if not axes:
        return None
    for axis in axes:
        length = shape[axis]
        assert isinstance(length, int)
        first, last = before[axis], after[axis]
        x = y.add("Gather", x, y.constant(_PADDED[mode](np.arange(-first, length + last), length)), axis=axis)
        before[axis] = after[axis] = 0
    return y.patch("Pad", x, y.constant(np.array([*before, *after])), **node.attributes)


# mode -> which of `length` items lies at a place in front of them, among them or behind them
_PADDED: Mapping[str, Callable[[Array, int], Array]] = {
    "edge": lambda places, length: np.clip(places, 0, length - 1),
    "reflect": lambda places, length: length - 1 - np.abs(length - 1 - np.abs(places) % max(2 * length - 2, 1)),
    "wrap": lambda places, length: places % length,
}


def graph_within(site: Site) -> Patch | None:
    """scan(f) = scan(declutter(f))"""
    node = site.node
    if node.op != "Scan" or node.integer("decluttered", 0):
        return None
    body = replace(declutter(infer(opened(node, site.given))), facts={})
    attributes = {**node.attributes, "body": body, "decluttered": 1}
    return Patch(f"the graph in {node} is decluttered", (node,), (replace(node, attributes=attributes),))


RULES: tuple[Rule, ...] = (
    known_values,
    nothing_done,
    split_to_slices,
    chain_to_pairs,
    normalisation_to_scale,
    resize_to_product,
    forwards,
    places_of_maxima,
    written_out,
    gemm_to_product,
    vector_to_matrix,
    power_of_one_type,
    difference_to_sum,
    clip_to_extremes,
    pad_into_conv,
    front_of_pad,
    running_pool,
    variance_to_means,
    window_to_pool,
    mirror_to_gather,
    scale_after_conv,
    scale_before_conv,
    gate_of_two,
    *positions.RULES,
    graph_within,
)
