"""A small WaveNet in PyTorch with the shape of a wake-word network, and its ways into an ONNX file."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from tests.graphs import END, Builder

FEATURES = 40
WORDS = 7
DILATIONS = (1, 2, 4, 8)
_LAYERS = 24


class Layer(nn.Module):
    """A gated convolution with a residual and a skip path."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.lost = 2 * dilation
        self.gate = nn.Conv1d(16, 128, 3, dilation=dilation)
        self.skip = nn.Conv1d(64, 32, 1)
        self.residual = nn.Conv1d(64, 16, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.gate(x).chunk(2, dim=1)
        z = torch.tanh(a) * torch.sigmoid(b)
        return x[:, :, self.lost :] + self.residual(z), self.skip(z)


class WaveNet(nn.Module):
    """Posteriors (1, S - lost, words) of features (1, S, 40); nothing is padded."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(FEATURES)
        self.first = nn.Conv1d(FEATURES, 16, 3, bias=False)
        self.layers = nn.ModuleList(Layer(DILATIONS[index % len(DILATIONS)]) for index in range(layers))
        self.hidden = nn.Conv1d(32, 32, 1)
        self.last = nn.Conv1d(32, WORDS, 1)

    def forward(self, features: Tensor) -> Tensor:
        x = self.first(self.norm(features.transpose(1, 2)))
        left = sum(layer.lost for layer in self.layers)
        total = None
        for layer in self.layers:
            x, skip = layer(x)
            left -= layer.lost
            skip = skip[:, :, left:]
            total = skip if total is None else total + skip
        y = self.last(torch.relu(self.hidden(torch.relu(total))))
        return torch.softmax(y.transpose(1, 2), dim=-1)


def network(layers: int = _LAYERS) -> WaveNet:
    """The same network every time, with batch statistics that are not trivial."""
    torch.manual_seed(0)
    net = WaveNet(layers).eval()
    net.norm.running_mean.uniform_(-1, 1)
    net.norm.running_var.uniform_(0.5, 2)
    return net


def export(path: Path, *, dynamo: bool, layers: int = _LAYERS, length: int | None = None) -> None:
    """Write it as a trainer would, with a dynamic time axis, or one of a fixed length."""
    features = torch.zeros(1, length or 200, FEATURES)
    dynamic: dict[str, Any] = {"external_data": False} if dynamo else {}
    if length is None and dynamo:
        dynamic["dynamic_shapes"] = ({1: torch.export.Dim("S", min=184)},)
    elif length is None:
        dynamic["dynamic_axes"] = {"features": {1: "S"}}
    names = {"input_names": ["features"], "output_names": ["posteriors"]}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporters warn about themselves
        torch.onnx.export(network(layers), (features,), str(path), dynamo=dynamo, **names, **dynamic)


def snips(path: Path, layers: int = _LAYERS, opset: int = 11) -> None:
    """The same network as a wake-word engine of 2018 had it: channels last, and everything written out.

    Filter and gate are convolutions of their own, products along the channels are matrix products, the normalisation
    is what it is defined as, weights are nodes, and there are nodes that do nothing.
    """
    net = network(layers)
    b = Builder(opset=opset)
    x = b.add("Sub", b.add("Identity", "features"), _weight(b, net.norm.running_mean))
    variance = b.add("Add", _weight(b, net.norm.running_var), b.constant(net.norm.eps, np.float32))
    x = b.add("Div", x, b.add("Sqrt", variance))
    x = b.add("Add", b.add("Mul", x, _weight(b, net.norm.weight)), _weight(b, net.norm.bias))
    x = _conv(b, x, net.first.weight)
    left = sum(layer.lost for layer in net.layers)
    skips = []
    for layer in net.layers:
        halves = zip(layer.gate.weight.chunk(2), layer.gate.bias.chunk(2), strict=True)
        filtered, gate = (b.add("Add", _conv(b, x, w, layer.lost // 2), _weight(b, bias)) for w, bias in halves)
        z = b.add("Mul", b.add("Sigmoid", gate), b.add("Tanh", b.add("Cast", filtered, to=TensorProto.FLOAT)))
        left -= layer.lost
        skips.append(b.add("Slice", _dense(b, z, layer.skip), *_from(b, left)))
        x = b.add("Add", _dense(b, z, layer.residual), b.add("Slice", x, *_from(b, layer.lost)))
    hidden = b.add("Relu", _dense(b, b.add("Relu", b.add("Sum", *skips)), net.hidden))
    words = b.add("Identity", b.add("Softmax", _dense(b, hidden, net.last), axis=2))
    b.nodes[-1].output[0] = "posteriors"
    assert words
    model = b.model((1, "S", FEATURES), ["posteriors"])
    model.graph.input[0].name = "features"
    path.write_bytes(model.SerializeToString())


def _weight(b: Builder, value: Tensor) -> str:
    return b.add("Constant", value=numpy_helper.from_array(value.detach().numpy()))


def _conv(b: Builder, x: str, weight: Tensor, dilation: int = 1) -> str:
    y = b.add("Conv", b.add("Transpose", x, perm=[0, 2, 1]), _weight(b, weight), dilations=[dilation])
    return b.add("Transpose", y, perm=[0, 2, 1])


def _dense(b: Builder, x: str, conv: nn.Conv1d) -> str:
    assert conv.bias is not None
    return b.add("Add", b.add("MatMul", x, _weight(b, conv.weight[:, :, 0].T)), _weight(b, conv.bias))


def _from(b: Builder, start: int) -> list[str]:
    return [b.constant([number]) for number in (start, END, 1)]
