"""Where axes lie: transposes, and reshapes that only add or drop axes of one item, move until they meet and are gone.

Theory of operation. Frameworks that keep channels last wrap every convolution in transposes, and those without a
convolution along one axis in axes of one item as well. A `Move` says what such nodes do together: which axis of a
value was which before. One walk through the graph holds every move back as long as the ops behind it can be done
before it: f(move(x)) = move(f(x)). Moves that follow each other are one move, two that are contrary are none, and what
is still held back where an op must have it is written as a `Reshape` and a `Transpose`.

On the way, what stands for a convolution along time becomes one: a window of height 1 over an image of height 1, and a
product with a matrix along the channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pulse.argument import axis_of
from pulse.dim import Dim, Length
from pulse.graph import Array, Attribute, Fact, Graph, Node, ordered
from pulse.infer import COMBINING, ELEMENTWISE
from pulse.moves import cuts, pads
from pulse.window import Window, windows

MOVING = ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")

Shape = tuple[Length, ...]


@dataclass(frozen=True)
class Move:
    """From a value of the shape `source` to one of the shape `target`: `origins` says for every axis of more than one
    item of the target, in order, which axis of the source it was. The other axes have one item."""

    source: Shape
    target: Shape
    origins: tuple[int, ...]

    @property
    def axes(self) -> dict[int, int]:
        """The axes of the target that come from an axis of the source, and from which."""
        return dict(zip(_long(self.target), self.origins, strict=True))

    @property
    def is_nothing(self) -> bool:
        """Whether both are the same array."""
        return self.source == self.target and self.keeps_order

    @property
    def keeps_order(self) -> bool:
        """Whether a reshape is enough."""
        return list(self.origins) == sorted(self.origins)

    def then(self, other: Move) -> Move:
        """This one and another behind it."""
        return Move(self.source, other.target, tuple(self.axes[axis] for axis in other.origins))

    def resized(self, target: Shape) -> Move | None:
        """The same move for a value whose shape behind it is `target`, if it does not spread along axes of one item."""
        axes = self.axes
        if len(target) != len(self.target) or any(target[axis] != 1 for axis in range(len(target)) if axis not in axes):
            return None
        source: list[Length] = [1] * len(self.source)
        for axis, origin in axes.items():
            source[origin] = target[axis]
        return Move(tuple(source), target, tuple(axes[axis] for axis in _long(target)))

    def constant(self, value: Array) -> Array | None:
        """What goes in front of the move for a constant that is combined with what comes out of it."""
        full = value.reshape((1,) * (len(self.target) - value.ndim) + value.shape)
        axes = self.axes
        if any(size != 1 for axis, size in enumerate(full.shape) if axis not in axes):
            return None
        order = sorted(axes, key=lambda axis: axes[axis])
        shape = [1] * len(self.source)
        for axis in order:
            shape[axes[axis]] = full.shape[axis]
        rest = [axis for axis in range(full.ndim) if axis not in axes]
        return np.ascontiguousarray(full.transpose((*order, *rest))).reshape(shape)

    def back(self) -> Move:
        """The contrary move."""
        places = {origin: axis for axis, origin in self.axes.items()}
        return Move(self.target, self.source, tuple(places[axis] for axis in _long(self.source)))

    def nodes(self, inner: str, value: str, name: str) -> tuple[tuple[Node, ...], dict[str, Array]]:
        """The nodes that make `value` of `inner`, and the constants that they read."""
        if self.keeps_order:
            return (Node("Reshape", name, (inner, f"{value}.laid.shape"), (value,)),), {
                f"{value}.laid.shape": dims(self.target)
            }
        order = sorted(self.origins)
        places = _long(self.target)
        middle, perm = list(self.target), list(range(len(self.target)))
        for place, axis, origin in zip(places, order, self.origins, strict=True):
            middle[place] = self.source[axis]
            perm[place] = places[order.index(origin)]
        if tuple(middle) != self.source:
            first, constants = Move(self.source, tuple(middle), tuple(order)).nodes(inner, f"{value}.in", f"{name}.in")
            return (*first, Node("Transpose", name, (f"{value}.in",), (value,), {"perm": tuple(perm)})), constants
        return (Node("Transpose", name, (inner,), (value,), {"perm": tuple(perm)}),), {}


def _long(shape: Shape) -> list[int]:
    return [axis for axis, length in enumerate(shape) if length != 1]


def dims(shape: Shape) -> Array:
    """A shape as the constant that `Reshape` reads."""
    if not any(isinstance(length, Dim) for length in shape):
        return np.array(shape, np.int64)
    content = np.empty(len(shape), object)
    content[:] = shape
    return content


def move_of(node: Node, facts: Mapping[str, Fact]) -> Move | None:
    """What `node` does to axes, if it does nothing else."""
    if node.op not in MOVING:
        return None
    source, target = facts[node.inputs[0]].shape, facts[node.outputs[0]].shape
    if node.op == "Transpose":
        perm = node.integers("perm", tuple(reversed(range(len(source)))))
        return Move(source, target, tuple(perm[axis] for axis in _long(target)))
    before, after = _long(source), _long(target)
    same = [source[axis] for axis in before] == [target[axis] for axis in after]
    return Move(source, target, tuple(before)) if same else None


def laid_out(graph: Graph) -> Graph:
    """The same function of the stream with as few moves of axes as one walk can leave; without facts for new values."""
    walk = _Walk(graph)
    for node in graph.nodes:
        walk.take(node)
    outputs = {name: walk.written(value) for name, value in graph.outputs.items()}
    if tuple(walk.nodes) == graph.nodes and outputs == graph.outputs:
        return graph
    return ordered(replace(graph, nodes=tuple(walk.nodes), outputs=outputs, constants={**graph.constants, **walk.made}))


class _Walk:
    """The new graph while it grows. `held` has the moves that are not written: of which value, and which move."""

    def __init__(self, graph: Graph) -> None:
        self.facts = graph.facts
        self.nodes: list[Node] = []
        self.made: dict[str, Array] = {}
        self.held: dict[str, tuple[str, Move]] = {}
        self._makers: dict[str, Node] = {}
        self._written: dict[tuple[str, Move], str] = {}

    def take(self, node: Node) -> None:
        """The next node of the old graph."""
        move = move_of(node, self.facts)
        if move is not None:
            self.hold(node.outputs[0], *self.through(node.inputs[0], move))
            self._makers[node.outputs[0]] = node
        elif not (SPECIAL.get(node.op, _pass)(self, node)):
            self.nodes.append(replace(node, inputs=tuple(self.written(name) for name in node.inputs)))

    def through(self, name: str, move: Move) -> tuple[str, Move]:
        """What is behind the value `name`, and the move from there to behind `move`."""
        inner, first = self.held.get(name, (name, None))
        return inner, first.then(move) if first else move

    def hold(self, name: str, inner: str, move: Move) -> None:
        """The value `name` is not written now: it is `move` of `inner`."""
        self.held[name] = (inner, move)

    def written(self, name: str) -> str:
        """The name of a value in the new graph, after the move that was held back is written."""
        if name not in self.held:
            return name
        inner, move = self.held[name]
        if move.is_nothing:
            return inner
        if (inner, move) not in self._written:
            self._written[inner, move] = name
            self._write(name, inner, move)
        return self._written[inner, move]

    def _write(self, name: str, inner: str, move: Move) -> None:
        maker = self._makers.get(name)
        if maker is not None and maker.inputs[0] == inner:
            self.nodes.append(maker)
            return
        nodes, constants = move.nodes(inner, name, f"{name}.move")
        self.nodes += nodes
        self.made |= constants

    def before(self, name: str, move: Move) -> str:
        """The value `name`, written behind one more move."""
        inner, whole = self.through(name, move)
        moved = f"{name}.moved"
        while moved in self.held and self.held[moved] != (inner, whole):
            moved += "'"
        self.hold(moved, inner, whole)
        return self.written(moved)

    def constant(self, name: str, value: Array) -> str:
        """A new constant."""
        self.made[name] = value
        return name


# --- what can be done before a move


def _pass(walk: _Walk, node: Node) -> bool:
    """f(move(x), move(y), c) = move(f(x, y, c'))"""
    if node.op not in PASSED or len(node.outputs) != 1:
        return False
    streams = [name for name in node.inputs if name and walk.facts[name].value is None]
    moves = [walk.held[name][1] for name in streams if name in walk.held]
    target = walk.facts[node.outputs[0]].shape
    if not moves or len(moves) < len(streams):
        return False
    move = moves[0].resized(target)
    if move is None or any(other.resized(target) != move for other in moves):
        return False
    changed = PASSED[node.op](walk, node, moves[0])
    if changed is None:
        return False
    y = node.outputs[0]
    inner = f"{y}.before"
    walk.nodes.append(replace(changed, outputs=(inner,)))
    walk.hold(y, inner, move)
    return True


def _beside(walk: _Walk, node: Node, move: Move) -> Node | None:
    """Constants that are spread along what is moved lie as it lay before."""
    inputs = []
    for index, name in enumerate(node.inputs):
        value = walk.facts[name].value if name else None
        if value is None or (value.size == 1 and value.ndim <= len(move.source)):
            inputs.append(walk.held[name][0] if name in walk.held else name)
            continue
        laid = move.constant(value) if value.dtype != object else None
        if laid is None:
            return None
        inputs.append(walk.constant(f"{node.outputs[0]}.laid.{index}", laid))
    return replace(node, inputs=tuple(inputs))


def _along(walk: _Walk, node: Node, move: Move) -> Node | None:
    """The axis that is named has the number that it had before; the last one has nothing behind it to be flattened."""
    default = 0 if node.op == "Concat" else -1
    named = axis_of(node, node.integer("axis", default), len(move.target))
    flattened = "flattened" in node.attributes and named < len(move.target) - 1
    if named not in move.axes or flattened or any(name not in walk.held for name in node.inputs):
        return None
    inputs = tuple(walk.held[name][0] for name in node.inputs)
    rest = {key: value for key, value in node.attributes.items() if key != "flattened"}
    return replace(node, inputs=inputs, attributes={**rest, "axis": move.axes[named]})


def _slice(walk: _Walk, node: Node, move: Move) -> Node | None:
    given = [walk.facts[name] if name else None for name in node.inputs]
    taken = cuts(node, given)
    values = [item.value.reshape(-1) if item and item.value is not None else None for item in given[1:]]
    axes = values[2] if len(values) > 2 and values[2] is not None else np.arange(len(taken))
    numbers = [axis_of(node, int(axis), len(move.target)) for axis in axes]
    if any(taken[axis] != (0, 1, 1) for axis in numbers if axis not in move.axes):
        return None
    kept = [index for index, axis in enumerate(numbers) if axis in move.axes]
    values = [*values[:2], np.array([move.axes.get(axis, 0) for axis in numbers]), *values[3:]]
    names = [f"{node.outputs[0]}.laid.{part}" for part in ("starts", "ends", "axes", "steps")]
    inputs = [walk.constant(name, value[kept]) for name, value in zip(names, values, strict=False) if value is not None]
    return replace(node, inputs=(walk.held[node.inputs[0]][0], *inputs))


def _pad(walk: _Walk, node: Node, move: Move) -> Node | None:
    if any(walk.facts[name].value is None for name in node.inputs[1:] if name):
        return None  # a value of the stream as padding: `pulsify` is to say that it cannot be
    before, after = pads(node, [walk.facts[name] if name else None for name in node.inputs])
    axes = move.axes
    if any(before[axis] + after[axis] for axis in range(len(before)) if axis not in axes):
        return None
    amounts = np.zeros((2, len(move.source)), np.int64)
    for axis, origin in axes.items():
        amounts[:, origin] = before[axis], after[axis]
    name = walk.constant(f"{node.outputs[0]}.laid.pads", amounts.reshape(-1))
    return replace(node, inputs=(walk.held[node.inputs[0]][0], name, *node.inputs[2:3]))


PASSED: Mapping[str, Callable[[_Walk, Node, Move], Node | None]] = {
    **dict.fromkeys((*ELEMENTWISE, *COMBINING, "Clip"), _beside),
    **dict.fromkeys(("Concat", "LogSoftmax", "Softmax"), _along),
    "Pad": _pad,
    "Slice": _slice,
}


# --- what stands for a convolution along time


def _flat_conv(walk: _Walk, node: Node) -> bool:
    """conv(x (n, c, 1, t), w (f, c, 1, k)) = conv(x (n, c, t), w (f, c, k)), and the axis of one item behind it"""
    x, w = walk.facts[node.inputs[0]], walk.facts[node.inputs[1]]
    if len(x.shape) != 4 or w.value is None:
        return False
    slides = windows(node, w.sizes[2:], x.shape[2:])
    flat = [axis for axis in (2, 3) if x.shape[axis] == 1 and w.shape[axis] == 1 and _is_point(slides[axis - 2])]
    if len(flat) != 1:
        return False
    y, (lost,) = node.outputs[0], flat
    slide = slides[3 - lost]
    attributes: dict[str, Attribute] = {"group": node.integer("group", 1), "kernel_shape": (slide.kernel,)}
    attributes |= {"dilations": (slide.dilation,), "strides": (slide.stride,), "pads": (slide.before, slide.after)}
    inner, out = f"{y}.flat", walk.facts[y].shape
    kernel = walk.constant(f"{y}.laid.w", np.squeeze(w.value, lost))
    reads = (walk.before(node.inputs[0], _dropping(x.shape, lost)), kernel, *node.inputs[2:])
    walk.nodes.append(Node("Conv", node.name, reads, (inner,), attributes))
    walk.hold(y, inner, _dropping(out, lost).back())
    return True


def _is_point(slide: Window) -> bool:
    return (slide.kernel, slide.before, slide.after) == (1, 0, 0)


def _dropping(shape: Shape, axis: int) -> Move:
    return Move(shape, (*shape[:axis], *shape[axis + 1 :]), tuple(_long(shape)))


def _product(walk: _Walk, node: Node) -> bool:
    """rows @ w (c, f) = rows of conv(x (1, c, t), w (f, c, 1)), where the rows are x with its axes moved"""
    x, w = node.inputs
    matrix, rows, y = walk.facts[w].value, walk.facts[x].shape, node.outputs[0]
    last = len(rows) - 1
    others = [axis for axis in _long(rows) if axis != last]
    if matrix is None or matrix.dtype != np.float32 or matrix.ndim != 2 or len(others) != 1 or x not in walk.held:
        return False
    (time,) = others
    inner, apart = (1, rows[last], rows[time]), (1, matrix.shape[1], rows[time])
    upright = Move(rows, inner, (last, time) if rows[last] != 1 else (time,))
    if not walk.through(x, upright)[1].keeps_order:
        return False
    kernel = walk.constant(f"{y}.laid.w", np.ascontiguousarray(matrix.T)[:, :, None])
    reads, made = (walk.before(x, upright), kernel), f"{y}.before"
    attributes: dict[str, Attribute] = {"dilations": (1,), "group": 1, "kernel_shape": (1,), "pads": (0, 0)}
    walk.nodes.append(Node("Conv", node.name, reads, (made,), {**attributes, "strides": (1,)}))
    target = walk.facts[y].shape
    walk.hold(y, made, Move(apart, target, tuple(1 if axis == last else 2 for axis in _long(target))))
    return True


SPECIAL: Mapping[str, Callable[[_Walk, Node], bool]] = {"Conv": _flat_conv, "MatMul": _product}
