"""Rules that join nodes of the pulsed graph which one kernel can do; `lower` applies them first.

Delays have done their work here: a `Skip`, which only renames one, is gone after these rules.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from pulse.graph import Attribute, Fact, Graph, Node
from pulse.join import joined
from pulse.rewrite import Patch, Rule, Site, rewrite

ACTIVATIONS = ("Gate", "Relu", "Sigmoid", "Tanh")  # what a convolution can do to its own result


def fuse(graph: Graph) -> Graph:
    """The same program in fewer nodes, without delays: they are settled."""
    settled = {name: _settled(item) for name, item in graph.facts.items()}
    return joined(rewrite(replace(graph, facts=settled), RULES, lambda fused: fused)).check("fuse")


def apart(graph: Graph, curves: Collection[str]) -> Graph:
    """The same fused program, where those of `curves` that follow a sum within a convolution are nodes of their own."""
    nodes: list[Node] = []
    facts = dict(graph.facts)
    for node in graph.nodes:
        curve = node.text("activation", "") if node.op == "Conv" and len(node.inputs) > 3 else ""
        if curve not in curves:
            nodes.append(node)
            continue
        (y,), summed = node.outputs, f"{node.name}.summed"
        batch, _, *places = facts[y].shape
        facts[summed] = replace(facts[y], shape=(batch, facts[node.inputs[1]].shape[0], *places))
        rest = {key: value for key, value in node.attributes.items() if key != "activation"}
        nodes += [
            replace(node, outputs=(summed,), attributes=rest),
            Node(curve, f"{node.name}.{curve}", (summed,), (y,)),
        ]
    return replace(graph, nodes=tuple(nodes), facts=facts).check("fuse")


def _settled(item: Fact) -> Fact:
    return replace(item, stream=replace(item.stream, delay=0)) if item.stream else item


def skip_to_nothing(site: Site) -> Patch | None:
    """skip(x) = x, once delays are settled"""
    if site.node.op != "Skip":
        return None
    return Patch(f"{site.node} is free", (site.node,), alias={site.node.outputs[0]: site.node.inputs[0]})


def halves_to_gate(site: Site) -> Patch | None:
    """tanh(a) * sigmoid(b) = gate(a, b), with a and b the two halves of the channels of one value"""
    node = site.node
    for first, second in ((0, 1), (1, 0)) if node.op == "Mul" else ():
        tanh, sigmoid = site.sole(node.inputs[first], "Tanh"), site.sole(node.inputs[second], "Sigmoid")
        a = tanh and site.sole(tanh.inputs[0], "Slice")
        b = sigmoid and site.sole(sigmoid.inputs[0], "Slice")
        if tanh and sigmoid and a and b and _are_halves(site, a, b):
            gate = Node("Gate", node.name, a.inputs, node.outputs)
            return Patch(f"{node} becomes a gate", (tanh, sigmoid, a, b, node), (gate,))
    return None


def _are_halves(site: Site, a: Node, b: Node) -> bool:
    shape = site.graph.facts[a.inputs[0]].sizes
    half = site.graph.facts[a.outputs[0]].sizes[1]
    wanted = {"axes": (1,), "steps": (1,)}
    starts = a.attributes["starts"], b.attributes["starts"]
    plain = all(node.attributes[key] == value for node in (a, b) for key, value in wanted.items())
    return plain and len(shape) == 3 and a.inputs == b.inputs and starts == ((0,), (half,)) and shape[1] == 2 * half


def sum_into_conv(site: Site) -> Patch | None:
    """conv(x) + y = conv(x, addend=y)"""
    node = site.node
    for first, second in ((0, 1), (1, 0)) if node.op == "Add" else ():
        conv = site.sole(node.inputs[first], "Conv")
        same = all(site.graph.facts[name].shape == site.graph.facts[node.outputs[0]].shape for name in node.inputs)
        if conv and same and "activation" not in conv.attributes and len(conv.inputs) < 4:
            x, w, *bias = conv.inputs
            inputs = (x, w, bias[0] if bias else "", node.inputs[second])
            return _joined(f"{node} goes into {conv}", (conv, node), inputs, conv.attributes)
    return None


def activation_into_conv(site: Site) -> Patch | None:
    """f(conv(x)) = conv(x, activation=f)"""
    node = site.node
    conv = site.sole(node.inputs[0], "Conv") if node.op in ACTIVATIONS else None
    if conv is None or "activation" in conv.attributes:
        return None
    if node.op == "Gate" and conv.integer("group", 1) > 1:
        return None
    return _joined(f"{node} goes into {conv}", (conv, node), conv.inputs, {**conv.attributes, "activation": node.op})


def _joined(why: str, pair: tuple[Node, Node], inputs: tuple[str, ...], attributes: Mapping[str, Attribute]) -> Patch:
    conv, node = pair
    return Patch(why, pair, (Node("Conv", conv.name, inputs, node.outputs, attributes),))


RULES: tuple[Rule, ...] = (skip_to_nothing, halves_to_gate, sum_into_conv, activation_into_conv)
