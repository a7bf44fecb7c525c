"""A corpus from typed phrases: readable as the recordings are, the same again, and gone on with where it was killed."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from daemon.features import SAMPLE_RATE
from models.cli import main
from models.corpus import Recording, read_audio, read_manifest
from models.synthesize import JOURNAL, MANIFEST, Wanted, synthesize

WANTED = Wanted(("view glass",), takes=8, seed=3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    synthesize(WANTED, folder, jobs=2)
    return folder


def takes(folder: Path) -> list[Recording]:
    return [recording for recording in read_manifest(folder) if recording.says("view_glass")]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / MANIFEST).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_corpus_is_read_as_recordings_are(corpus: Path) -> None:
    recordings = read_manifest(corpus)
    assert len(takes(corpus)) >= 7
    assert {recording.kind for recording in recordings} == {"wakeword", "speech"}
    labels = {recording.label for recording in recordings}
    assert {"view_glass", "sentence", "confusable:new glass", "confusable:glass view"} <= labels
    for recording in recordings:
        audio = read_audio(recording)
        assert len(audio) == pytest.approx(recording.duration_s * SAMPLE_RATE, abs=10)
        assert 0 < np.abs(audio).max() < 1


def test_nobody_is_in_both_splits(corpus: Path) -> None:
    splits: dict[str, set[str]] = {}
    for recording in read_manifest(corpus):
        splits.setdefault(recording.speaker, set()).add(recording.split)
    assert all(len(some) == 1 for some in splits.values())


def test_speech_lies_between_its_start_and_end(corpus: Path) -> None:
    for recording in read_manifest(corpus):
        audio = read_audio(recording)
        first, past = (round(at * SAMPLE_RATE) for at in (recording.start_s, recording.end_s))
        inside, edge = audio[first:past], SAMPLE_RATE // 50
        loud = np.sqrt(np.mean(inside**2))
        if "before=" not in recording.note:
            assert np.sqrt(np.mean(audio[: first - edge] ** 2)) < loud / 20
            assert np.sqrt(np.mean(audio[past + edge :] ** 2)) < loud / 20


def test_phonemes_lie_within_the_phrase(corpus: Path) -> None:
    for row in rows(corpus):
        ends = [end for _, end in json.loads(row["parts"])]
        assert ends == sorted(ends)
        assert float(row["speech_start_s"]) < ends[0]
        assert ends[-1] == pytest.approx(float(row["speech_end_s"]), abs=0.12)


def test_the_same_again_even_after_a_kill(corpus: Path, tmp_path: Path) -> None:
    """The second half of the journal is lost, the last line in its middle."""
    synthesize(WANTED, tmp_path, jobs=1)
    lines = (tmp_path / JOURNAL).read_text().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_text("".join(lines[: len(lines) // 2]) + lines[-1][:100])
    (tmp_path / MANIFEST).unlink()
    synthesize(WANTED, tmp_path, jobs=2)
    assert (tmp_path / MANIFEST).read_text() == (corpus / MANIFEST).read_text()
    for row in rows(corpus):
        assert (tmp_path / row["file"]).read_bytes() == (corpus / row["file"]).read_bytes()


def test_two_corpora_are_not_mixed(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synthesize", "--phrase", "hey snips", "--out", str(corpus)]) == 1
    assert "take another folder" in capsys.readouterr().err
