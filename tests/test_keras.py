"""Networks from Keras: what it makes of the whole stream comes out of the plan pulse by pulse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pulse
from tests import graphs

DATA = Path(__file__).parent / "data"
# the stride of each network, and how late it is
NETWORKS = {"ds_cnn": (2, 0), "crnn": (4, 1), "lstm": (1, 0)}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [4, 12, 48])
def test_it_streams(name: str, size: int) -> None:
    stored = np.load(DATA / f"keras_{name}.npz")
    plan = pulse.compile(DATA / f"keras_{name}.onnx", size)
    assert (plan.stride, plan.delay) == tuple((number,) for number in NETWORKS[name])
    graphs.assert_law(plan, [stored["y"]], graphs.streamed(plan, stored["x"], [1]), [1])


def test_layers_that_walk_are_loops_in_the_file() -> None:
    """And nothing of what counts their rounds is left."""
    plan = pulse.compile(DATA / "keras_lstm.onnx", 2)
    kernels = [step.kernel for step in plan.steps]
    assert (kernels.count("Recall"), kernels.count("Store")) == (5, 5)
    assert not {"Less", "And", "Cast", "CumSum", "Gather"} & set(kernels)
