"""The shipped model on real speakers whom it has not met, by `wakepulse detect`; where the recordings are."""

import json
import math
from collections import Counter

import pytest

from daemon import cli
from models.corpus import Recording, read_manifest, select
from tests.shipped import CORPUS

PER_WORD = 15
WORDS = ("alexa", "computer", "jarvis", "smart_mirror", "snowboy", "view_glass")
HIT_S = 0.5

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the recordings are not part of the repository")


def dev(kind: str) -> list[Recording]:
    return select(read_manifest(CORPUS), "dev", {kind}, shippable=False)


def detect(recordings: list[Recording], capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict]]:
    """The detections in each file."""
    assert cli.main(["detect", "--json", *(str(r.path) for r in recordings)]) == 0
    found: dict[str, list[dict]] = {str(r.path): [] for r in recordings}
    for line in capsys.readouterr().out.splitlines():
        found[json.loads(line)["file"]].append(json.loads(line))
    return found


def test_words_are_found_where_they_end(capsys: pytest.CaptureFixture[str]) -> None:
    recordings = [r for word in WORDS for r in [r for r in dev("wakeword") if r.label == word][::3][:PER_WORD]]
    found = detect(recordings, capsys)
    hits = Counter(
        r.label
        for r in recordings
        if any(d["word"] == r.label and r.start_s < d["time_s"] < r.end_s + HIT_S for d in found[str(r.path)])
    )
    wrong = sum(d["word"] != r.label for r in recordings for d in found[str(r.path)])
    asked = Counter(r.label for r in recordings)
    assert all(hits[word] >= 0.7 * asked[word] for word in WORDS), hits
    assert hits.total() >= 0.85 * asked.total()
    assert wrong <= 1


def test_other_speech_is_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    speech = [r for r in dev("speech") if "has_computer=1" not in r.note]
    alarms = Counter(d["word"] for found in detect(speech, capsys).values() for d in found)
    hours = sum(r.duration_s for r in speech) / 3600
    assert max(alarms.values(), default=0) <= math.ceil(hours), alarms  # one per word and hour
