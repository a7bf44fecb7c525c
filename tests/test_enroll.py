"""Somebody is enrolled, named in what the satellite says, and forgotten: as an owner does it."""

import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daemon import cli
from daemon.afar import Afar, Booth
from daemon.config import SpeakersConfig
from daemon.features import SAMPLE_RATE
from daemon.people import People, wav
from daemon.recogniser import recogniser
from daemon.recording import read
from daemon.speaker import SpeakerError
from daemon.takes import Examiner
from tests.mosquitto import Mosquitto, Subscriber
from tests.shipped import DEMO as DEMO_WAV
from tests.shipped import MODEL, model, sound, speaker_model, word_end
from tests.test_satellite import mqtt, of_file, satellite

WORD = "computer"  # which the same voice says that says "snowboy"; another one says "jarvis"
TAKES = 5


def takes(folder: Path) -> list[str]:
    """The shipped word, with other noise and at other levels, as files."""
    paths = []
    for number in range(TAKES):
        rng = np.random.default_rng(number)
        cut = sound()[word_end() - 2 * SAMPLE_RATE : word_end() + SAMPLE_RATE // 2].astype(float)
        noisy = (0.4 + 0.2 * number) * cut + rng.normal(0, 20, len(cut))
        path = folder / f"take{number}.wav"
        path.write_bytes(wav(noisy.astype(np.int16)))
        paths.append(str(path))
    return paths


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and one person, ana."""
    folder = tmp_path_factory.mktemp("home")
    config = folder / "satellite.yaml"
    config.write_text(f"wake: {{model: {MODEL}}}\nspeakers: {{folder: people}}\n")
    assert cli.main(["enroll", "ana", "--config", str(config), "--word", WORD, "--from", *takes(folder)]) == 0
    return folder


def run(home: Path, *arguments: str) -> int:
    return cli.main([arguments[0], "--config", str(home / "satellite.yaml"), *arguments[1:]])


def test_enrolment_tells_how_far_it_is_and_what_it_is_worth(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.wav"
    wrong.write_bytes(wav(sound()[: 3 * SAMPLE_RATE]))
    again = ["--word", WORD, "--keep-audio", "--from", str(wrong), str(tmp_path / "none.wav"), *takes(tmp_path)]
    assert run(home, "enroll", "eva", *again) == 0
    told = capsys.readouterr().out
    assert f"wrong.wav: refused, not the word: '{WORD}' was not heard" in told
    assert "none.wav cannot be read" in told
    assert [int(n) for n in re.findall(rf"good, (\d) of {TAKES}", told)] == [1, 2, 3, 4, 5]
    assert f"leave-one-out: {TAKES} of {TAKES} takes are recognised" in told
    assert "sounds much like ana" in told  # it is the same voice
    assert run(home, "forget", "eva") == 0
    assert capsys.readouterr().out.count("removed") == 2
    assert len(list((home / "people").iterdir())) == 1


def test_who_is_enrolled_is_listed_and_identified(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "speakers") == 0
    assert capsys.readouterr().out == f"ana: {TAKES} takes of {WORD}\n"
    mine, other = tmp_path / "mine.wav", tmp_path / "other.wav"
    mine.write_bytes(wav(sound()[word_end() - SAMPLE_RATE : word_end()]))
    demo = read(DEMO_WAV)
    other.write_bytes(wav(demo[9 * SAMPLE_RATE : 14 * SAMPLE_RATE]))
    assert run(home, "identify", "--json", str(mine), str(other)) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["speakerHypotheses"][0]["name"] == "ana"
    assert second["speakerHypotheses"][0]["name"] is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("forget", "nobody"), "nobody named 'nobody' is enrolled"),
        (("identify", "none.wav"), "none.wav cannot be read"),
        (("enroll", "eva", "--from", "none.wav"), "eva is not enrolled: 0 good takes"),
        (("enroll", "", "--from", "none.wav"), "not enrolled"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], reason: str
) -> None:
    assert run(home, *arguments) == cli.FAILED
    assert reason in capsys.readouterr().err.splitlines()[-1]


def test_a_word_that_is_not_listened_for_cannot_be_enrolled(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "enroll", "eva", "--word", "tree", "--from", "a.wav") == cli.MISCONFIGURED
    assert "the words are alexa, computer" in capsys.readouterr().err


def test_the_event_names_who_spoke_and_is_refined(home: Path, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as seen:
        config = f"{mqtt(broker.port)}{of_file(DEMO_WAV)}site_id: room\nspeakers: {{folder: {home / 'people'}}}\n"
        with satellite(tmp_path, config) as process:
            _, logged = process.communicate(timeout=120)
        assert "knows the voices of ana" in logged
        said = {message.topic: json.loads(message.payload) for message in seen.drain() if "detected" in message.topic}
    mine, other = said[f"hermes/hotword/{WORD}/detected"], said["hermes/hotword/jarvis/detected"]
    assert mine["customEntities"] == {"speaker": "ana"}
    assert [one["name"] for one in mine["speakerHypotheses"]] == ["ana", None]
    assert other["customEntities"] is None
    assert [one["name"] for one in other["speakerHypotheses"]] == [None, "ana"]
    refined = [json.loads(message.payload) for message in seen.seen if message.topic == "wakepulse/room/speaker"]
    first = next(one for one in refined if one["modelId"] == WORD)
    assert first["detectionSignalMs"] == mine["detectionSignalMs"]
    assert first["speaker"] == "ana"


def test_the_speaker_model_is_loaded_for_somebody_alone(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = SpeakersConfig(model=tmp_path / "none.plan", folder=tmp_path / "nobody")
    nobody = recogniser(config, model().window_function)
    assert nobody is not None
    assert nobody.names == set()
    with pytest.raises(SpeakerError, match=r"none\.plan"):
        nobody.know(People(home / "people"))
    assert recogniser(msgspec.structs.replace(config, folder=home / "people"), model().window_function) is None
    assert "nobody will be named" in caplog.text


@pytest.mark.parametrize(("strangers", "heard"), [("ignore", []), ("mark", ["jarvis"])])
def test_a_stranger_is_ignored_or_marked(home: Path, tmp_path: Path, strangers: str, heard: list[str]) -> None:
    words = f"{{{WORD}: {{speakers: [ana]}}, jarvis: {{speakers: [ana], strangers: {strangers}}}}}"
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "hermes/hotword/+/detected") as seen:
        config = f"{mqtt(broker.port)}{of_file(DEMO_WAV)}speakers: {{folder: {home / 'people'}}}\n"
        path = tmp_path / "short.wav"
        path.write_bytes(wav(read(DEMO_WAV)[: 18 * SAMPLE_RATE]))
        with satellite(tmp_path, config.replace(str(DEMO_WAV), str(path)), wake=f"words: {words}") as process:
            process.communicate(timeout=120)
        said = [json.loads(message.payload) for message in seen.drain()]
    assert [one["modelId"] for one in said] == [WORD, *heard]
    assert ["speakerAllowed" in one for one in said] == [False, *(True for _ in heard)]


def test_takes_that_were_asked_for_from_afar_make_somebody_known(tmp_path: Path) -> None:
    people, told, known = People(tmp_path / "people"), [], []
    examiner = Examiner(speaker_model(), model(), model().thresholds, WORD)
    afar = Afar(Booth(examiner, speaker_model(), people), known=lambda: known.append(True), say=told.append)
    for path in takes(tmp_path):
        assert not known
        afar.take("ana", read(Path(path)))
    assert known == [True]
    assert [line.rpartition(": ")[2] for line in told] == [
        f"good, {number} of {TAKES}" for number in range(1, TAKES + 1)
    ]
    assert [person.name for person in people.read(speaker_model())] == ["ana"]
