"""Small networks of the kinds that keyword spotting is made of, in PyTorch, each with the shape of its input.

`S` is time. The sizes are small, the structure is that of the papers: what a framework exports is what matters here.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

MELS = 40
_EXPORTED_ITEMS = 192


@dataclass(frozen=True)
class Exhibit:
    """A network; the shape of its input and its time axis; the time axis of its output; a pulse that fits it."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    axis: int
    out: int
    pulse: int = 8


class Transposed(nn.Module):
    """Frames (1, S, MELS) into channels (1, MELS, S) and back."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x.transpose(1, 2)).transpose(1, 2)


def phones() -> nn.Module:
    """A convolutional phone network: two 5-wide layers and a dilated 3-wide one, with max pooling."""
    return nn.Sequential(
        nn.Conv1d(MELS, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool1d(3, stride=1, padding=1),
        nn.Conv1d(32, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(32, 32, 3, dilation=2, padding=2),
        nn.ReLU(),
        nn.Conv1d(32, 10, 1),
        nn.LogSoftmax(dim=1),
    )


class TcResidual(nn.Module):
    """Two 9-wide convolutions, the first one with a stride, around a 1-wide one with the same stride."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(before, after, 9, stride, padding=4, bias=False)
        self.second = nn.Conv1d(after, after, 9, padding=4, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm1d(after) for _ in range(3))
        self.around = nn.Conv1d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[1](self.second(torch.relu(self.norms[0](self.first(x)))))
        return torch.relu(y + self.norms[2](self.around(x)))


def tc_resnet() -> nn.Module:
    """TC-ResNet8: temporal convolutions with the mels as channels."""
    blocks = [TcResidual(before, after, 2) for before, after in ((16, 24), (24, 32))]
    return nn.Sequential(
        nn.Conv1d(MELS, 16, 3, padding=1, bias=False), *blocks, nn.AvgPool1d(4, 1), nn.Conv1d(32, 8, 1)
    )


class Classifier(nn.Module):
    """A head that pools all of time, as most of these networks have when they are trained on clips."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = tc_resnet(), nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Statistics(nn.Module):
    """The mean and the standard deviation of every channel over all of time."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(dim=2), x.std(dim=2)], dim=1)


class Speaker(nn.Module):
    """QuartzNet with statistics pooling: separable convolutions, and an embedding of length 1 of all of time."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Sequential(nn.Conv1d(MELS, 16, 9, stride=2, padding=4), nn.BatchNorm1d(16), nn.ReLU())
        self.body = nn.Sequential(first, Separable(16, 11), Separable(16, 13), nn.Conv1d(16, 24, 1), nn.ReLU())
        self.head = nn.Sequential(Statistics(), nn.BatchNorm1d(48), nn.Linear(48, 12))

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.head(self.body(x)))


class Squeezed(nn.Module):
    """A causal 2-D network over (1, 1, S, MELS) whose channels are weighed by their mean over time and mels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3), nn.Conv1d(8, 4, 1)
        squeeze = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), nn.Sigmoid())
        self.squeeze = nn.Sequential(*squeeze)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(functional.pad(x, (1, 1, 2, 0))))
        return self.last((y * self.squeeze(y)).mean(dim=3))


class Separable(nn.Module):
    """Depthwise and pointwise convolution with normalisation; several in a row, and a residual around them."""

    def __init__(self, channels: int, kernel: int, dilation: int = 1, times: int = 2) -> None:
        super().__init__()
        pad = (kernel - 1) * dilation // 2
        layers: list[nn.Module] = []
        for _ in range(times):
            layers += [nn.Conv1d(channels, channels, kernel, padding=pad, dilation=dilation, groups=channels)]
            layers += [nn.Conv1d(channels, channels, 1), nn.BatchNorm1d(channels), nn.ReLU(), nn.Dropout(0.1)]
        self.layers = nn.Sequential(*layers[:-2])
        self.around = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.BatchNorm1d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + self.around(x))


def matchbox() -> nn.Module:
    """MatchboxNet-3x2: separable blocks of growing kernels."""
    first = nn.Sequential(nn.Conv1d(MELS, 16, 11, stride=2, padding=5), nn.BatchNorm1d(16), nn.ReLU())
    last = nn.Sequential(Separable(16, 29, 2, 1), nn.Conv1d(16, 8, 1), nn.Softmax(dim=1))
    return nn.Sequential(first, *(Separable(16, kernel) for kernel in (13, 15, 17)), last)


