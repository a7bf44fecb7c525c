"""Writes small Keras networks to `tests/data`, as tf2onnx exports them, each with what Keras makes of some noise.

    python -m tests.keras_zoo [NAME ...]

No test needs TensorFlow, so the files are kept and this is how they came to be: Python 3.11 with tensorflow-cpu 2.21,
keras 3.15, tf2onnx 1.17, opset 17.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx

DATA = Path(__file__).parent / "data"
MELS, ITEMS, OPSET = 40, 96, 17
layers = tf.keras.layers


def image(x: Any) -> Any:
    """Frames (1, S, MELS) as an image of one channel."""
    return layers.Reshape((-1, MELS, 1))(x)


def ds_cnn(x: Any) -> Any:
    """Depthwise separable convolutions over a causal image; the mels are averaged at the end."""
    y = layers.ZeroPadding2D(((9, 0), (1, 1)))(image(x))
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, (10, 4), strides=(2, 2), use_bias=False)(y)))
    for _ in range(2):
        y = layers.ZeroPadding2D(((2, 0), (1, 1)))(y)
        y = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3)(y)))
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 1)(y)))
    y = layers.Reshape((-1, 8))(layers.AveragePooling2D((1, 20))(y))
    return layers.Dense(12, activation="softmax")(layers.Dropout(0.2)(y))


def crnn(x: Any) -> Any:
    """A strided convolution over the image, two GRUs, a dense layer."""
    y = layers.Conv2D(4, (8, 5), strides=(4, 2), activation="relu")(image(x))
    y = layers.Reshape((-1, 4 * 18))(y)
    y = layers.GRU(8, return_sequences=True)(y)
    y = layers.GRU(6, return_sequences=True, reset_after=False)(y)
    return layers.Dense(4, activation="sigmoid")(y)


def lstm(x: Any) -> Any:
    """LSTMs with a projection, and a plain recurrent layer."""
    y = layers.LSTM(12, return_sequences=True)(layers.LayerNormalization()(x))
    y = layers.LSTM(6, return_sequences=True)(layers.Dense(6)(y))
    y = layers.SimpleRNN(5, return_sequences=True, activation="relu")(y)
    return layers.Dense(3, activation="softmax")(y)


NETWORKS: dict[str, Callable[[Any], Any]] = {"ds_cnn": ds_cnn, "crnn": crnn, "lstm": lstm}


def built(name: str) -> Any:
    """The network, with statistics and biases that are not trivial."""
    tf.keras.utils.set_random_seed(3)
    features = tf.keras.Input((None, MELS), batch_size=1)
    network = tf.keras.Model(features, NETWORKS[name](features))
    noise = np.random.default_rng(3)
    for layer in network.layers:
        for weight in layer.weights:
            if len(weight.shape) == 1:
                weight.assign(noise.uniform(0.5, 1.5, weight.shape))
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*NETWORKS])
    for name in parser.parse_args().names:
        network = built(name)
        signature = [tf.TensorSpec((1, None, MELS), tf.float32, "x")]
        function = tf.function(lambda x, network=network: network(x, training=False))
        path = DATA / f"keras_{name}.onnx"
        tf2onnx.convert.from_function(function, signature, opset=OPSET, output_path=str(path))
        x = np.random.default_rng(1).standard_normal((1, ITEMS, MELS)).astype(np.float32)
        np.savez_compressed(path.with_suffix(".npz"), x=x, y=network(x, training=False).numpy())


if __name__ == "__main__":
    main()
