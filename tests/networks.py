"""Random streaming networks."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from hypothesis import strategies as st

from tests import itemwise, layers
from tests.graphs import Builder, Draw, Stream

_LAYERS = (*layers.LAYERS, *itemwise.LAYERS)


@dataclass
class Network:
    """A model, the channels of its input, the time axis of its outputs, and a pulse that fits it."""

    model: onnx.ModelProto
    channels: int
    axes: list[int]
    pulse: int


@st.composite
def networks(draw: Draw, depth: int = 6) -> Network:
    """A random network with its channels, output axes and pulse."""
    builder = Builder(draw(st.integers(0, 99)))
    channels = draw(st.integers(1, 4))
    stream: Stream = ("x", channels)
    seen: list[Stream] = []
    for layer in draw(st.lists(st.sampled_from(_LAYERS), min_size=1, max_size=depth)):
        stream = layer(builder, draw, stream)
        seen.append(stream)
    outputs, axes = [stream[0]], [2]
    if draw(st.booleans()):
        outputs, axes = [builder.add("Transpose", stream[0], perm=[0, 2, 1])], [1]
    if len(seen) > 1 and draw(st.booleans()):
        outputs, axes = [*outputs, seen[len(seen) // 2][0]], [*axes, 2]
    pulse_size = builder.stride * draw(st.integers(1, 5))
    if len(set(outputs)) < len(outputs):
        outputs, axes = outputs[:1], axes[:1]
    return Network(builder.model((1, channels, "S"), outputs), channels, axes, pulse_size)
