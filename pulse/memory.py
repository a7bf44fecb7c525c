"""Facts of what remembers without a bound: recurrent layers and sums over all that came."""

from __future__ import annotations

from pulse.argument import Given, axis_of, need, numbers, weight
from pulse.dim import Dim, Length
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Fact, Node, fact

PARTS = {"GRU": 3, "LSTM": 4, "RNN": 1}
_ACTIVATIONS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
STATES = (5, 6)  # inputs that a walk begins with
_KNOWN = ("Relu", "Sigmoid", "Tanh")


def recurrent(node: Node, given: Given) -> list[Fact]:
    """The facts of all states of a recurrent layer, one after the other, and of its last ones, which time never has."""
    x, w, r = need(node, given, 0), weight(node, given, 1), weight(node, given, 2)
    layout, many = node.integer("layout", 0), len(directions(node))
    if len(x.shape) != 3:
        raise GraphError(f"{node} gets {len(x.shape)} axes instead of 3")
    length, n, read = x.shape[layout], x.shape[1 - layout], x.shape[2]
    if isinstance(length, Dim) and any(directions(node)):
        raise NotStreamable(
            f"{node} runs {node.text('direction', '')}, from the end of time, which never comes; "
            "train it with bidirectional=False"
        )
    if isinstance(read, Dim):
        raise NotStreamable(f"{node} walks along axis {layout}, and time is what it reads; transpose in front of it")
    if isinstance(length, Dim) and any(node.outputs[1:]):
        raise NotStreamable(f"{node} hands out its last state, which never comes; use all of its states instead")
    if node.integer("input_forget", 0) or any(ends != length for ends in numbers(node, given, 4) or []):
        raise NotStreamable(f"{node} joins its gates or has sequences of different lengths; export it without")
    hidden = r.shape[-1]
    rows = PARTS[node.op] * hidden
    if w.shape != (many, rows, read) or r.shape != (many, rows, hidden):
        raise GraphError(f"{node} has weights {w.shape} and {r.shape} that do not fit its input of {read}")
    first = (n, many, hidden) if layout else (many, n, hidden)
    fits: dict[int, tuple[Length, ...]] = {3: (many, 2 * rows), 5: first, 6: first, 7: (many, 3 * hidden)}
    for index, shape in fits.items():
        item = given[index] if index < len(given) else None
        if item is not None and item.shape != shape:
            raise GraphError(f"{node} has an input {index} that does not fit its {hidden} hidden numbers")
        if item is not None and index not in STATES:
            weight(node, given, index)
    activations(node)
    last = fact(first)
    return [fact((n, length, many, hidden) if layout else (length, many, n, hidden)), last, last]


def directions(node: Node) -> tuple[bool, ...]:
    """For each direction of a recurrent layer, whether it walks backwards."""
    found = _DIRECTIONS.get(node.text("direction", "forward"))
    if found is None:
        raise GraphError(f"{node} has a direction that is not known")
    return found


def activations(node: Node) -> tuple[str, ...]:
    """The activations of a recurrent layer, one for each kind of gate, for each direction."""
    usual = _ACTIVATIONS[node.op] * len(directions(node))
    names = node.texts("activations", usual)
    if len(names) != len(usual) or not set(names) <= set(_KNOWN):
        raise NotStreamable(f"{node} has the activations {', '.join(names)}; only {', '.join(_KNOWN)} are supported")
    return names


def cum_sum(node: Node, given: Given) -> list[Fact]:
    """The fact of a sum over all that came."""
    x = need(node, given, 0)
    axis = sum_axis(node, given)
    if node.integer("reverse", 0) and isinstance(x.shape[axis], Dim):
        raise NotStreamable(f"{node} sums backwards from the end of time, which never comes; sum forwards")
    return [fact(x.shape, x.dtype)]


def sum_axis(node: Node, given: Given) -> int:
    """The axis that a `CumSum` goes along."""
    (axis,) = numbers(node, given, 1) or [0]
    return axis_of(node, axis, len(need(node, given, 0).shape))
