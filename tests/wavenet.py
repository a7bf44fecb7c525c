"""A small WaveNet in PyTorch with the shape of a wake-word network, and its way into an ONNX file."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

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


def export(path: Path, *, dynamo: bool, layers: int = _LAYERS) -> None:
    """Write it as a trainer would, with a dynamic time axis."""
    features = torch.zeros(1, 200, FEATURES)
    if dynamo:
        dynamic = {"dynamic_shapes": ({1: torch.export.Dim("S", min=184)},), "external_data": False}
    else:
        dynamic = {"dynamic_axes": {"features": {1: "S"}}}
    names = {"input_names": ["features"], "output_names": ["posteriors"]}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporters warn about themselves
        torch.onnx.export(network(layers), (features,), str(path), dynamo=dynamo, **names, **dynamic)
