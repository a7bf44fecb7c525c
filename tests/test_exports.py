"""One network, exported by different programs, ends as one plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import pulse
from pulse.load import NEWEST_OPSET, load
from tests import graphs, wavenet

KERAS = Path(__file__).parent / "data" / "wavenet_keras.onnx"  # two layers, by tests.export_keras
MAX_STEPS = 130

# exporter, layers -> nodes in the file, steps in the plan
COUNTS = {
    ("torchscript", 24): (436, 81),
    ("snips", 24): (471, 81),
    ("torchscript", 2): (40, 12),
    ("dynamo", 2): (26, 12),
    ("snips", 2): (53, 12),
    ("keras", 2): (58, 12),
}


def exported(exporter: str, layers: int, folder: Path) -> Path:
    path = folder / f"{exporter}.onnx"
    match exporter:
        case "keras":
            return KERAS
        case "snips":
            wavenet.snips(path, layers)
        case _:
            wavenet.export(path, dynamo=exporter == "dynamo", layers=layers)
    return path


def kernels(plan: pulse.Plan) -> Counter[tuple[str, Any]]:
    return Counter((step.kernel, step.parameters.get("activation")) for step in plan.steps)


@pytest.mark.parametrize(("exporter", "layers"), COUNTS)
def test_every_exporter_says_the_same_in_other_words(exporter: str, layers: int, tmp_path: Path) -> None:
    path = exported(exporter, layers, tmp_path)
    net = wavenet.network(layers)
    plan = pulse.compile(path)
    assert (len(load(path).nodes), len(plan.steps)) == COUNTS[exporter, layers]
    assert (plan.delay, plan.receptive_field) == ((plan.receptive_field - 1,), 3 + sum(x.lost for x in net.layers))
    x = np.random.default_rng(4).standard_normal((1, graphs.enough(plan), wavenet.FEATURES)).astype(np.float32)
    found = graphs.streamed(plan, x, [1])
    graphs.assert_law(plan, graphs.whole(onnx.load(path), x), found, [1])
    with torch.no_grad():
        wanted: Any = net(torch.from_numpy(x)).numpy()
    graphs.assert_law(plan, [wanted], found, [1])


@pytest.mark.parametrize(("exporters", "layers"), [(("torchscript", "snips"), 24), (("dynamo", "snips", "keras"), 2)])
def test_all_end_as_one_plan(exporters: tuple[str, ...], layers: int, tmp_path: Path) -> None:
    plans = [pulse.compile(exported(exporter, layers, tmp_path)) for exporter in exporters]
    assert len(plans[0].steps) <= MAX_STEPS
    for plan in plans[1:]:
        assert kernels(plan) == kernels(plans[0])
        assert np.isclose(np.sort(plan.weights), np.sort(plans[0].weights), atol=1e-5).all()


@pytest.mark.parametrize("opset", [10, 13, 18, NEWEST_OPSET])
def test_the_opset_does_not_matter(opset: int, tmp_path: Path) -> None:
    wavenet.snips(tmp_path / "one.onnx", 2)
    wavenet.snips(tmp_path / "other.onnx", 2, opset)
    one, other = (pulse.compile(tmp_path / name) for name in ("one.onnx", "other.onnx"))
    assert (one.steps, one.slots) == (other.steps, other.slots)
    np.testing.assert_array_equal(one.weights, other.weights)


def test_weights_may_be_inputs_as_the_oldest_files_have_them(tmp_path: Path) -> None:
    """Up to IR version 3 every initialiser had to be an input too."""
    model = onnx.load(KERAS)
    model.ir_version = 3
    for weight in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    onnx.save(model, tmp_path / "old.onnx")
    assert pulse.compile(tmp_path / "old.onnx").steps == pulse.compile(KERAS).steps
