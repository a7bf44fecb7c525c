"""The rounded network is the int8 plan before there is one, and it can be trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pulse
from daemon.features import MELS
from daemon.model import WakeModel
from models import calibration, cli, recipe, train
from models.export import PULSE, ExportError, export, export_int8
from models.rounded import Gate, RoundedWakeWord, rounded
from models.wakeword import Size, WakeWord
from pulse.calibrate import lower_to_int8
from pulse.declutter import declutter
from pulse.infer import infer
from pulse.integer import HIGHEST, STEPS, UNIT, integer_conv
from pulse.load import load
from pulse.pulsify import pulsify
from tests.test_models import write_corpus
from tests.test_training import RECIPE, WORDS

SIZE = Size(gate=6, dilations=(1, 2, 4))
ALIKE = 0.95  # share of the posteriors that are the same; one rounding the other way changes some behind it


def frames(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(8, 4, (1, count, MELS)).astype(np.float32)


def network(size: Size = SIZE) -> WakeWord:
    torch.manual_seed(0)
    made = WakeWord(3, size)
    made.normalise(torch.from_numpy(frames(300, 0)[0]))
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(2)
    return made.eval()


def streamed(plan: pulse.Plan, given: np.ndarray) -> np.ndarray:
    state = pulse.State(plan)
    pulses = [state.run(given[:, at : at + PULSE])[0].copy() for at in range(0, given.shape[1], PULSE)]
    return np.concatenate(pulses, axis=1)[:, plan.delay[0] :]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "two.onnx"
    export(network(), path, {})
    return path


@pytest.mark.parametrize("seed", [1, 2])
def test_the_rounded_network_is_the_int8_plan(exported: Path, seed: int) -> None:
    heard, given = frames(800, seed), 1.2 * frames(800, seed + 10)  # louder, so that some numbers are cut
    graph = pulsify(declutter(infer(load(exported))), PULSE)
    lowered = lower_to_int8(graph, {calibration.INPUT: heard})
    whole = rounded(network())
    whole.observe(torch.from_numpy(heard))
    np.testing.assert_allclose(
        sorted(whole.ranges.tolist()), sorted([low, high] for low, high in lowered.ranges.values()), atol=1e-4
    )
    with torch.inference_mode():
        found = whole.products(torch.from_numpy(given)).softmax(-1).numpy()
        exact = whole(torch.from_numpy(given)).softmax(-1).numpy()
    wanted = streamed(lowered.plan, given)
    alike = np.abs(found - wanted).max(axis=-1) < 1e-5
    assert alike.mean() > ALIKE
    np.testing.assert_allclose(found, wanted, atol=np.abs(exact - wanted).max())
    assert np.abs(exact - wanted).mean() > 20 * np.abs(found - wanted).mean()


@settings(max_examples=50, deadline=None)
@given(
    sums=st.lists(st.integers(-(1 << 19), 1 << 19), min_size=8, max_size=8),
    gain=st.integers(127, UNIT - 1),
)
def test_a_gate_is_that_of_the_plan(sums: list[int], gain: int) -> None:
    curves, taps = RoundedWakeWord(2, SIZE).curves.double(), np.array([[sums]], np.float64)[:, :, None]
    found = Gate.apply(torch.tensor(sums).double(), torch.full((8,), 0.25).double(), curves, gain)
    out, made, factor = np.zeros((1, 1, 1, 4), np.int8), np.zeros((1, 1, 1, 8)), np.zeros((1, 8, 8))
    scratch = np.zeros((2, 1, 1, 1, 8), np.int64)
    writes = (out, made, *scratch, np.zeros((1, 1, 1, 8)), factor)
    bias, quarter = np.zeros((1, 1, 8), np.int64), np.full((1, 1, 8), 1 << 30)
    reads = (taps, writes[4], np.eye(8)[None], bias, quarter, None)
    integer_conv(*writes, *reads, activation="Gate", zero=0, left=0, gain=gain)
    np.testing.assert_array_equal(found.numpy(), out.reshape(4))


def test_the_gradient_of_a_gate_is_that_of_its_curves() -> None:
    generator = torch.Generator().manual_seed(0)
    sums = torch.randint(-8000, 8000, (50, 8), generator=generator).double().requires_grad_()
    steps = torch.linspace(0.5, 2, 8).double()
    Gate.apply(sums, steps, RoundedWakeWord(2, SIZE).curves.double(), HIGHEST).sum().backward()
    found, sums.grad = sums.grad, None
    tanh, sigmoid = (sums * steps / STEPS).chunk(2, dim=-1)
    (HIGHEST * torch.tanh(tanh) * torch.sigmoid(2 * sigmoid)).sum().backward()
    torch.testing.assert_close(found, sums.grad, rtol=0.02, atol=1e-4)


def test_gradients_go_through_the_rounding() -> None:
    exact = network()
    whole = rounded(exact)
    given = torch.from_numpy(frames(200, 3))
    whole.observe(given)
    for made, logits in ((exact, exact(given)), (whole, whole.logits(given))):
        made.zero_grad()
        logits.logsumexp(-1).mean().backward()
    for (name, weight), other in zip(exact.named_parameters(), whole.parameters(), strict=True):
        alike = torch.nn.functional.cosine_similarity(weight.grad.flatten(), other.grad.flatten(), dim=0)
        assert alike > 0.95, name
        assert 0.8 < other.grad.norm() / weight.grad.norm() < 1.25, name


def test_a_plan_that_differs_from_its_rounded_network_is_refused(tmp_path: Path) -> None:
    whole = rounded(network())
    with pytest.raises(ExportError, match="rounded network"):  # it has not observed what calibrates the plan
        export_int8(whole, tmp_path / "two.int8.plan", {}, 0.3 * frames(300, 0))
    assert not (tmp_path / "two.int8.plan").exists()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), WORDS)


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "trained"
    train.train([corpus], folder, RECIPE)
    return folder


@pytest.mark.parametrize("steps", [0, 3])
def test_one_command_makes_an_int8_plan(corpus: Path, trained: Path, tmp_path: Path, steps: int) -> None:
    path = tmp_path / "two.int8.plan"
    options = ["quantise", "--corpus", str(corpus), "--from", str(trained), "--steps", str(steps), "-o", str(path)]
    assert cli.main(options) == 0
    model = WakeModel.load(path)
    assert model.words == WORDS
    assert set(model.operating_points) == set(WORDS)
    tuned = trained.with_name("trained_int8")
    assert tuned.exists() == bool(steps)
    if steps:
        made, after = train.load(tuned)
        assert made.quantised
        assert isinstance(after, RoundedWakeWord)
        assert made == recipe.read(tuned / train.RECIPE)
        before = train.load(trained)[1].state_dict()
        assert any(not torch.equal(value, before[key]) for key, value in after.named_parameters())
