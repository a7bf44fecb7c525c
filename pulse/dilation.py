"""Convolutions that were made dilated by hand become dilated convolutions.

Theory of operation. Some exporters cut time into `d` phases before a convolution, put them on the axis of the batch,
and join them again behind it: item `i` of phase `b` is item `i*d + b` of time, so that a convolution of the phases is
one of time with `d` times the dilation. What does so are a reshape, a transpose and a reshape, behind a pad that makes
time a multiple of `d`, and the same in front of a slice that takes those items away. Their numbers are computed from
the length of time, so the network is inferred once for a length that is a number; whether the three nodes cut or join
phases is then tried on an array. Nothing else is changed: what lies between must treat all phases alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pulse.argument import axis_of
from pulse.dim import Dim
from pulse.errors import PulseError
from pulse.graph import Array, Attribute, Fact, Graph, Node, fact, ordered
from pulse.infer import ELEMENTWISE, infer
from pulse.moves import cuts, pads

_PROBE = 1009  # a length of time to try, longer than what such networks hear and a multiple of no dilation
_END = np.iinfo(np.int64).max
_ALIKE = (
    *ELEMENTWISE,
    "Add",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Div",
    "Dropout",
    "Identity",
    "Mul",
    "PRelu",
    "Sub",
)


@dataclass(frozen=True)
class Phases:
    """Nodes that cut axis `axis` of the value `x` into `parts` phases on the axis of the batch, or join them to `y`."""

    nodes: tuple[Node, ...]
    x: str
    y: str
    axis: int
    parts: int


def with_dilations(graph: Graph, fixed: Mapping[str, Fact]) -> Graph:
    """`graph` with dilated convolutions for those of phases; `fixed` has the shapes of its inputs at some length."""
    probed = {name: fixed.get(name, item) for name, item in graph.inputs.items()}
    if not any(len(node.integers("perm", ())) > 3 for node in graph.nodes if node.op == "Transpose"):
        return graph
    try:
        facts = infer(replace(graph, inputs={name: _at_length(item) for name, item in probed.items()})).facts
    except PulseError:
        return graph  # the stage that comes to it says why
    search = _Search(graph, facts)
    changed: dict[str, Node | None] = {}
    constants = dict(graph.constants)
    for node in graph.nodes:
        cut = search.cut(node)
        region = search.region(cut) if cut else None
        if cut and region:
            replaced, numbers = region
            changed |= replaced
            constants |= numbers
    nodes = (changed.get(node.name, node) for node in graph.nodes)
    made = ordered(replace(graph, nodes=tuple(node for node in nodes if node), constants=constants))
    still_asked = {node.name for node in made.nodes} & search.asking
    return graph if still_asked else made


def _at_length(item: Fact) -> Fact:
    return fact(tuple(length.at(_PROBE) if isinstance(length, Dim) else length for length in item.shape))


class _Search:
    """The graph, seen by what comes before and behind a node, at a length of time that is a number."""

    def __init__(self, graph: Graph, facts: Mapping[str, Fact]) -> None:
        self.facts = facts
        self.producers = graph.producers()
        self.outputs = set(graph.outputs.values())
        self.asking: set[str] = set()  # nodes that ask for a shape with phases, which only a joint may use
        self.readers: defaultdict[str, list[Node]] = defaultdict(list)
        for node in graph.nodes:
            for name in dict.fromkeys(node.inputs):
                self.readers[name].append(node)

    def cut(self, node: Node) -> Phases | None:
        """Phases that begin with the transpose `node`."""
        three = self._three(node)
        if three is None:
            return None
        x, y = (self.facts[name].sizes for name in (three[0].inputs[0], three[2].outputs[0]))
        parts = y[0] // x[0] if x[0] == 1 else 0
        axes = [axis for axis in range(1, len(x)) if len(x) == len(y) and x[axis] == y[axis] * parts]
        if parts < 2 or len(axes) != 1:
            return None
        line = np.arange(np.prod(x)).reshape(x)
        if not np.array_equal(self._through(three, line), _in_phases(line, axes[0], parts)):
            return None
        return Phases(three, three[0].inputs[0], three[2].outputs[0], axes[0], parts)

    def joint(self, node: Node, axis: int, parts: int) -> Phases | None:
        """Phases that are joined, beginning with the reshape `node`."""
        behind = self.readers[node.outputs[0]]
        three = self._three(behind[0]) if len(behind) == 1 else None
        if three is None or three[0] is not node:
            return None
        x, y = (self.facts[name].sizes for name in (node.inputs[0], three[2].outputs[0]))
        if len(x) != len(y) or y[0] != 1 or y[axis] != x[axis] * parts:
            return None
        line = np.arange(np.prod(y)).reshape(y)
        if not np.array_equal(self._through(three, _in_phases(line, axis, parts)), line):
            return None
        return Phases(three, node.inputs[0], three[2].outputs[0], axis, parts)

    def _three(self, node: Node) -> tuple[Node, Node, Node] | None:
        """A reshape, the transpose `node` and a reshape that are read by each other only."""
        before = self.producers.get(node.inputs[0]) if node.op == "Transpose" else None
        behind = self.readers[node.outputs[0]] if before else []
        if before is None or before.op != "Reshape" or len(behind) != 1 or behind[0].op != "Reshape":
            return None
        return before, node, behind[0]

    def _through(self, three: tuple[Node, ...], line: Array) -> Array:
        shapes = [self.facts[node.outputs[0]].sizes for node in three]
        return line.reshape(shapes[0]).transpose(three[1].integers("perm", ())).reshape(shapes[2])

    def region(self, cut: Phases) -> tuple[dict[str, Node | None], dict[str, Array]] | None:
        """What becomes of every node between the pad and the slice, by its name, and new constants."""
        between = self._between(cut)
        if between is None:
            return None
        made, joints = between
        numbers: dict[str, Array] = {}
        spare = {self._joined(joint, made, numbers) for joint in joints}
        extra = spare.pop() if len(spare) == 1 else None
        pad = self.producers.get(cut.x)
        pad = pad if pad is not None and pad.op == "Pad" else None
        padded = self._padded(pad, cut.axis)
        if extra is None or padded is None or not 0 <= extra <= min(padded[1], cut.parts - 1):
            return None
        amounts = np.zeros((2, len(self.facts[cut.x].shape)), np.int64)
        amounts[:, cut.axis] = padded[0], padded[1] - extra
        numbers[f"{cut.y}.pads"] = amounts.reshape(-1)
        last = cut.nodes[2]
        made |= dict.fromkeys([node.name for node in cut.nodes])
        made[last.name] = Node("Pad", last.name, (pad.inputs[0] if pad else cut.x, f"{cut.y}.pads"), (cut.y,))
        return made, numbers

    def _between(self, cut: Phases) -> tuple[dict[str, Node | None], list[Phases]] | None:
        """What becomes of the nodes that see phases, and where those are joined; `None` if some see what phases are."""
        made: dict[str, Node | None] = {}
        joints: list[Phases] = []
        waiting = [(cut.y, cut.axis)]
        while waiting:
            value, axis = waiting.pop()
            if value in self.outputs:
                return None
            for node in self.readers[value]:
                joint = self.joint(node, axis, cut.parts) if node.op == "Reshape" else None
                step = _alike(self.facts, node, value, axis, cut.parts)
                if joint:
                    joints.append(joint)
                elif node.op in ("Shape", "Size"):
                    self.asking.add(node.name)
                elif step is None:
                    return None
                else:
                    made[node.name], behind = step
                    waiting.append((node.outputs[0], behind))
        return made, joints

    def _padded(self, pad: Node | None, axis: int) -> tuple[int, int] | None:
        """Items of 0 that are put before and behind time; `None` if others are put there or elsewhere."""
        if pad is None:
            return 0, 0
        given = [self.facts[name] if name else None for name in pad.inputs]
        before, after = pads(pad, given)
        value = given[2].value if len(given) > 2 and given[2] is not None else np.zeros(1)
        elsewhere = sum(before) + sum(after) - before[axis] - after[axis]
        if pad.text("mode", "constant") != "constant" or elsewhere or value is None or np.any(value):
            return None
        return before[axis], after[axis]

    def _joined(self, joint: Phases, made: dict[str, Node | None], numbers: dict[str, Array]) -> int | None:
        """How many items the slice behind a joint takes off the end; the slice that stays takes the front only."""
        behind = self.readers[joint.y]
        made |= dict.fromkeys([node.name for node in joint.nodes])
        last = joint.nodes[2]
        if len(behind) != 1 or behind[0].op != "Slice":
            made[last.name] = Node("Identity", last.name, (joint.x,), (joint.y,))
            return 0
        cut = behind[0]
        given = [self.facts[name] if name else None for name in cut.inputs]
        shape = self.facts[joint.y].sizes
        taken = cuts(cut, given)
        start, length, step = taken.pop(joint.axis, (0, shape[joint.axis], 1))
        if step != 1 or isinstance(length, Dim) or any(taken[axis] != (0, shape[axis], 1) for axis in taken):
            return None
        names = [f"{joint.y}.{part}" for part in ("start", "end", "axis")]
        values = (np.array([number]) for number in (start, _END, joint.axis))
        numbers |= dict(zip(names, values, strict=True))
        made[cut.name] = Node("Slice", cut.name, (joint.x, *names), cut.outputs)
        return shape[joint.axis] - start - length


def _in_phases(line: Array, axis: int, parts: int) -> Array:
    """Item `i` of phase `b` is item `i*parts + b`."""
    every = (slice(None),) * axis
    return np.concatenate([line[(*every, slice(phase, None, parts))] for phase in range(parts)])


def _alike(facts: Mapping[str, Fact], node: Node, x: str, axis: int, parts: int) -> tuple[Node, int] | None:
    """What `node` becomes where there are no phases, and the axis of time behind it."""
    others = [name for name in node.inputs if name and name != x]
    if (node.inputs[0] != x and node.op not in _ALIKE) or any(facts[name].value is None for name in others):
        return None
    rank = len(facts[x].shape)
    if node.op in _ALIKE:
        spread = any(len(facts[name].shape) >= rank and facts[name].shape[-rank] != 1 for name in others)
        return None if spread or len(facts[node.outputs[0]].shape) != rank else (node, axis)
    match node.op:
        case "Transpose":
            perm = node.integers("perm", tuple(reversed(range(rank))))
            return (node, perm.index(axis)) if perm[0] == 0 else None
        case "Squeeze" | "Unsqueeze" if others:
            value = facts[others[0]].value
            assert value is not None
            behind = len(facts[node.outputs[0]].shape)
            changed = {axis_of(node, int(item), max(rank, behind)) for item in value}
            return None if 0 in changed else (node, _moved(axis, changed, squeezed=behind < rank))
        case "Conv" if axis >= 2 and _is_plain(node, axis - 2, rank - 2):
            return _dilated(node, axis - 2, rank - 2, parts), axis
    return None


def _moved(axis: int, changed: set[int], *, squeezed: bool) -> int:
    if squeezed:
        return axis - sum(item < axis for item in changed)
    return [index for index in range(axis + len(changed) + 1) if index not in changed][axis]


def _is_plain(conv: Node, axis: int, rank: int) -> bool:
    """Whether a convolution goes on by one item and says what it pads."""
    return conv.integers("strides", (1,) * rank)[axis] == 1 and conv.text("auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _dilated(conv: Node, axis: int, rank: int, parts: int) -> Node:
    """The convolution of time in place of the one of its phases."""
    numbers = {"dilations": (1,) * rank, "pads": (0,) * 2 * rank}
    attributes: dict[str, Attribute] = dict(conv.attributes)
    for key, default in numbers.items():
        scaled = list(conv.integers(key, default))
        for index in range(axis, len(scaled), rank):
            scaled[index] *= parts
        attributes[key] = tuple(scaled)
    return replace(conv, attributes=attributes)