class Mixed(nn.Module):
    """Depthwise convolutions of several kernels, each over its share of the channels, without padding."""

    def __init__(self, channels: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        share = channels // len(kernels)
        self.lost = max(kernels) - 1
        self.parts = nn.ModuleList(nn.Conv1d(share, share, kernel, groups=share) for kernel in kernels)
        self.norm, self.join = nn.BatchNorm1d(channels), nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        shares = x.chunk(len(self.parts), dim=1)
        early = (self.lost + 1 - part.kernel_size[0] for part in self.parts)
        cut = (share[:, :, first:] for share, first in zip(shares, early, strict=True))
        mixed = torch.cat([part(share) for part, share in zip(self.parts, cut, strict=True)], dim=1)
        return x[:, :, self.lost :] + torch.relu(self.norm(self.join(mixed)))


def mixed() -> nn.Module:
    """MixedNet with a stride of 3 in front."""
    first = nn.Sequential(nn.Conv1d(MELS, 16, 5, stride=3), nn.ReLU())
    return nn.Sequential(first, Mixed(16, (5, 9)), Mixed(16, (9, 13)), nn.Conv1d(16, 1, 1))


class Crnn(nn.Module):
    """A strided convolution over the image, two GRUs, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, (20, 5), stride=(4, 2))
        self.gru = nn.GRU(8 * 18, 16, 2, batch_first=True)
        self.last = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(x.unsqueeze(1)))  # (1, 8, S, 18)
        y = y.permute(0, 2, 1, 3).flatten(2)
        y, _ = self.gru(y)
        return torch.sigmoid(self.last(y))


class Lstm(nn.Module):
    """LSTMs with a projection, written as linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(size, 16, batch_first=True) for size in (MELS, 6))
        self.projections = nn.ModuleList(nn.Linear(16, 6) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer, projection in zip(self.layers, self.projections, strict=True):
            x = projection(layer(x)[0])
        return functional.log_softmax(x, dim=-1)


class Svdf(nn.Module):
    """Rank-1 filters: a projection of the features, then a depthwise convolution over the past, then their sum."""

    def __init__(self, features: int, units: int, rank: int, memory: int) -> None:
        super().__init__()
        self.features, self.memory, self.rank = nn.Linear(features, units * rank, bias=False), memory, rank
        self.time = nn.Conv1d(units * rank, units * rank, memory, groups=units * rank, bias=False)
        self.bias = nn.Parameter(torch.randn(units))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.pad(self.features(x).transpose(1, 2), (self.memory - 1, 0))
        y = self.time(y).transpose(1, 2)
        return torch.relu(y.unflatten(2, (-1, self.rank)).sum(dim=3) + self.bias)


def svdf() -> nn.Module:
    """A stack of SVDF layers."""
    return nn.Sequential(Svdf(MELS, 12, 2, 8), Svdf(12, 8, 1, 10), nn.Linear(8, 3))


class DsCnn(nn.Module):
    """Depthwise separable 2-D convolutions over an image (1, 1, MELS, S); the mels are averaged at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(1, 8, (4, 10), stride=(2, 2), padding=(1, 5)), nn.BatchNorm2d(8), nn.ReLU()
        )
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU()]
            layers += [nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU()]
        self.layers, self.last = nn.Sequential(*layers), nn.Conv1d(8, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(self.first(x)).mean(dim=2))


class MdtcBlock(nn.Module):
    """A causal dilated depthwise convolution between two pointwise ones."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.before = (kernel - 1) * dilation
        self.time = nn.Conv1d(channels, channels, kernel, dilation=dilation, groups=channels)
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(3))
        self.points = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[0](self.time(functional.pad(x, (self.before, 0))))
        y = torch.relu(self.norms[1](self.points[0](y)))
        return torch.relu(self.norms[2](self.points[1](y)) + x)


