"""A speaker training small enough for a test: people who hum, told apart, exported and judged."""

import csv
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import lfilter

from daemon.features import SAMPLE_RATE
from daemon.speaker import SpeakerError, SpeakerModel
from models import cli, talkers, train_speaker
from models.card import BEGIN, END
from models.corpus import CorpusError, to_int16
from models.encoders import Ours, Trained
from models.recipe import RecipeError
from models.train_speaker import Recipe
from tests.shipped import MODEL
from tests.test_models import FIELDS

PEOPLE, TAKES = {"train": 6, "dev": 5}, 10
RECIPE = Recipe(utterances=16, steps=4, rooms=1, batch=4, warm_up=1)


def hum(person: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """What a person with a pitch, a formant and a level of their own says."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 90 + 17 * person + 8 * np.sin(2 * np.pi * rng.uniform(1, 3) * time)
    buzz = np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE))
    angle = 2 * np.pi * (500 + 120 * person) / SAMPLE_RATE
    sound = lfilter([1], [1, -2 * 0.97 * np.cos(angle), 0.97**2], buzz)
    return (0.2 + 0.03 * person) * sound / np.abs(sound).max()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rows, rng = tmp_path_factory.mktemp("people"), [], np.random.default_rng(0)

    def add(kind: str, split: str, person: int, seconds: float) -> None:
        file = f"{len(rows)}.wav"
        soundfile.write(folder / file, hum(person, seconds, rng), SAMPLE_RATE)
        rows.append([file, kind, split, "made", "up", f"{split}{person}", seconds, "", "", "", "", "", "CC0", ""])

    for split, count in PEOPLE.items():
        for person in range(count):
            for _ in range(TAKES):
                add("wakeword", split, person + 10 * (split == "dev"), 0.7)
            add("speaker", split, person + 10 * (split == "dev"), 16.5 if split == "dev" else 3)
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    return folder


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_speaker.train([corpus], folder, RECIPE)
    return folder


def test_people_are_followed_by_those_who_are_made_of_them(corpus: Path) -> None:
    recorded = talkers.people([corpus], "train")
    company = talkers.company(recorded, further=True)
    assert len(company) == PEOPLE["train"] * (1 + len(talkers.SPEEDS))
    slow = next(one for one in company if one.name.endswith("4/5"))
    own = next(one for one in company if slow.name.startswith(f"{one.name} "))
    assert len(slow.said[0]) == pytest.approx(len(own.said[0]) * 5 / 4, abs=2)


class ByLevel:
    """An encoder that tells these people apart."""

    name = "by level"

    def embed(self, samples: np.ndarray) -> np.ndarray:
        angle = np.abs(samples).max() / 32768
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


def test_people_who_were_taken_for_one_are_told_apart(corpus: Path) -> None:
    recorded = talkers.people([corpus], "train")
    first, second, *_ = recorded.values()
    told = talkers.apart({"pv1": [*first, *second], "one": first}, ByLevel())
    assert set(told["one"]) == set(first)
    assert sorted(name for name in told if name != "one") == ["pv1.0", "pv1.1"]


def test_a_training_on_some_people_hears_the_utterances_of_the_whole(corpus: Path, trained: Path) -> None:
    train_speaker.train([corpus], trained, msgspec.structs.replace(RECIPE, share=0.5))
    made, network = train_speaker.load(trained / "share_0.5")
    assert made.share == 0.5
    assert not (trained / "share_0.5" / "utterances.frames").exists()
    people = talkers.people([corpus], "train")
    assert len(talkers.first(people, made.share)) == PEOPLE["train"] // 2
    weights = train_speaker.load(trained)[1].state_dict()
    assert any((value != weights[key]).any() for key, value in network.state_dict().items())


def test_a_killed_training_goes_on_where_it_was(
    corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = train_speaker.Training.advance

    def advance_and_die(training: train_speaker.Training, *batch: torch.Tensor) -> float:
        if training.step == 2:
            training.save(tmp_path)
            raise KeyboardInterrupt
        return advance(training, *batch)

    with monkeypatch.context() as patched:
        patched.setattr(train_speaker.Training, "advance", advance_and_die)
        with pytest.raises(KeyboardInterrupt):
            train_speaker.train([corpus], tmp_path, RECIPE)
    train_speaker.train([corpus], tmp_path, RECIPE)
    weights = train_speaker.load(tmp_path)[1].state_dict()
    for key, value in train_speaker.load(trained)[1].state_dict().items():
        torch.testing.assert_close(weights[key], value)
    with pytest.raises(RecipeError, match="another recipe"):
        train_speaker.train([corpus], tmp_path, msgspec.structs.replace(RECIPE, seed=2))


def test_the_exported_model_is_the_trained_one_and_is_judged(
    corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "voice.onnx"
    assert cli.main(["export-speaker", "--corpus", str(corpus), "--from", str(trained), "-o", str(path)]) == 0
    model = SpeakerModel.load(path.with_suffix(".plan"))
    network = train_speaker.load(trained)[1]
    assert network.parameters_in_all <= 250_000
    sound = to_int16(hum(1, 2.03, np.random.default_rng(1)))
    pulses = (len(sound) - 240) // 160 % model.plan.pulse * 160  # what fills no pulse is left out
    np.testing.assert_allclose(Ours(model).embed(sound), Trained(network, "").embed(sound[pulses:]), atol=2e-3)
    card = tmp_path / "card.md"
    card.write_text(f"{BEGIN}\n{END}\n")
    judged = ["evaluate-speakers", "--corpus", str(corpus), "--out", str(tmp_path / "out"), "--card", str(card)]
    assert cli.main([*judged, str(model.path)]) == 0
    told = json.loads((tmp_path / "out" / "speakers.json").read_text())
    figures = told[0]["verification"]["wake word, clean"]
    assert figures["people"] == PEOPLE["dev"]
    assert 0 <= figures["eer"] <= 1
    assert told[0]["household"]["wake word, clean"]["strangers"] > 0
    assert "| wake word | reverberant |" in card.read_text()
    assert (tmp_path / "out" / "speakers_free_4_s.svg").exists()


def test_what_cannot_be_used_is_one_line(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate-speakers", "--corpus", str(corpus), str(tmp_path / "none.plan")]) == 1
    assert "cannot use the speaker model" in capsys.readouterr().err
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(",".join(FIELDS) + "\n")
    with pytest.raises(CorpusError, match="says of 0 people who they are"):
        talkers.people([tmp_path], "train")
    with pytest.raises(SpeakerError, match="is no speaker model"):
        SpeakerModel.load(MODEL)


@pytest.mark.parametrize(
    ("verb", "senseless", "told"),
    [
        ("train-speaker", "--steps 0", "--steps 0 is too little: at least 1"),
        ("train-speaker", "--utterances -1", "--utterances -1 is too little: at least 1"),
        ("train-speaker", "--threads 0", "--threads 0 is too little: at least 1"),
        ("train-speaker", "--share nan", "--share nan is no share of the people"),
        ("evaluate-speakers", "--seed -1", "--seed -1 is too little: at least 0"),
    ],
)
def test_senseless_numbers_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, senseless: str, told: str
) -> None:
    out = tmp_path / "out"
    assert cli.main([verb, "--corpus", str(tmp_path), "--out", str(out), *senseless.split()]) == 1
    assert told in capsys.readouterr().err
    assert not out.exists()
