"""What a network fires at where no word is said comes back in the next round."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from models import mining, pool, train
from models.augment import ALARM, Hearing, Material, Scenes
from models.pool import Pool
from models.recipe import Network, Recipe, Sounds
from models.sampler import Sampler
from models.wakeword import WakeWord
from tests.test_models import made_up

RECIPE = Recipe(
    words=("up", "down"),
    network=Network(gate=4, dilations=(1, 2)),
    sounds=Sounds(scenes=6, mined=7, kept=3, mined_share=0.5, warp=0, masked_mels=0, masked_frames=0),
    batch=4,
)


@pytest.fixture(scope="module")
def network() -> WakeWord:
    """One that is sure of a word wherever it is loud."""
    torch.manual_seed(0)
    found = WakeWord(3, RECIPE.network.size())
    found.normalise(torch.randn(200, 40) * 4 + 8)
    return found.eval()


def silent(material: Material) -> Scenes:
    return Scenes(material, Hearing("hamming", words=False), RECIPE.seed)


def test_the_loudest_false_alarms_are_kept(network: WakeWord, tmp_path: Path) -> None:
    material = made_up()
    kept = mining.mine(network, silent(material), RECIPE.sounds, tmp_path, 1)
    heard = silent(material)
    scenes = [heard[mining.APART + number][0] for number in range(RECIPE.sounds.mined)]
    peaks = [mining._peak(network, frames) for frames in scenes]
    assert len(kept) == RECIPE.sounds.kept
    for number, loud in enumerate(np.argsort(peaks)[::-1][: len(kept)]):
        np.testing.assert_array_equal(kept.frames[number], scenes[loud])
    assert not kept.targets.any()
    assert not list(tmp_path.glob("heard*"))
    again = mining.mine(WakeWord(3, RECIPE.network.size()), silent(material), RECIPE.sounds, tmp_path, 1)
    np.testing.assert_array_equal(again.frames, kept.frames)


def test_a_network_that_is_never_wrong_adds_nothing(network: WakeWord, tmp_path: Path) -> None:
    sure = WakeWord(3, RECIPE.network.size())
    sure.load_state_dict(network.state_dict())
    with torch.no_grad():
        sure.out.bias[0] += 50
    kept = mining.mine(sure, silent(made_up()), RECIPE.sounds, tmp_path, 2)
    assert len(kept) == 0


def test_steps_draw_from_the_pool_and_from_what_was_mined(tmp_path: Path) -> None:
    scenes, mined = Pool(tmp_path / "scenes", 6), Pool(tmp_path / "mined", 2)
    scenes.targets[:], mined.targets[:] = 1, 2
    sampler = Sampler(RECIPE, scenes)
    assert set(np.unique(np.concatenate([sampler.batch(step)[1] for step in range(20)]))) == {1}
    sampler.mined.append(mined)
    drawn = np.concatenate([sampler.batch(step)[1] for step in range(50)])
    assert (drawn == 2).mean() == pytest.approx(0.5, abs=0.15)
    frames, targets = sampler.batch(3)
    assert (frames.shape, targets.shape) == ((4, RECIPE.frames, 40), (4, RECIPE.frames))
    torch.testing.assert_close(sampler.batch(3)[0], frames)
    quiet = msgspec.structs.replace(RECIPE, sounds=msgspec.structs.replace(RECIPE.sounds, mined_share=0.0))
    alone = Sampler(quiet, scenes)
    alone.mined.append(mined)
    assert not (alone.batch(0)[1] == 2).any()


def test_rendering_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    scenes = Scenes(made_up(), Hearing("hamming"), 1)
    whole = pool.render(scenes, tmp_path / "whole", 5)
    half = pool.render(scenes, tmp_path / "half", 5)
    half.frames[3:] = 0
    (tmp_path / "half.done").write_text("3")
    np.testing.assert_array_equal(pool.render(scenes, tmp_path / "half", 5).frames, whole.frames)


def test_mining_that_was_killed_leaves_nothing_that_a_later_round_would_hear(
    network: WakeWord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material, whole, torn = made_up(), tmp_path / "whole", tmp_path / "torn"
    for folder in (whole, torn):
        folder.mkdir()
    with monkeypatch.context() as patched:  # killed after the note of the first round, before anything is cleared
        patched.setattr(pool, "remove", lambda path: None)
        mining.mine(network, silent(material), RECIPE.sounds, torn, 1)
    for folder in (whole, torn):
        mining.mine(network, silent(material), RECIPE.sounds, folder, 1)
    found, expected = (
        mining.mine(network, silent(material), RECIPE.sounds, folder, 2).frames for folder in (torn, whole)
    )
    np.testing.assert_array_equal(found, expected)
    assert not list(torn.glob("heard*"))


@pytest.mark.parametrize("lost", [".frames", ".targets"])
def test_scenes_that_were_taken_away_are_made_again(tmp_path: Path, lost: str) -> None:
    scenes = Scenes(made_up(), Hearing("hamming"), 1)
    whole = pool.render(scenes, tmp_path / "scenes", 3)
    frames, targets = whole.take([0, 1, 2])
    (tmp_path / f"scenes{lost}").unlink()
    again = pool.render(scenes, tmp_path / "scenes", 3)
    np.testing.assert_array_equal(again.frames, frames)
    np.testing.assert_array_equal(again.targets, targets)


def test_scenes_have_their_place_on_the_disk_before_they_are_made(tmp_path: Path) -> None:
    Pool(tmp_path / "scenes", 100)
    assert pool.on_disk(tmp_path.glob("scenes.*")) == pytest.approx(100 * pool.BYTES, rel=0.05)


def test_all_scenes_of_a_training_are_counted() -> None:
    sounds = Sounds(scenes=6, mined=7, kept=3)
    assert [pool.bytes_of(sounds, rounds) // pool.BYTES for rounds in (1, 2, 3)] == [6, 16, 19]
    assert pool.bytes_of(Sounds(scenes=6, mined=0), 3) == 6 * pool.BYTES


def test_frames_of_mined_scenes_teach_only_where_they_fire(tmp_path: Path) -> None:
    spared = msgspec.structs.replace(RECIPE.sounds, mined_share=1.0, spared=0.3, tempo=(1, 1), haste=0)
    made = msgspec.structs.replace(RECIPE, sounds=spared)
    scenes, mined = Pool(tmp_path / "scenes", 6), Pool(tmp_path / "mined", 2)
    mined.targets[:, ::3] = 1
    sampler = Sampler(made, scenes)
    sampler.mined.append(mined)
    targets = sampler.batch(0)[1]
    assert set(np.unique(targets)) == {ALARM, 1}
    assert not (scenes.targets[:].any() or (mined.targets[:] == ALARM).any())
    training = train.Training(made)
    logits = torch.zeros(1, 4, 3)
    logits[0, :, 0] = torch.tensor([9.0, 9.0, 0.0, 0.0])  # sure of no word, and of one in three
    training.network.logits = lambda frames: logits  # type: ignore[method-assign]
    for which, counted in ((ALARM, [2, 3]), (0, [0, 1, 2, 3]), (1, [0, 1, 2, 3])):
        loss = training._loss(torch.zeros(1, 4, 40), torch.full((1, 4), which))
        wrong = torch.nn.functional.cross_entropy(logits[0], torch.full((4,), max(which, 0)), reduction="none")
        torch.testing.assert_close(loss, wrong[counted].sum() / 4)
    logits[0, :, 0] = 9
    assert training._loss(torch.zeros(1, 4, 40), torch.full((1, 4), ALARM)).item() == 0


def test_people_alone_are_listened_to_where_their_speech_is_not_learnt() -> None:
    material, loud = made_up(), np.full(40_000, 0.5, np.float32)
    above, below = (np.full(90_000, level, np.float32) for level in (1.0, -1.0))
    material = replace(material, speech=(above,), noise=(below,), near=(loud,), made=(loud,))
    scenes = Scenes(material, Hearing("hamming", words=False, people=True, noises=0.1), 1)
    said = [scenes._item(np.random.default_rng(seed)) for seed in range(200)]
    assert {label for label, _ in said} == {0}
    middles = np.array([clip.audio[len(clip.audio) // 2] for _, clip in said])
    assert set(middles) == {1, -1}
    assert np.mean(middles == -1) == pytest.approx(0.1, abs=0.05)