class Mdtc(nn.Module):
    """Multi-scale depthwise temporal convolutions: the outputs of all stacks are summed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(MELS, 16)
        stacks = (nn.Sequential(*(MdtcBlock(16, 5, dilation) for dilation in (1, 2, 4))) for _ in range(3))
        self.stacks, self.last = nn.ModuleList(stacks), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x)).transpose(1, 2)
        total = torch.zeros_like(y)
        for stack in self.stacks:
            y = stack(y)
            total = total + y
        return torch.sigmoid(self.last(total.transpose(1, 2)))


class Excited(nn.Module):
    """A 2-D network over (1, 1, S, MELS) whose channels are weighed frame by frame (squeeze and excite off time)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, (3, 5), stride=(1, 2), padding=(1, 2))
        self.squeeze = nn.Sequential(nn.Linear(8, 2), nn.Hardswish(), nn.Linear(2, 8), nn.Hardsigmoid())
        self.last = nn.Linear(8 * 20, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.silu(self.first(x))
        y = functional.elu(self.second(functional.avg_pool2d(y, (1, 2), ceil_mode=True).repeat_interleave(2, dim=3)))
        weight = self.squeeze(y.mean(dim=3).transpose(1, 2)).transpose(1, 2)
        y = y * weight.unsqueeze(3)
        return self.last(y.transpose(1, 2).flatten(2))


class ConvNext(nn.Module):
    """A depthwise convolution, layer normalisation and two linear layers with GELU, with a scaled residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.time = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm, self.scale = nn.LayerNorm(channels), nn.Parameter(torch.rand(channels))
        self.points = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.points(self.norm(self.time(x.transpose(1, 2)).transpose(1, 2)))
        return x + self.scale * y


def convnext() -> nn.Module:
    """ConvNeXt along time."""
    return nn.Sequential(nn.Linear(MELS, 16), ConvNext(16), ConvNext(16), nn.Linear(16, 5), nn.PReLU(), nn.Softmax(-1))


class Attention(nn.Module):
    """Causal attention of several heads to the last items: keys and values are the padded past, slice by slice."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.query, self.key, self.value, self.last = (nn.Linear(channels, channels) for _ in range(4))
        self.place = nn.Parameter(torch.randn(heads, 1, window))
        self.norm = nn.LayerNorm(channels)

    def past(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (0, 0, self.window - 1, 0))
        return torch.stack([padded[:, first : first + x.shape[1]] for first in range(self.window)], dim=2)

    def apart(self, x: Tensor) -> Tensor:
        return self.past(x).unflatten(3, (self.heads, -1)).transpose(2, 3)  # (1, S, heads, window, channels / heads)

    def mask(self, x: Tensor) -> Tensor:
        there = self.past(torch.ones_like(x[:, :, :1])).transpose(2, 3).unsqueeze(2)  # (1, S, 1, 1, window)
        return 1e4 * (there - 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        query = self.query(y).unflatten(2, (self.heads, 1, -1))
        scores = query @ self.apart(self.key(y)).transpose(3, 4) + self.place + self.mask(x)
        return x + self.last((torch.softmax(scores, dim=-1) @ self.apart(self.value(y))).flatten(2))


class Indexed(Attention):
    """The same, with the past by indices that count along time."""

    def past(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (0, 0, self.window - 1, 0))
        return padded[:, torch.arange(x.shape[1])[:, None] + torch.arange(self.window)]


class Clamped(Attention):
    """The same, with indices into what is there, and a mask over those that would lie in front of it."""

    def places(self, x: Tensor) -> Tensor:
        return torch.arange(x.shape[1])[:, None] + torch.arange(1 - self.window, 1)

    def past(self, x: Tensor) -> Tensor:
        return x[:, self.places(x).clamp(min=0)]

    def mask(self, x: Tensor) -> Tensor:
        return torch.where(self.places(x) < 0, -1e4, 0.0)[None, :, None, None]  # (1, S, 1, 1, window)


class Unfolded(Attention):
    """The same, with the past as a view."""

    def past(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, 0, self.window - 1, 0)).unfold(1, self.window, 1).transpose(2, 3)


class Strided(Attention):
    """The same, with the past as a view of the memory."""

    def past(self, x: Tensor) -> Tensor:
        items, channels = x.shape[1:]
        padded = functional.pad(x, (0, 0, self.window - 1, 0)).contiguous()
        return padded.as_strided((1, items, self.window, channels), (padded.shape[1] * channels, channels, channels, 1))


class Columns(Attention):
    """The same, with the past as columns of an image of one row."""

    def past(self, x: Tensor) -> Tensor:
        padded = functional.pad(x.transpose(1, 2).unsqueeze(2), (self.window - 1, 0))
        columns = functional.unfold(padded, (1, self.window))
        return columns.unflatten(1, (x.shape[2], self.window)).permute(0, 3, 2, 1)


class Convolved(Attention):
    """The same, with the past by a convolution that copies, and without a mask: the front is full of zeros."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__(channels, heads, window)
        self.register_buffer("copies", torch.eye(window).repeat(channels, 1).unsqueeze(1))

    def past(self, x: Tensor) -> Tensor:
        padded, channels = functional.pad(x.transpose(1, 2), (self.window - 1, 0)), self.copies.shape[0] // self.window
        y = functional.conv1d(padded, self.copies, groups=channels)
        return y.unflatten(1, (channels, self.window)).permute(0, 3, 2, 1)

    def mask(self, x: Tensor) -> Tensor:
        return torch.zeros(1)


def attention(kind: type[Attention]) -> nn.Module:
    """Two layers of local attention."""
    return nn.Sequential(nn.Linear(MELS, 16), kind(16, 4, 6), nn.ReLU(), kind(16, 2, 4), nn.Linear(16, 3))


FRAMES, CHANNELS = (1, 0, MELS), (1, MELS, 0)
ZOO: Mapping[str, Exhibit] = {
    "phones": Exhibit(phones, CHANNELS, 2, 2),
    "tc_resnet": Exhibit(tc_resnet, CHANNELS, 2, 2),
    "matchbox": Exhibit(matchbox, CHANNELS, 2, 2),
    "mixed": Exhibit(mixed, CHANNELS, 2, 2, 9),
    "crnn": Exhibit(Crnn, FRAMES, 1, 1),
    "lstm": Exhibit(Lstm, FRAMES, 1, 1),
    "svdf": Exhibit(svdf, FRAMES, 1, 1),
    "ds_cnn": Exhibit(DsCnn, (1, 1, MELS, 0), 3, 2),
    "mdtc": Exhibit(Mdtc, FRAMES, 1, 1),
    "excited": Exhibit(Excited, (1, 1, 0, MELS), 2, 1),
    "convnext": Exhibit(convnext, FRAMES, 1, 1),
    "attention": Exhibit(lambda: attention(Attention), FRAMES, 1, 1),
    "convolved": Exhibit(lambda: attention(Convolved), FRAMES, 1, 1),
    "indexed": Exhibit(lambda: attention(Indexed), FRAMES, 1, 1),
    "clamped": Exhibit(lambda: attention(Clamped), FRAMES, 1, 1),
    "columns": Exhibit(lambda: attention(Columns), FRAMES, 1, 1),
    "strided": Exhibit(lambda: attention(Strided), FRAMES, 1, 1),
    "unfolded": Exhibit(lambda: attention(Unfolded), FRAMES, 1, 1),
    "transposed": Exhibit(lambda: Transposed(matchbox()), FRAMES, 1, 1),
}

CLASSIFIER = Exhibit(Classifier, CHANNELS, 2, 0)
SPEAKER = Exhibit(Speaker, CHANNELS, 2, 0)
SQUEEZED = Exhibit(Squeezed, (1, 1, 0, MELS), 2, 2)


def network(exhibit: Exhibit) -> nn.Module:
    """The same network every time, with batch statistics that are not trivial."""
    torch.manual_seed(0)
    net = exhibit.make().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return net


def stream(exhibit: Exhibit, items: int) -> Tensor:
    """Noise of that many items."""
    shape = [items if axis == exhibit.axis else size for axis, size in enumerate(exhibit.shape)]
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def export(exhibit: Exhibit, path: Path, *, dynamo: bool = False) -> nn.Module:
    """Write the network as a trainer would, with a dynamic time axis."""
    net = network(exhibit)
    if dynamo:
        dynamic = {"dynamic_shapes": ({exhibit.axis: torch.export.Dim("S", min=160)},), "external_data": False}
    else:
        dynamic = {"dynamic_axes": {"x": {exhibit.axis: "S"}}}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporters warn about themselves
        x = stream(exhibit, _EXPORTED_ITEMS)
        torch.onnx.export(net, (x,), str(path), dynamo=dynamo, input_names=["x"], output_names=["y"], **dynamic)
    return net
