"""The network of word parts: trained on tones for some seconds, it goes all the way to the satellite."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from daemon import cli as satellite
from daemon.detector import Detection
from daemon.features import FRAMES_PER_SECOND, HOP, SAMPLE_RATE, WINDOW, LogMel
from daemon.listener import Listener
from daemon.model import WakeModel
from models import cli, hearing
from models.augment import IGNORED, SCENE_FRAMES, SCENE_SAMPLES
from models.corpus import to_int16
from models.export import export, metadata
from models.parts import EDGE_FRAMES, LATE_FRAMES, PARTS, RECEPTIVE_FIELD, PartNetwork, classes, part_targets
from models.recipe import Recipe
from tests.shipped import MODEL
from tests.shipped import model as shipped
from tests.test_models import FIELDS

WORDS = ("alexa", "computer")  # here each is three tones
TONES_HZ = {"alexa": (500, 900, 1500), "computer": (3000, 2200, 1100)}
TONE_S = 0.2
PAUSE_S = 2.5
HISS = 0.003  # root mean square
STRETCH = 300  # frames of a scene that one step trains on
THRESHOLDS = {"alexa": 0.7, "computer": 0.7}


def tones(*pitches_hz: float, seconds: float = TONE_S, level: float = 0.1) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.concatenate([level * np.sin(2 * np.pi * hz * time) for hz in pitches_hz])


def hiss(samples: int, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=samples) * HISS


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Frames and targets of words here and there, and of their parts in any order."""
    sound, marks, position = hiss(SCENE_SAMPLES, rng), [], SAMPLE_RATE // 2
    while position < SCENE_SAMPLES - SAMPLE_RATE:
        word = int(rng.integers(len(WORDS)))
        seconds = rng.uniform(0.8, 1.2) * TONE_S
        in_order = rng.random() < 0.5
        parts = range(PARTS.count) if in_order else rng.permutation(PARTS.count)
        pitches = [TONES_HZ[WORDS[word]][part] for part in parts]
        said = tones(*pitches, seconds=seconds, level=10 ** rng.uniform(-1.5, -0.5))
        sound[position : position + len(said)] += said
        edges = [position + round(at * seconds * SAMPLE_RATE) for at in range(PARTS.count + 1)]
        if in_order:
            marks.append((word + 1, position, edges[1:]))
        else:  # each part for itself is a class of its own
            ends = zip(parts, itertools.pairwise(edges), strict=True)
            marks += [(1 + word * PARTS.count + part, first, [past]) for part, (first, past) in ends]
        position += len(said) + int(rng.uniform(0.3, 1.0) * SAMPLE_RATE)
    return LogMel("hamming").push(to_int16(sound)), part_targets(marks)


