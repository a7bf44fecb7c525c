"""The pulsed graph for people: a line for each node, or a picture with the delays on its arrows."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pulse.errors import PulseError
from pulse.graph import Graph, Node, shown
from pulse.reach import fields

_HEAD = ("node", "op", "shape", "time", "rate", "delay", "field")
# nodes that the batch graph does not have, in blue
_OF_TIME = ("Delay", "Edge", "Fill", "Front", "Keep", "Recall", "Skip", "Store", "Stuff")
_PATIENCE_S = 60.0  # for a picture


def explained(graph: Graph) -> str:
    """A table of what is known of every value: its shape, its stream axis, its delay, and how far it sees."""
    seen = fields(graph)
    rows = [_row(graph, name, "input", name, seen.get(name)) for name in graph.inputs]
    for node in graph.nodes:
        rows += [_row(graph, node.name, node.op, name, seen.get(name)) for name in node.outputs]
    return table([_HEAD, *rows])


def _row(graph: Graph, node: str, op: str, name: str, field: int | None) -> tuple[str, ...]:
    item = graph.facts[name]
    if item.stream is None:
        return node, op, shown(item.shape), "-", "-", "-", "-"
    where = (f"axis {item.stream.axis}", str(item.stream.length.rate), str(item.stream.delay))
    return node, op, shown(item.shape), *where, "-" if field is None else str(field)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows under each other, columns as wide as they must be."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in padded)


def dot(graph: Graph) -> str:
    """The graph in the language of graphviz."""
    producers = graph.producers()
    lines = ["digraph plan {", "node [shape=box, style=filled, fillcolor=white, fontname=sans]", "edge [fontname=sans]"]
    lines += [f"{_quoted(f'> {name}')} [shape=oval]" for name in graph.inputs]
    lines += [f"{_quoted(f'{name} >')} [shape=oval]" for name in graph.outputs]
    lines += [_box(node) for node in graph.nodes]
    origins = {name: f"> {name}" for name in graph.inputs} | {name: node.name for name, node in producers.items()}
    arrows = [(name, node.name) for node in graph.nodes for name in node.inputs]
    arrows += [(value, f"{name} >") for name, value in graph.outputs.items()]
    lines += [_arrow(graph, name, origins[name], to) for name, to in arrows if name in origins]
    return "\n".join([*lines, "}"])


def _box(node: Node) -> str:
    told = [f"{key}={value}" for key, value in node.attributes.items() if isinstance(value, int | str | tuple)]
    label = "\n".join([node.op, *told])
    colour = "lightblue" if node.op in _OF_TIME else "white"
    return f"{_quoted(node.name)} [label={_quoted(label)}, fillcolor={colour}]"


def _arrow(graph: Graph, name: str, origin: str, to: str) -> str:
    label = f"{shown(graph.facts[name].shape)} Δ{graph.delay_of(name)}"
    return f"{_quoted(origin)} -> {_quoted(to)} [label={_quoted(label)}]"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def draw(graph: Graph, path: Path) -> None:
    """Write the graph as an SVG picture, by the program `dot` of graphviz."""
    program = shutil.which("dot")
    if program is None:
        raise PulseError("a picture needs the program `dot`, which is not installed; it is part of graphviz")
    command = [program, "-Tsvg", "-o", str(path)]
    try:
        made = subprocess.run(command, input=dot(graph).encode(), capture_output=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        said = f"`dot` has not drawn {len(graph.nodes)} nodes within {_PATIENCE_S} s"
        raise PulseError(f"{said}; --explain lists them instead") from error
    if made.returncode:
        why = made.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise PulseError(f"`dot` could not write {path}: {' '.join(why)}")
