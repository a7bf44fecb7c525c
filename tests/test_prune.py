"""Channels go without a trace where nothing hears them, and what matters least goes first."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daemon.features import MELS
from models import cli, prune, train, tuning
from models.wakeword import Size, WakeWord
from tests.test_models import write_corpus
from tests.test_training import RECIPE, WORDS

SIZE = Size(residual=4, gate=6, skip=5, dilations=(1, 2, 4))


def network(seed: int) -> WakeWord:
    torch.manual_seed(seed)
    return WakeWord(3, SIZE).eval()


def scenes(seed: int, count: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = np.random.default_rng(seed)
    drawn = [(rng.normal(8, 4, (1, 60, MELS)), rng.integers(-1, 3, (1, 60))) for _ in range(count)]
    return [(torch.from_numpy(frames).float(), torch.from_numpy(targets)) for frames, targets in drawn]


def silence(made: WakeWord, silent: list[set[int]]) -> None:
    """Nothing hears these channels of each layer."""
    with torch.no_grad():
        for layer, channels in enumerate(silent):
            for paths in (made.skips, made.residuals):
                if layer < len(paths):
                    paths[layer].weight[:, list(channels)] = 0


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 1000),
    silent=st.lists(st.sets(st.integers(0, SIZE.gate - 1), min_size=3, max_size=3), min_size=3, max_size=3),
)
def test_channels_that_nothing_hears_go_without_a_trace(seed: int, silent: list[set[int]]) -> None:
    made = network(seed)
    silence(made, silent)
    important = prune.importance(made, scenes(seed))
    assume(bool(((important > 0).sum(1) == 3).all()))  # where these scenes say of the others that they are heard
    smaller = prune.pruned(made, [row.topk(3).indices.sort().values for row in important])
    assert smaller.size == Size(residual=4, gate=3, skip=5, dilations=(1, 2, 4))
    assert smaller.size.multiplications(3) < made.size.multiplications(3)
    frames = scenes(seed + 1, 1)[0][0]
    torch.testing.assert_close(smaller(frames), made(frames))


def test_importance_is_what_the_loss_changes_by() -> None:
    made, (scene,) = network(0), scenes(0, 1)
    frames, targets = scene

    def loss(heard: WakeWord) -> float:
        logits = heard(frames)
        named = targets[:, -logits.shape[1] :].flatten()
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), named, ignore_index=-1, reduction="sum").item()

    important = prune.importance(made, [scene]).sqrt()
    before = loss(made)
    for layer, row in enumerate(important):
        for channel, expected in enumerate(row):
            fainter = network(0)
            with torch.no_grad():
                for paths in (fainter.skips, fainter.residuals):
                    if layer < len(paths):
                        paths[layer].weight[:, channel] *= 0.99
            changed = abs(loss(fainter) - before) / 0.01
            assert changed == pytest.approx(expected.item(), rel=0.1, abs=0.02)


def test_a_pruned_training_goes_on_as_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_corpus(tmp_path, WORDS)
    trained, smaller = tmp_path / "trained", tmp_path / "smaller"
    train.train([corpus], trained, RECIPE)
    command = ["prune", "--from", str(trained), "--keep", "0.5", "--steps", "2", "--out", str(smaller)]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    made, network = train.load(smaller)
    assert "multiplications per frame" in printed
    assert str(smaller / train.RECIPE) in printed
    assert (made.network.gate, made.rounds, network.size.gate) == (2, (1, 2), 2)
    teacher = ["--teacher", str(trained), "--corpus", str(corpus), "--out", str(smaller)]
    assert cli.main(["train", *teacher, str(smaller / train.RECIPE)]) == 0
    after = train.load(smaller)[1]
    assert not torch.equal(after.front.weight, network.front.weight)
    assert cli.main(command) == 1
    assert "holds a training already" in capsys.readouterr().err


def test_what_is_trained_on_goes_slowly_and_has_a_round_for_what_was_mined(tmp_path: Path) -> None:
    made = msgspec.structs.replace(RECIPE, rounds=(2, 2, 2), restart=1e-2)
    for mined, rounds in ((0, (40,)), (1, (1, 40)), (2, (1, 1, 40))):
        if mined:
            (tmp_path / f"mined{mined}.kept").write_text("1")
        slow = tuning.recipe(made, 40, tmp_path)
        assert slow.rounds == rounds
        assert max(train.rate(step, slow) for step in range(slow.steps)) == pytest.approx(made.rate / 4)


@pytest.mark.parametrize("keep", ["0", "1.1", "0.01", "nan"])
def test_a_share_that_leaves_nothing_is_refused(tmp_path: Path, keep: str, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.joinpath("x").mkdir()
    train.recipe.write(RECIPE, tmp_path / "x" / train.RECIPE)
    train.Training(RECIPE).save(tmp_path / "x")
    assert cli.main(["prune", "--from", str(tmp_path / "x"), "--keep", keep, "--out", str(tmp_path / "y")]) == 1
    assert "keep a share" in capsys.readouterr().err
    assert not (tmp_path / "y").exists()
