"""Writes `tests/data/wavenet_keras.onnx`: the network of `tests.wavenet` in Keras, as tf2onnx exports it.

    python -m tests.export_keras [--layers N] [--opset N] [file]

No test needs TensorFlow, so the file is kept and this is how it came to be: Python 3.11 with torch 2.13,
tensorflow-cpu 2.21, keras 3.15, tf2onnx 1.17, opset 17, two layers. The weights are those of `wavenet.network`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf2onnx
from torch import nn

from tests import wavenet

DATA = Path(__file__).parent / "data" / "wavenet_keras.onnx"
LAYERS, OPSET = 2, 17
layers = tf.keras.layers


class Trained:
    """Keras layers with the weights of PyTorch's, which are put in when all are built."""

    def __init__(self) -> None:
        self._weights: list[tuple[Any, list[Any]]] = []

    def normalised(self, x: Any, norm: nn.BatchNorm1d) -> Any:
        layer = layers.BatchNormalization(epsilon=norm.eps)
        values = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        self._weights.append((layer, [value.detach().numpy() for value in values]))
        return layer(x)

    def conv(self, x: Any, conv: nn.Conv1d, rows: slice = slice(None), **settings: Any) -> Any:
        weights = [conv.weight.detach().numpy().transpose(2, 1, 0)[:, :, rows]]
        weights += [] if conv.bias is None else [conv.bias.detach().numpy()[rows]]
        taps, _, filters = weights[0].shape
        layer = layers.Conv1D(filters, taps, use_bias=len(weights) > 1, **settings)
        self._weights.append((layer, weights))
        return layer(x)

    def fill(self) -> None:
        for layer, weights in self._weights:
            layer.set_weights(weights)


def model(count: int) -> Any:
    """The network as somebody who works with Keras would write it."""
    net, trained = wavenet.network(count), Trained()
    features = tf.keras.Input((None, wavenet.FEATURES), batch_size=1)
    x = trained.conv(trained.normalised(features, net.norm), net.first)
    left = sum(layer.lost for layer in net.layers)
    skips = []
    for layer in net.layers:
        dilation = {"dilation_rate": layer.lost // 2}
        filtered = trained.conv(x, layer.gate, slice(0, 64), activation="tanh", **dilation)
        gate = trained.conv(x, layer.gate, slice(64, 128), activation="sigmoid", **dilation)
        z = layers.Multiply()([filtered, gate])
        left -= layer.lost
        skips.append(layers.Cropping1D((left, 0))(trained.conv(z, layer.skip)))
        x = layers.Add()([layers.Cropping1D((layer.lost, 0))(x), trained.conv(z, layer.residual)])
    hidden = trained.conv(layers.ReLU()(layers.Add()(skips)), net.hidden, activation="relu")
    built = tf.keras.Model(features, trained.conv(hidden, net.last, activation="softmax"))
    trained.fill()
    return built


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=DATA)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--opset", type=int, default=OPSET)
    options = parser.parse_args()
    built = model(options.layers)
    signature = [tf.TensorSpec((1, None, wavenet.FEATURES), tf.float32, "features")]
    function = tf.function(lambda features: built(features, training=False))
    options.file.parent.mkdir(exist_ok=True)
    tf2onnx.convert.from_function(function, signature, opset=options.opset, output_path=str(options.file))


if __name__ == "__main__":
    main()
