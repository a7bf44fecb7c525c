"""The stateless graph as TorchScript, for PyTorch: every op is a call of PyTorch's own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch

from pulse.graph import Graph, Node
from pulse.peers import NotWritten
from pulse.peers.stateless import stateless
from pulse.pulsify import pulsify

_Call: TypeAlias = Callable[..., Any]
_PLAIN: Mapping[str, _Call] = {
    "Add": torch.add,
    "Mul": torch.mul,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
}


def write(graph: Graph, pulse: int, path: Path) -> None:
    """The file of a batch graph, for pulses of `pulse` items."""
    flat = stateless(pulsify(graph, pulse))
    weights = {name: torch.tensor(value) for name, value in flat.constants.items()}
    calls = [(node, _call(node, flat)) for node in flat.nodes]

    def network(*given: Any) -> tuple[Any, ...]:
        values = {**weights, **dict(zip(flat.inputs, given, strict=True))}
        for node, call in calls:
            values[node.outputs[0]] = call(*(values[name] for name in node.inputs))
        return tuple(values[name] for name in flat.outputs.values())

    example = tuple(torch.zeros(fact.sizes) for fact in flat.inputs.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and still the fastest way to call PyTorch
        shapes = json.dumps([fact.sizes for fact in flat.inputs.values()])
        torch.jit.save(torch.jit.trace(network, example, check_trace=False), str(path), {"shapes": shapes})


def _call(node: Node, graph: Graph) -> _Call:
    match node.op:
        case "Conv":
            return _conv(node)
        case "Concat":
            axis = node.integer("axis", 0)
            return lambda *parts: torch.cat(parts, axis)
        case "Slice":
            return _slice(node, graph)
        case "Transpose":
            perm = node.integers("perm", ())
            return lambda x: x.permute(perm)
        case "Clip":
            limits = [node.number(key, 0.0) if key in node.attributes else None for key in ("low", "high")]
            return lambda x: torch.clamp(x, *limits)
        case "Softmax":
            last = node.integer("axis", -1)
            return lambda x: torch.softmax(x, last)
        case op if op in _PLAIN:
            return _PLAIN[op]
    raise NotWritten(node)


def _conv(node: Node) -> _Call:
    kernel = node.integers("kernel", ())
    if len(kernel) != 1:
        raise NotWritten(node, "which has more than one axis")
    stride, dilation, group = node.integers("stride", ()), node.integers("dilation", ()), node.integer("group", 1)
    return lambda x, w, b=None: torch.conv1d(x, w, b, stride, 0, dilation, group)


def _slice(node: Node, graph: Graph) -> _Call:
    axes, starts, steps = (node.integers(key, ()) for key in ("axes", "starts", "steps"))
    if len(axes) != 1 or steps != (1,):
        raise NotWritten(node, "which cuts more than one axis, or leaves out items")
    count = graph.facts[node.outputs[0]].sizes[axes[0]]
    return lambda x: torch.narrow(x, axes[0], starts[0], count)
