"""A corpus from typed phrases: readable as the recordings are, the same again, and gone on with where it was killed."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.features import SAMPLE_RATE
from models import recipe
from models.cli import main
from models.confusables import sounds_like
from models.corpus import read_audio, read_manifest
from models.recipe import Recipe
from models.script import Wanted, label, write
from models.synthesize import JOURNAL, MANIFEST, report, synthesize
from models.takes import Row
from models.voices import flite_voices

WANTED = Wanted(("view glass",), takes=8, near=12, seed=3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    synthesize(WANTED, folder, jobs=2)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / MANIFEST).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_corpus_is_read_as_recordings_are(corpus: Path) -> None:
    recordings = read_manifest(corpus)
    assert {recording.kind for recording in recordings} == {"wakeword", "speech"}
    labels = Counter(recording.label.split(":")[0] for recording in recordings)
    assert labels["view_glass"] >= 7
    assert labels["confusable"] >= 10
    assert labels["sentence"] >= 7
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
        parts = json.loads(row["parts"])
        ends = [end for _, end in parts]
        assert ends == sorted(ends)
        assert float(row["speech_start_s"]) < ends[0]
        assert ends[-1] == pytest.approx(float(row["speech_end_s"]), abs=2e-4)
        if row["kind"] == "wakeword":
            assert [name for name, _ in parts] == ["V", "Y", "UW", "G", "L", "AE", "S"]


def test_the_same_again_even_after_a_kill(corpus: Path, tmp_path: Path) -> None:
    """All of the journal is lost but its first line and the middle of the last one, and most clips with it."""
    shutil.copytree(corpus, tmp_path, dirs_exist_ok=True)
    first, *_, last = (tmp_path / JOURNAL).read_text().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_text(first + last[:100])
    (tmp_path / MANIFEST).unlink()
    kept = {entry["file"] for entry in json.loads(first)["rows"]}
    for row in rows(corpus):
        if row["file"] not in kept:
            (tmp_path / row["file"]).unlink()
    synthesize(WANTED, tmp_path, jobs=1)
    assert (tmp_path / MANIFEST).read_text() == (corpus / MANIFEST).read_text()
    for row in rows(corpus):
        assert (tmp_path / row["file"]).read_bytes() == (corpus / row["file"]).read_bytes()


def test_two_corpora_are_not_mixed(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synthesize", "--phrase", "hey snips", "--out", str(corpus)]) == 1
    assert "take another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--phrase", " "], "a phrase is empty"),
        (["--phrase", "smart_mirror"], "'smart_mirror' is not letters with single spaces"),
        (["--phrase", "channel 4"], "spell out"),
        (["--phrase", "one two three four five six seven"], "too long; at most 6 words"),
        (["--phrase", "a" * 41], "too long"),
        (["--phrase", "view glass", "--phrase", "View  Glass"], "'View Glass' is given twice"),
        (["--phrase", "view glass", "--takes", "0"], "--takes 0 is too little: at least 1"),
        (["--phrase", "view glass", "--jobs", "0"], "--jobs 0 is too little: at least 1"),
        (["--phrase", "view glass", "--seed", "-1"], "--seed -1 is too little: at least 0"),
    ],
)
def test_what_cannot_be_made_is_named(
    options: list[str], wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["synthesize", *options, "--out", str(tmp_path / "corpus")]) == 1
    error = capsys.readouterr().err
    assert wrong in error
    assert error.count("\n") == 1
    assert not (tmp_path / "corpus").exists()


def test_what_is_near_to_one_phrase_is_none_of_the_others() -> None:
    takes = write(Wanted(("computer", "commuter"), takes=1), {"flite": flite_voices()})
    near = [take.text for take in takes if take.label.startswith("confusable:")]
    assert len(near) > 50
    assert not [text for text in near if sounds_like("commuter", text)]


def test_a_phrase_with_an_apostrophe_is_a_word_of_a_recipe(tmp_path: Path) -> None:
    recipe.write(Recipe(words=(label("What's up"),)), tmp_path / "recipe.yaml")
    assert recipe.read(tmp_path / "recipe.yaml").words == ("whats_up",)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.cli", "synthesize", "--phrase", "view glass", "--takes", "2"]
    most = 20_000  # bytes of a file: more than the settings have, and less than a clip

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    done = subprocess.run(
        [*command, "--out", str(tmp_path)], preexec_fn=limit, stderr=subprocess.PIPE, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("Is the disk full?")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "manifest.csv").exists()


def children(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def test_a_process_that_is_killed_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "models.cli", "synthesize", "--phrase", "view glass", "--takes", "500"]
    command += ["--jobs", "2", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout
        try:
            assert any("clips to make" in line for line in run.stdout)
            speakers: list[int] = []
            while len(speakers) < 2 and run.poll() is None:  # children of the server of forks, which is a child
                speakers = max(map(children, children(run.pid)), key=len, default=[])
            os.kill(speakers[0], signal.SIGKILL)
            _, told = run.communicate(timeout=120)
        finally:
            run.kill()
    assert run.returncode == 1
    assert told.splitlines()[-1].startswith("wakepulse-train: one of 2 processes that speak was killed")
    assert "Traceback" not in told


WAITING = """
import os, signal
from multiprocessing import active_children
from models.workers import processes

pool = processes(1, tasks_of_each=1)
first = pool.submit(os.getpid).result()
while {child.pid for child in active_children()} <= {first}:
    pass  # until another one waits for what it is to say
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_is_killed_leaves_no_process() -> None:
    """Each would hold the output open."""
    done = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL


def test_the_report_counts_what_was_kept_and_why_the_rest_was_not() -> None:
    row = Row(0, *[""] * 4, "view_glass", "a", 1800.0, 0.0, 0.0, "", 0.0, 0.0, *[""] * 7, 1.0, "")
    rows = [row, replace(row, label="confusable:new glass", speaker="b"), replace(row, fault="clipped")]
    assert report(rows).splitlines() == [
        "2 clips, 1.00 hours, 2 voices",
        "       1 confusable",
        "       1 view_glass",
        "       1 dropped: clipped",
    ]