def train() -> PartNetwork:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    frames, targets = (torch.from_numpy(np.stack(both)) for both in zip(*(scene(rng) for _ in range(6)), strict=True))
    network = PartNetwork(classes(len(WORDS)))
    network.normalise(frames.flatten(0, 1))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(20):
        first = 97 * step % (SCENE_FRAMES - STRETCH)
        logits = network(frames[:, first : first + STRETCH])
        wanted = targets[:, first + network.receptive_field - 1 : first + STRETCH].long()
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained, exported, and proven to stream as it is."""
    path = tmp_path_factory.mktemp("parts") / "classes.onnx"
    about = metadata(Recipe(words=WORDS), THRESHOLDS, onset_to_end=1, version="1", parts=PARTS)
    export(train(), path, about)
    return path.with_suffix(".plan")


def stream(*spoken: tuple[float, ...]) -> np.ndarray:
    """Tones, with more than a window before each and behind it."""
    rng = np.random.default_rng(1)
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE))
    sound = np.concatenate([pause, *(np.append(tones(*pitches), pause) for pitches in spoken)])
    return to_int16(sound + hiss(len(sound), rng))


ALEXA, COMPUTER = (TONES_HZ[word] for word in WORDS)
SPOKEN = stream(ALEXA, ALEXA[::-1], COMPUTER, COMPUTER[::-1], ALEXA[:2], COMPUTER[1:])
ENDS = [round((1 + at) * (PAUSE_S + 3 * TONE_S) * SAMPLE_RATE) for at in (0, 2)]


def heard(model: WakeModel, cuts: list[int]) -> list[Detection]:
    listener = Listener(model, model.thresholds, refractory_s=1.0)
    edges = [0, *cuts, len(SPOKEN)]
    return [d for first, past in itertools.pairwise(edges) for d in listener.push(first, SPOKEN[first:past])]


def test_the_satellite_hears_words_whose_parts_are_in_order(plan: Path) -> None:
    model = WakeModel.load(plan)
    assert (model.words, model.parts, model.smoothing) == (WORDS, PARTS, 1)
    found = heard(model, [])
    assert [d.word for d in found] == list(WORDS)
    for detection, end in zip(found, ENDS, strict=True):
        assert abs(detection.end_sample - end) < 0.2 * SAMPLE_RATE
        assert 0.7 <= detection.score <= 1.0001
    cuts = sorted(np.random.default_rng(2).integers(0, len(SPOKEN), 100).tolist())
    assert heard(model, cuts) == found


def test_a_gap_starts_the_word_afresh(plan: Path) -> None:
    model = WakeModel.load(plan)
    listener = Listener(model, model.thresholds, refractory_s=1.0)
    torn = ENDS[0] - round(TONE_S * SAMPLE_RATE)
    assert listener.push(0, SPOKEN[:torn]) == []
    assert listener.push(torn + 1, SPOKEN[torn + 1 : ENDS[0] + SAMPLE_RATE // 2]) == []
    assert [d.word for d in listener.push(10**9, SPOKEN)] == list(WORDS)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6, 0.9])
def test_sweeping_gives_what_the_satellite_gives(plan: Path, threshold: float) -> None:
    model = WakeModel.load(plan)
    decided = hearing.decide(hearing.scores(model, SPOKEN), [threshold] * len(WORDS))
    one = Listener(model, dict.fromkeys(WORDS, threshold), refractory_s=1.0)
    assert [(frame * HOP + WINDOW, WORDS[word]) for frame, word in decided] == [
        (d.sample, d.word) for d in one.push(0, SPOKEN)
    ]


def test_the_command_detects_them(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "spoken.wav", SPOKEN, SAMPLE_RATE)
    assert satellite.main(["detect", "--model", str(plan), str(tmp_path / "spoken.wav")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split(" at ")[0] for line in lines] == list(WORDS)


def test_both_kinds_of_networks_stand_in_one_table(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_corpus(tmp_path)
    judged = ["evaluate", "--corpus", str(corpus), "--condition", "clean", "--processes", "1", "--compare"]
    assert cli.main([*judged, str(plan), str(MODEL)]) == 0
    table = capsys.readouterr().out.split("| word | condition | six_words")[1].splitlines()
    rows = {row.split(" | ")[0].strip("| "): [cell.strip("| ") for cell in row.split(" | ")[2:]] for row in table[2:]}
    assert [rows[word] for word in WORDS] == [["100.0 %", "0.0 %"] * 3] * 2
    assert set(rows) == {*WORDS, "mean"}


def write_corpus(folder: Path) -> Path:
    """Two takes of each of six words, of which two are tones that the network knows, and noise."""
    rng = np.random.default_rng(0)
    rows = []

    def add(kind: str, label: str, sound: np.ndarray) -> None:
        file, seconds = f"{len(rows)}.wav", len(sound) / SAMPLE_RATE
        soundfile.write(folder / file, sound, SAMPLE_RATE)
        span = (0.5, seconds - 0.5) if label else ("", "")
        rows.append([file, kind, "dev", "made", label, "s", seconds, "", "", "", *span, "CC0", ""])

    for label in (*shipped().words, *shipped().words):
        sound = np.pad(tones(*TONES_HZ.get(label, (300, 1800, 4000))), SAMPLE_RATE // 2)
        add("wakeword", label, sound + hiss(len(sound), rng))
    add("speech", "", rng.normal(size=4 * SAMPLE_RATE) * 0.05)
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    return folder


def test_the_network_is_as_large_as_the_one_it_follows_and_sees_its_receptive_field() -> None:
    torch.manual_seed(0)
    assert sum(p.numel() for p in PartNetwork(5).parameters()) == 190_725
    network = PartNetwork(classes(6)).eval()
    frames = torch.randn(2, RECEPTIVE_FIELD + 5, 40) * 4 + 8
    whole = network(frames)
    assert whole.shape == (2, 6, 19)
    torch.testing.assert_close(network(frames[:, 2 : 2 + RECEPTIVE_FIELD]), whole[:, 2:3])
    for seen, frame in ((True, 2), (True, RECEPTIVE_FIELD + 1), (False, 1), (False, RECEPTIVE_FIELD + 2)):
        other = frames.clone()
        other[:, frame] += 20
        assert bool((network(other)[:, 2] != whole[:, 2]).any()) == seen


def test_targets_say_which_part_is_said() -> None:
    start, ends = 3 * SAMPLE_RATE, [3.2, 3.4, 3.8]
    target = part_targets([(2, start, [round(end * SAMPLE_RATE) for end in ends])])
    middles = (np.arange(SCENE_FRAMES) - LATE_FRAMES) * HOP + WINDOW / 2
    edge = EDGE_FRAMES * HOP
    for part, (first_s, past_s) in enumerate(zip((3.0, *ends), ends, strict=False)):
        inside = (middles > first_s * SAMPLE_RATE + edge + HOP) & (middles < past_s * SAMPLE_RATE - edge - HOP)
        assert inside.sum() > 10
        assert (target[inside] == 1 + PARTS.count + part).all()
    outside = (middles < start - edge - HOP) | (middles > ends[-1] * SAMPLE_RATE + edge + HOP)
    assert (target[outside] == 0).all()
    assert (target == IGNORED).sum() == 4 * EDGE_FRAMES


def test_targets_at_the_edges_of_a_scene_and_of_pieces_of_words() -> None:
    assert not part_targets([]).any()
    second = SAMPLE_RATE
    cut = part_targets([(1, -second, [-second // 2, 0, second]), (1, 11 * second, [12 * second, 13 * second])])
    assert cut[FRAMES_PER_SECOND // 2] == PARTS.count
    assert cut[-1] == 1
    piece = part_targets([(IGNORED, second, [2 * second])])
    assert set(piece) == {0, IGNORED}
    assert (piece == IGNORED).sum() == FRAMES_PER_SECOND + 2 * EDGE_FRAMES
