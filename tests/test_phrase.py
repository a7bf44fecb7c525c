"""From typed text to a model that a satellite takes, with a network small enough for a test."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from daemon.config import SHIPPED_MODELS
from daemon.features import SAMPLE_RATE
from daemon.listener import Listener
from daemon.model import WakeModel
from models import cli, delivery, phrase, recipe, train
from models.corpus import CorpusError, read_manifest, to_int16
from models.demo import say
from models.engines import ENGINES
from models.phrase import Wish
from models.recipe import RecipeError
from models.script import Wanted, write
from models.voices import Utterance, flite_voices

TINY = """
network: {gate: 4, dilations: [1, 2, 4]}
sounds: {scenes: 4, voices: 0, rooms: 2, made: 0.9, mined: 3, kept: 2}
rounds: [2, 2]
batch: 2
frames: 300
warm_up: 1
check_every: 2
"""
LONG = (  # each as long as may be, and together longer than a file's name
    "wonderful television in the dining room",
    "remember my grandmother next december",
    "complicated umbrella under the blue sky",
    "please activate the garden sprinklers",
    "seventeen yellow submarines go fishing",
    "thunder and lightning over the harbour",
    "chocolate pudding for everybody tonight",
)
VOICES = ("slt", "rms", "awb", "kal16")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def record(folder: Path, *voices: str, text: str = "hey alexa") -> Path:
    folder.mkdir(parents=True)
    for voice in voices:
        soundfile.write(folder / f"{voice}.wav", say(text, engine="flite", voice=voice), SAMPLE_RATE)
    return folder


def test_from_text_to_a_model(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phrase, "NEAR_PHRASES", 3)  # each takes a moment to say
    out, mine, wrong = tmp_path / "out", record(tmp_path / "mine", *VOICES), tmp_path / "wrong"
    record(wrong, "slt", text="a lexus")
    (mine / "broken.wav").touch()
    command = ["train", "--phrase", "Hey  Alexa", "--out", str(out), "--takes", "24", str(tiny)]
    command += ["--recordings", str(mine), "--false-wakes", str(wrong)]
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{phrase.WITHOUT_KOKORO}\nat most ")
    assert f"{mine / 'broken.wav'}: unreadable: is empty\n4 of your takes are used, and 1 false wakes\n" in told
    assert "of your own takes of hey_alexa, clean: " in told
    assert told.endswith(f"in the satellite's configuration:\n\nwake:\n  model: {out / 'hey_alexa.plan'}\n")
    model = WakeModel.load(out / "hey_alexa.plan")
    assert model.words == ("hey_alexa",)
    assert model.expected("hey_alexa", model.thresholds["hey_alexa"])
    assert {row.label for row in read_manifest(out / "synthetic")} >= {"hey_alexa", "sentence"}

    corpora = [out / "own", out / "synthetic"]
    near = {recording for recording in delivery.heard(corpora, unseen=True) if recording.near}
    judged = {recording for session in delivery.sessions(corpora, unseen=True)[0] for recording in session.recordings}
    assert near and judged and not near & judged

    again = [path.stat().st_mtime_ns for path in (out / "training" / train.CHECKPOINT, out / "own" / "manifest.csv")]
    assert cli.main(command) == 0
    table = told.partition("| word")[2]
    assert capsys.readouterr().out.partition("| word")[2] == table
    assert again == [p.stat().st_mtime_ns for p in (out / "training" / train.CHECKPOINT, out / "own" / "manifest.csv")]

    (mine / ".DS_Store").write_text("of the file manager's")
    (mine / "note.txt").write_text("recorded in the kitchen")
    command[command.index(str(mine))] = str(shutil.copytree(mine, tmp_path / "copy", copy_function=shutil.copyfile))
    assert cli.main(command) == 0
    mine = tmp_path / "copy"

    record(mine / "anna", "slt", text="hey, alexa")
    assert cli.main(command) == 1
    assert "was trained with other recordings; remove that folder" in capsys.readouterr().err


def test_what_speaks_against_a_phrase_is_said_before_anything_is_made(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the recordings are missing, which ends it."""
    out, missing = tmp_path / "out", tmp_path / "nowhere"
    assert cli.main(["train", "--phrase", "hey", "--out", str(out), "--recordings", str(missing), str(tiny)]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("warning: 'hey' is short")
    assert phrase.WITHOUT_KOKORO in told.out
    assert f"{missing} is no folder of recordings" in told.err
    assert not (out / "synthetic").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--phrase", "Grüezi"], "is no phrase"),
        (["--phrase", "hello kitchen", "--takes", "0"], "--takes 0 is not between 20 and 100000"),
        ([part for text in LONG for part in ("--phrase", text)], "is too long a name for a file"),
        (["--phrase", "hello kitchen", "--corpus", "nowhere"], "cannot read nowhere"),
        (["--phrase", "hello kitchen", "--teacher", "x"], "--teacher does not go with --phrase"),
        (["--phrase", "hello kitchen", "six_words"], "has words of its own"),
        (["--recordings", "x", "six_words"], "go with --phrase"),
        (["six_words"], "what is to be trained?"),
        (["--corpus", "x", "phrase"], "words"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "--out", str(tmp_path / "out"), *arguments]) == 1
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out" / "synthetic").exists()


def test_takes_of_several_phrases_lie_in_folders_of_their_names(tmp_path: Path) -> None:
    wish = Wish(("hello kitchen", "good night"), tmp_path / "out", recordings=tmp_path)
    assert wish.model == tmp_path / "out" / "hello_kitchen-good_night.onnx"
    with pytest.raises(CorpusError, match="has no folder hello_kitchen or good_night"):
        wish.takes_of  # noqa: B018
    (tmp_path / "good_night").mkdir()
    assert wish.takes_of == {"good_night": tmp_path / "good_night"}
    assert Wish(("hello kitchen",), tmp_path, recordings=tmp_path).takes_of == {"hello_kitchen": tmp_path}


def test_time_and_disk_are_told_and_too_small_a_disk_is_refused(tiny: Path, tmp_path: Path) -> None:
    made = recipe.read(tiny, ("hello_kitchen",))
    wish = Wish(("hello kitchen",), tmp_path)
    told = phrase.forecast(wish, made)
    takes = write(Wanted(wish.phrases, wish.takes, phrase.NEAR_PHRASES, made.seed), {"flite": flite_voices()})
    assert len(takes) <= int(told.partition(" clips")[0].split()[-1])
    assert "7 scenes" in told
    assert "4 steps" in told
    huge = msgspec.structs.replace(made, sounds=recipe.Sounds(scenes=10_000_000))
    with pytest.raises(RecipeError, match="GB left, and this takes 9"):
        phrase.forecast(wish, huge)


def test_the_shipped_phrase_is_heard_in_a_voice_of_each_engine_and_another_is_not() -> None:
    model = WakeModel.load(SHIPPED_MODELS / "hey_snips.plan")
    for name in ("espeak-ng", "festival", "flite"):
        voice = ENGINES[name].voices()[0]
        said = ENGINES[name].speak([Utterance(text, voice, 0.8) for text in ("hey snips", "what time is it")])
        for spoken, wanted in zip(said, (["hey_snips"], []), strict=True):
            samples = np.pad(to_int16(spoken.audio * 0.5), (3 * SAMPLE_RATE, SAMPLE_RATE))
            found = Listener(model, model.thresholds, refractory_s=1.0).push(0, samples)
            assert [detection.word for detection in found] == wanted, name
