"""Facts of what remembers without a bound: recurrent layers and sums over all that came."""

from __future__ import annotations

from pulse.argument import Given, axis_of, need, numbers, weight
from pulse.dim import Dim
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Fact, Node, fact

PARTS = {"GRU": 3, "LSTM": 4, "RNN": 1}
_ACTIVATIONS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
_KNOWN = ("Relu", "Sigmoid", "Tanh")


def recurrent(node: Node, given: Given) -> list[Fact]:
    """The facts of all states of a recurrent layer, one after the other, and of its last ones, which time never has."""
    x, w, r = need(node, given, 0), weight(node, given, 1), weight(node, given, 2)
    layout = node.integer("layout", 0)
    if node.text("direction", "forward") != "forward":
        raise NotStreamable(
            f"{node} runs {node.text('direction', '')}, from the end of time, which never comes; "
            "train it with bidirectional=False"
        )
    if len(x.shape) != 3:
        raise GraphError(f"{node} gets {len(x.shape)} axes instead of 3")
    if isinstance(x.shape[2], Dim):
        raise NotStreamable(f"{node} walks along axis {layout}, and time is what it reads; transpose in front of it")
    if isinstance(x.shape[layout], Dim) and any(node.outputs[1:]):
        raise NotStreamable(f"{node} hands out its last state, which never comes; use all of its states instead")
    if node.integer("input_forget", 0) or (len(given) > 4 and given[4] is not None):
        raise NotStreamable(f"{node} joins its gates or has lengths of sequences; export it without")
    hidden, n = r.shape[-1], x.shape[1 - layout]
    rows = PARTS[node.op] * hidden
    if w.shape != (1, rows, x.shape[2]) or r.shape != (1, rows, hidden):
        raise GraphError(f"{node} has weights {w.shape} and {r.shape} that do not fit its input of {x.shape[2]}")
    sizes = {3: 2 * rows, 5: n * hidden, 6: n * hidden, 7: 3 * hidden}
    for index, size in sizes.items():
        if index < len(given) and given[index] is not None and weight(node, given, index).size != size:
            raise GraphError(f"{node} has an input {index} that does not fit its {hidden} hidden numbers")
    activations(node)
    last = fact((n, 1, hidden) if layout else (1, n, hidden))
    return [fact((n, x.shape[1], 1, hidden) if layout else (x.shape[0], 1, n, hidden)), last, last]


def activations(node: Node) -> tuple[str, ...]:
    """The activations of a recurrent layer, one for each kind of gate."""
    names = node.texts("activations", _ACTIVATIONS[node.op])
    if len(names) != len(_ACTIVATIONS[node.op]) or not set(names) <= set(_KNOWN):
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
