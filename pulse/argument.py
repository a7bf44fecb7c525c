"""What a rule may ask of the inputs of its node: facts that must be there, numbers that must be known.

Whatever is missing is a sentence that names the node.
"""

from __future__ import annotations

from pulse.dim import Dim, Length
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Array, Fact, Node, shown
from pulse.step import held

Given = list[Fact | None]


def shapes(given: Given) -> str:
    """The shapes of the inputs, for people."""
    return " and ".join(shown(item.shape) if item else "-" for item in given)


def need(node: Node, given: Given, index: int) -> Fact:
    """The fact of an input that must be there."""
    item = given[index] if index < len(given) else None
    if item is None:
        raise GraphError(f"{node} lacks its input {index}")
    return item


def numbers(node: Node, given: Given, index: int) -> list[Length] | None:
    """The integers that an input is known to hold, or `None` if it is left out."""
    item = given[index] if index < len(given) else None
    if item is None:
        return None
    if item.value is None:
        raise NotStreamable(f"{node} computes its input {index} from one of the model; it must be a constant")
    return [number if isinstance(number, Dim) else int(number) for number in item.value.reshape(-1)]


def axis_of(node: Node, axis: Length, rank: int) -> int:
    """A counted axis, from the front."""
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise GraphError(f"{node} names the axis {axis} of a value with {rank} axes")
    return axis % rank


def alike(node: Node, *items: Fact) -> str:
    """The type of values that are combined, which must be held as the same kind."""
    if len({held(item.dtype) for item in items}) > 1:
        raise GraphError(f"{node} combines {' and '.join(item.dtype for item in items)}; cast them to one type")
    return items[0].dtype


def weight(node: Node, given: Given, index: int) -> Array:
    """The content of an input that must be a constant, of the kind of the first one."""
    value = need(node, given, index).value
    if value is None:
        raise NotStreamable(f"{node} computes its weights (input {index}) from an input; they must be constants")
    alike(node, need(node, given, 0), need(node, given, index))
    return value


def broadcast(node: Node, given: Given, items: tuple[tuple[Length, ...], ...]) -> tuple[Length, ...]:
    """The shape that values of the shapes `items` have together, aligned at their last axes."""
    rank = max(len(item) for item in items)
    shape: list[Length] = [1] * rank
    for item in items:
        for axis, length in enumerate(item, rank - len(item)):
            if shape[axis] == 1:
                shape[axis] = length
            elif length not in (1, shape[axis]):
                raise GraphError(f"{node} combines {shapes(given)}, and {shape[axis]} does not fit {length}")
    return tuple(shape)
