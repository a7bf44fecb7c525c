"""The same network in other engines, to be compared with. What runs or compiles a plan imports nothing of this.

An engine has two parts here: a module whose `write` makes the engine's file of a batch graph, and a function in
`engines` that opens the file. They know the ops that wake words need; `NotWritten` names one that they do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from pulse.errors import PulseError
from pulse.graph import Graph, Node


class NotWritten(PulseError):
    """The network has what nobody has written for a peer."""

    def __init__(self, what: Node | str, why: str = "") -> None:
        super().__init__(f"{what} is not written for this peer{why and ', '}{why}")


@dataclass(frozen=True)
class Peer:
    """An engine: what people call it, the package it comes in, who writes its file, who opens it."""

    name: str
    package: str
    writer: str  # a module here; none for what takes the ONNX file as it is
    opener: str  # a function of `engines`

    @property
    def installed(self) -> bool:
        """Whether its package can be imported."""
        return find_spec(self.package) is not None

    def file(self, model: Path, graph: Graph, pulse: int, folder: Path) -> Path:
        """Its file of the ONNX file `model`, whose batch graph is `graph`; `NotWritten` names what prevents it."""
        if not self.writer:
            return model
        path = folder / self.opener
        import_module(f"{__name__}.{self.writer}").write(graph, pulse, path)
        return path


PEERS = (
    Peer("onnxruntime, caches bound in turns", "onnxruntime", "onnxfile", "onnxruntime"),
    Peer("tract, pulsed by itself", "tract", "", "tract"),
    Peer("TensorFlow Lite, XNNPACK", "ai_edge_litert", "flatbuffer", "tflite"),
    Peer("PyTorch, TorchScript", "torch", "torchscript", "pytorch"),
)
