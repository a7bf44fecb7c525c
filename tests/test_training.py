"""A training small enough for a test: it goes on where it was killed, and what it exports is a working model."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from daemon.features import MELS, SAMPLE_RATE
from daemon.listener import Listener
from daemon.model import WakeModel
from models import cli, networks, pool, recipe, train, train_speaker
from models.augment import Scenes
from models.card import BEGIN, END
from models.corpus import CorpusError, read_manifest
from models.export import ExportError, annotate, prove
from models.hearing import posteriors
from models.pool import Pool
from models.recipe import Network, Recipe, RecipeError, Sounds
from pulse.cli import main as compile_main
from tests.disk import room_for
from tests.shipped import MODEL
from tests.test_models import write_corpus

WORDS = ("up", "down")
RECIPE = Recipe(
    words=WORDS,
    network=Network(gate=4, dilations=(1, 2, 4)),
    sounds=Sounds(scenes=4, voices=1, rooms=2, mined=3, kept=2),
    rounds=(2, 2),
    batch=2,
    frames=300,
    warm_up=1,
    check_every=2,
)
RECEPTIVE_FIELD = RECIPE.network.size().receptive_field


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), WORDS)


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train.train([corpus], folder, RECIPE)
    return folder


class Killed(BaseException):
    """Stands for the signal that ends a training just after a checkpoint."""


def test_a_killed_training_restarts_its_rounds_all_the_same(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = msgspec.structs.replace(RECIPE, rounds=(3, 3), restart=1e-2, check_every=2)
    train.train([corpus], tmp_path / "whole", made)
    save, deaths = train.Training.save, iter((2, 3, 4))
    dies_at = next(deaths)

    def save_and_die(training: train.Training, folder: Path) -> None:
        nonlocal dies_at
        save(training, folder)
        if training.step == dies_at:
            dies_at = next(deaths, 0)
            raise Killed

    monkeypatch.setattr(train.Training, "save", save_and_die)
    for _ in range(3):
        with pytest.raises(Killed):
            train.train([corpus], tmp_path / "killed", made)
    train.train([corpus], tmp_path / "killed", made)
    weights = train.load(tmp_path / "killed")[1].state_dict()
    for key, value in train.load(tmp_path / "whole")[1].state_dict().items():
        torch.testing.assert_close(weights[key], value)


def test_a_killed_training_goes_on_where_it_was(
    corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = train.Training.save

    def save_and_die(training: train.Training, folder: Path) -> None:
        save(training, folder)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(train.Training, "save", save_and_die)
        with pytest.raises(Killed):
            train.train([corpus], tmp_path, RECIPE)
    train.train([corpus], tmp_path, RECIPE)
    made, network = train.load(tmp_path)
    assert made == RECIPE
    with pytest.raises(RecipeError, match="other corpora"):
        train.train([corpus, corpus], tmp_path, RECIPE)
    with pytest.raises(RecipeError, match="another recipe"):
        train.train([corpus], tmp_path, msgspec.structs.replace(RECIPE, seed=2))
    weights = network.state_dict()
    for key, value in train.load(trained)[1].state_dict().items():
        torch.testing.assert_close(weights[key], value)
    assert [line.split(",")[0] for line in (tmp_path / "log.txt").read_text().splitlines()] == ["step 2", "step 4"]


def test_a_training_that_stopped_early_listens_no_more(
    corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = msgspec.structs.replace(RECIPE, patience=1)
    training = train.Training(made)
    training.since = 1
    training.save(tmp_path)
    train.train([corpus], tmp_path, made)
    assert "it stops early" in capsys.readouterr().out
    assert not list(tmp_path.glob("mined*"))
    assert not (tmp_path / "log.txt").exists()


def test_people_who_say_no_word_are_only_listened_to(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = msgspec.structs.replace(RECIPE.sounds, people="mined", spared=0.2, noises=0.1)
    made = msgspec.structs.replace(RECIPE, sounds=made, restart=1e-3)
    with pytest.raises(CorpusError, match="speech without the words"):
        train.train([corpus], tmp_path / "alone", made)
    (tmp_path / "said").mkdir()
    said = write_corpus(tmp_path / "said", WORDS)
    manifest = said / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("CC0", "synthetic"))
    rendered, render = {}, pool.render

    def note(scenes: Scenes, path: Path, *counts: int, **first: int) -> Pool:
        rendered[path.name] = len(scenes.material.speech), scenes.hearing.people, scenes.hearing.noises
        return render(scenes, path, *counts, **first)

    monkeypatch.setattr(pool, "render", note)
    train.train([corpus, said], tmp_path / "both", made)
    assert rendered == {"scenes": (0, False, 0.1), "heard1": (4 + 4, True, 0.1)}
    rendered.clear()
    train.train([said], tmp_path / "nobody", made)
    assert rendered == {"scenes": (0, False, 0.1)}
    assert "nobody to listen to" in capsys.readouterr().out


def test_the_learning_rate_of_rounds() -> None:
    made = msgspec.structs.replace(RECIPE, rounds=(100, 100, 200), warm_up=10, rate=2e-3)
    once = [train.rate(step, made) for step in range(made.steps)]
    assert once == sorted(once[:10]) + sorted(once[10:], reverse=True)
    assert (max(once), once[9]) == (2e-3, 2e-3)
    again = [train.rate(step, msgspec.structs.replace(made, restart=1e-3)) for step in range(made.steps)]
    for first, past, peak in ((0, 100, 2e-3), (100, 200, 1e-3), (200, 400, 1e-3)):
        assert max(again[first:past]) == peak
        assert again[past - 1] < 0.01 * peak
        assert again[first] < 0.2 * peak
    assert [train.decay(step, made) for step in (0, 150, 399)] == [made.average] * 3
    restarted = msgspec.structs.replace(made, restart=1e-3)
    assert [train.decay(step, restarted) for step in (0, 99, 100, 200, 399)] == [0.98, 0.98, 0.98, 0.99, 0.99]


def test_a_round_that_begins_anew_begins_from_the_average() -> None:
    training = train.Training(msgspec.structs.replace(RECIPE, rounds=(9, 9), restart=1e-3))
    frames, targets = torch.randn(2, RECIPE.frames, MELS) * 4 + 8, torch.ones(2, RECIPE.frames, dtype=torch.long)
    for _ in range(3):
        training.advance(frames, targets)
    average = {key: value.clone() for key, value in training.average.module.state_dict().items()}
    assert any((value != average[key]).any() for key, value in training.network.state_dict().items())
    training.restart()
    for key, value in training.network.state_dict().items():
        torch.testing.assert_close(value, average[key])
    training.advance(frames, targets)
    assert {int(state["step"]) for state in training.optimiser.state.values()} == {1}


def test_rounds_that_begin_anew_come_to_the_mean_of_what_they_end_with(tmp_path: Path) -> None:
    made = msgspec.structs.replace(RECIPE, rounds=(2, 2, 3), restart=1e-3)
    training = train.Training(made)
    frames, targets = torch.randn(2, RECIPE.frames, MELS) * 4 + 8, torch.ones(2, RECIPE.frames, dtype=torch.long)
    ends = {}
    for step in range(1, made.steps + 1):
        training.advance(frames, targets)
        ends[step] = {key: value.clone() for key, value in training.average.module.state_dict().items()}
        assert training.result is (training.average if step < 4 else training.settled).module
    train.recipe.write(made, tmp_path / train.RECIPE)
    training.save(tmp_path)
    _, network = train.load(tmp_path)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, (ends[4][key] + ends[7][key]) / 2)
    assert (network.out.weight != ends[7]["out.weight"]).any()


def test_a_word_that_nobody_says_on_dev_is_told_before_anything_is_made(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="dev split says 'left'"):
        train.train([corpus], tmp_path / "out", msgspec.structs.replace(RECIPE, words=("up", "left")))
    assert not (tmp_path / "out").exists()


def test_a_recording_that_is_not_there_is_told_before_anything_is_rendered(corpus: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(corpus, tmp_path / "broken")
    lost = next(r.path for r in read_manifest(broken) if r.split == "dev" and r.says("up"))
    lost.unlink()
    with pytest.raises(CorpusError, match=f"cannot read {lost}"):
        train.train([broken], tmp_path / "out", RECIPE)
    assert not list((tmp_path / "out").glob("scenes*"))


@pytest.mark.parametrize(
    "training", [train.Training(RECIPE), train_speaker.Training(train_speaker.Recipe(), people=2, places=None)]
)
def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(
    training: train.Training | train_speaker.Training, tmp_path: Path
) -> None:
    training.save(tmp_path)
    training.step = 1
    with room_for(1000), pytest.raises(OSError, match=r"cannot write .*checkpoint.pt, .*: File too large"):
        training.save(tmp_path)
    training.restore(tmp_path)
    assert training.step == 0


def test_the_note_of_corpora_is_written_whole_or_not_at_all(corpus: Path, tmp_path: Path) -> None:
    many = [corpus] * 30  # of which the note is longer than the recipe
    with room_for(1500), pytest.raises(OSError, match="File too large"):
        train.train(many, tmp_path, RECIPE)
    assert recipe.read(tmp_path / train.RECIPE) == RECIPE
    assert not (tmp_path / train.HEARD).exists()


@pytest.mark.parametrize(
    ("taught", "named"),
    [
        ({"words": WORDS[::-1]}, "words"),
        ({"window_function": "rectangular"}, "window_function"),
        ({"network": Network(kind="parts")}, "network"),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    corpus: Path, tmp_path: Path, taught: dict[str, object], named: str
) -> None:
    other = msgspec.structs.replace(RECIPE, **taught)
    recipe.write(other, tmp_path / train.RECIPE)
    train.Training(other).save(tmp_path)
    with pytest.raises(RecipeError, match=f"is no teacher: its {named} is"):
        train.train([corpus], tmp_path / "out", RECIPE, tmp_path)
    assert not (tmp_path / "out").exists()


def test_the_exported_model_is_the_trained_one(
    corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "two.onnx"
    assert cli.main(["export", "--corpus", str(corpus), "--from", str(trained), "-o", str(path)]) == 0
    table = capsys.readouterr().out
    model = WakeModel.load(path.with_suffix(".plan"))
    assert (model.words, model.window_function, model.plan.delay) == (WORDS, "hamming", (RECEPTIVE_FIELD - 1,))
    Listener(model, model.thresholds, refractory_s=1.0).push(0, np.ones(3 * SAMPLE_RATE, np.int16))

    frames = np.random.default_rng(0).normal(8, 4, (504, MELS)).astype(np.float32)
    session = onnxruntime.InferenceSession(path)
    (whole,) = session.run(None, {"features": frames[None]})
    network = train.load(trained)[1]
    for found in (posteriors(model.plan, frames), networks.posteriors(network, frames)):
        np.testing.assert_allclose(found[RECEPTIVE_FIELD - 1 :], whole[0, :, 1:], atol=1e-4)

    card = tmp_path / "card.md"
    card.write_text(f"# Two words\n\n{BEGIN}\nyesterday\n{END}\n\nmore\n")
    judged = ["evaluate", "--corpus", str(corpus), "--condition", "clean", "--processes", "1", "--out", str(tmp_path)]
    plan = str(path.with_suffix(".plan"))
    assert cli.main([*judged, "--card", str(card), "--annotate", "--compare", plan, plan]) == 0
    printed = capsys.readouterr().out
    assert table.strip() in printed
    assert "| mean | clean |" in printed
    assert "yesterday" not in card.read_text()
    assert table.strip() in card.read_text()
    assert card.read_text().endswith(f"{END}\n\nmore\n")
    ElementTree.parse(tmp_path / "two.svg")
    assert "two, 0.1 per hour | two_b, 0.1 per hour" in printed
    assert json.loads((tmp_path / "two_b.json").read_text()) == json.loads((tmp_path / "two.json").read_text())
    (up, _) = json.loads((tmp_path / "two.json").read_text())["figures"]
    assert (up["word"], up["condition"], up["takes"]) == ("up", "clean", 2)
    annotated = WakeModel.load(path.with_suffix(".plan"))
    assert [point.threshold for point in annotated.operating_points["up"]][:2] == [0.1, 0.2]
    assert annotated.thresholds == model.thresholds
    cost = annotated.expected("up", annotated.thresholds["up"])
    assert cost is not None
    assert cost.endswith("of clean recordings of people it has not met")
    after = onnxruntime.InferenceSession(path)
    np.testing.assert_array_equal(after.run(None, {"features": frames[None]})[0], whole)
    for senseless in (["--processes", "0"], ["--seed", "-1"]):
        assert cli.main([*judged, *senseless, plan]) == 1
        assert f"{' '.join(senseless)} is too little: at least" in capsys.readouterr().err
    assert cli.main([*judged, "--card", __file__, plan]) == 1
    assert "no place for figures" in capsys.readouterr().err


def test_figures_are_of_what_was_heard(
    corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "two.onnx"
    assert cli.main(["export", "--corpus", str(corpus), "--from", str(trained), "-o", str(path)]) == 0
    capsys.readouterr()
    judged = ["evaluate", "--corpus", str(corpus), "--processes", "1", str(path.with_suffix(".plan")), "--condition"]
    assert cli.main([*judged, "clean", "--condition", "room"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("no recording of the dev split is the response of a room")
    assert "| room |" not in printed
    assert cli.main([*judged, "room"]) == 1
    assert "is the response of a room" in capsys.readouterr().err
    assert cli.main([*judged, "noise 5 dB", "--annotate"]) == 1
    assert "add --condition clean" in capsys.readouterr().err
    assert not WakeModel.load(path.with_suffix(".plan")).operating_points
    synthetic = shutil.copytree(corpus, tmp_path / "synthetic")
    manifest = synthetic / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("CC0", "synthetic"))
    assert cli.main([*judged[:2], str(synthetic), *judged[3:], "clean", "--annotate"]) == 0
    cost = WakeModel.load(path.with_suffix(".plan")).expected("up", 0.5)
    assert cost is not None
    assert cost.endswith("of clean recordings, synthetic voices among them")


def test_a_model_is_whole_where_its_annotation_was_killed(
    corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "two.onnx"
    assert cli.main(["export", "--corpus", str(corpus), "--from", str(trained), "-o", str(path)]) == 0

    def write_half_and_die(model: onnx.ModelProto, file: Path) -> None:
        Path(file).write_bytes(model.SerializeToString()[:1000])
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(onnx, "save", write_half_and_die)
        with pytest.raises(Killed):
            annotate(path, {"note": "one"})
    annotate(path, {"note": "two"})
    assert WakeModel.load(path.with_suffix(".plan")).plan.metadata["note"] == "two"


def test_a_model_that_is_no_better_stays_out(
    corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "two.onnx"
    exported = ["export", "--corpus", str(corpus), "--from", str(trained), "-o", str(path)]
    assert cli.main(exported) == 0
    before = path.with_suffix(".plan").read_bytes()
    assert cli.main([*exported, "--version", "2"]) == 1
    assert "--force exports all the same" in capsys.readouterr().err
    assert path.with_suffix(".plan").read_bytes() == before
    assert cli.main([*exported, "--version", "2", "--force"]) == 0
    assert WakeModel.load(path.with_suffix(".plan")).version == "2"
    path.with_suffix(".plan").write_bytes(Path(MODEL).read_bytes())
    assert cli.main(exported) == 1
    assert "knows other words" in capsys.readouterr().err


def test_a_network_in_integers_hears_the_same(
    corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, heard = tmp_path / "two.onnx", tmp_path / "heard.npz"
    assert cli.main(["export", "--corpus", str(corpus), "--from", str(trained), "-o", str(path)]) == 0
    assert cli.main(["calibrate", "--corpus", str(corpus), "-o", str(heard)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" s of the train split")
    assert compile_main([str(path), "--int8", str(heard), "-o", str(tmp_path / "int8.plan")]) == 0
    exact, whole = (WakeModel.load(file) for file in (path.with_suffix(".plan"), tmp_path / "int8.plan"))
    assert whole.words == exact.words
    frames = np.random.default_rng(0).normal(8, 4, (500, MELS)).astype(np.float32)
    np.testing.assert_allclose(posteriors(whole.plan, frames), posteriors(exact.plan, frames), atol=0.1)


def test_an_empty_corpus_calibrates_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = "file,kind,split,source,label,speaker,duration_s,speech_start_s,speech_end_s,licence,note\n"
    (tmp_path / "manifest.csv").write_text(header)
    assert cli.main(["calibrate", "--corpus", str(tmp_path), "-o", str(tmp_path / "heard.npz")]) == 1
    assert "has no recording of its train split" in capsys.readouterr().err


def test_a_plan_that_differs_from_its_network_is_refused() -> None:
    model = WakeModel.load(MODEL)
    frames = np.random.default_rng(0).normal(8, 4, (1, 400, MELS)).astype(np.float32)
    expected = posteriors(model.plan, frames[0])[model.plan.delay[0] :]
    whole = np.concatenate([1 - expected.sum(axis=1, keepdims=True), expected], axis=1)[None]
    prove(model.plan, frames, whole)
    for wrong in (whole + 2e-4, np.full_like(whole, np.nan)):
        with pytest.raises(ExportError, match="differ"):
            prove(model.plan, frames, wrong)


@pytest.mark.parametrize(
    ("verb", "path", "reason"),
    [
        ("export", "two.plan", "two.plan does not end in .onnx"),
        ("export", "nowhere/two.onnx", "nowhere is no folder; make it first"),
        ("quantise", "two.plan", "two.plan does not end in .int8.plan"),
        ("quantise", "nowhere/two.int8.plan", "nowhere is no folder; make it first"),
    ],
)
def test_where_no_model_can_lie_is_told_at_once(
    verb: str, path: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([verb, "--corpus", "x", "--from", "x", "-o", str(tmp_path / path)]) == 1
    assert reason in capsys.readouterr().err


def test_a_corpus_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    recipe.write(RECIPE, path)
    assert cli.main(["train", "--corpus", str(tmp_path), "--out", str(tmp_path / "out"), str(path)]) == 1
    assert "cannot read" in capsys.readouterr().err
